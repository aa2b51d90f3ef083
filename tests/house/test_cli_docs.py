"""docs/cli.md says what the commands say, and nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeGuard

import click

from mailworkers.cli.guide import reference
from mailworkers.cli.main import EXIT_CODES, main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "cli.md"


def _commands(
    command: click.Command, path: str = "mailworkers"
) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            assert below is not None
            yield from _commands(below, f"{path} {name}")


def test_the_reference_in_the_page_is_the_codes() -> None:
    """After a change: `python -m mailworkers.cli.guide` prints what belongs at the page's end."""
    page = PAGE.read_text(encoding="utf-8")

    assert page.endswith(reference())


def test_the_page_knows_every_exit_code() -> None:
    """Scripts go by them."""
    told = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)

    assert told == re.findall(r"^ +(\d+)  ", EXIT_CODES, re.MULTILINE)


def _exits(tree: ast.AST) -> Iterator[int]:
    """Yield every number in *tree* with which a process may end."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="exit" | "_exit"), args=[told, *_]):
                yield from filter(_is_number, map(_value, ast.walk(told)))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(int(number))) if (
                name.lower().startswith("exit_")
            ):
                yield number


def _value(node: ast.AST) -> object:
    return node.value if isinstance(node, ast.Constant) else None


def _is_number(value: object) -> TypeGuard[int]:
    return type(value) is int


def test_every_number_a_process_ends_with_is_on_the_page() -> None:
    """Roles, commands and what a signal ends alike."""
    told = {int(n) for n in re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE)}
    sources = sorted((ROOT / "mailworkers").rglob("*.py"))

    found = {number for path in sources for number in _exits(ast.parse(path.read_text("utf-8")))}

    assert found <= told
    assert {1, 78} <= found


def test_the_page_names_only_commands_that_there_are() -> None:
    """In the examples, too."""
    known = {path for path, _ in _commands(main)}
    named = re.findall(r"^mailworkers(?: [a-z][a-z-]*)+", PAGE.read_text("utf-8"), re.MULTILINE)

    for words in named:
        longest = words.split()
        while " ".join(longest) not in known:
            longest.pop()
        command = dict(_commands(main))[" ".join(longest)]
        assert len(longest) > 1, words
        assert not isinstance(command, click.Group), words


def test_every_command_that_prints_can_print_json() -> None:
    """For programs; the exceptions print a file, a script, or run until they are stopped."""
    without = {
        path.removeprefix("mailworkers ")
        for path, command in _commands(main)
        if not isinstance(command, click.Group)
        and not any("--json" in parameter.opts for parameter in command.params)
    }
    roles = {"consumer", "scheduler", "sender", "retention", "api", "monitor"}

    assert without - roles == {"up", "supervise", "shell", "completion", "suppressions export"}


def test_whatever_speaks_of_mail_works_through_the_api() -> None:
    """But for tokens and templates, which the API has no routes for, or which are files."""
    subjects = ("deliveries", "dead-letters", "malformed", "suppressions", "pause", "resume",
                "pauses", "status", "top", "send")  # fmt: skip
    only_here = [
        path
        for path, command in _commands(main)
        if not isinstance(command, click.Group)
        and path.split()[1:2]
        and path.split()[1] in subjects
        and not any("--api" in parameter.opts for parameter in command.params)
    ]

    assert only_here == []
