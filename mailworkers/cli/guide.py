"""The reference at the end of docs/cli.md, made of the commands: `python -m mailworkers.cli.guide`.

A test compares the two, so that what is documented is what there is.
"""

import inspect
from collections.abc import Iterator

import click

from mailworkers.cli.main import main
from mailworkers.cli.sections import SECTIONS

_LITERAL = "\b"  # click's mark of a paragraph whose lines stay as they are


def reference() -> str:
    """Return every command as Markdown: usage, what it does, its options."""
    root = click.Context(main, info_name="mailworkers")
    parts = []
    for title, section in SECTIONS.items():
        parts.append(f"## {title}\n\n")
        for name in section:
            command = main.get_command(root, name)
            if command is not None:
                parts += _describe(command, click.Context(command, parent=root, info_name=name))
    return "".join(parts).rstrip("\n") + "\n"


def _describe(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yield one command, and those below it."""
    yield f"### `{context.command_path}`\n\n"
    if not isinstance(command, click.Group):
        usage = " ".join(command.collect_usage_pieces(context))
        yield f"```\n{context.command_path} {usage}\n```\n\n"
    yield _text(command.help or "")
    yield _options(command, context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _describe(below, click.Context(below, parent=context, info_name=name))


def _text(text: str) -> str:
    """Return a docstring as Markdown: paragraphs as they are, marked ones as code."""
    shown = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith(_LITERAL):
            shown.append(f"```sh\n{paragraph.removeprefix(_LITERAL).strip(chr(10))}\n```")
        else:
            shown.append(paragraph)
    return "\n\n".join(shown) + "\n\n"


def _options(command: click.Command, context: click.Context) -> str:
    records = [
        record
        for parameter in command.params
        if isinstance(parameter, click.Option)
        and (record := parameter.get_help_record(context)) is not None
    ]
    lines = [f"- `{names}`" + (f": {words}" if words else "") for names, words in records]
    return "\n".join(lines) + "\n\n" if lines else ""


if __name__ == "__main__":
    click.echo(reference(), nl=False)
