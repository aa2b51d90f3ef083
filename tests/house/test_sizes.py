"""How large things may be, and what they must not be called (architecture, section 2)."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {
    path.relative_to(ROOT): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "mailworkers").rglob("*.py"))
}
LONGEST_FUNCTION = 40
NAMELESS = {"base", "common", "helper", "helpers", "misc", "util", "utils"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions() -> Iterator[tuple[Path, Function]]:
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, Function):
                yield path, node


def _length(function: Function) -> int:
    """Return how many lines *function* has, decorators not counted."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def _is_explained(path: Path, function: Function) -> bool:
    """Whether a comment stands directly above the definition or its decorators."""
    first = min([function.lineno, *(line.lineno for line in function.decorator_list)])
    lines = SOURCES[path].splitlines()
    return any(lines[number - 2].strip().startswith("#") for number in (first, function.lineno))


def test_a_long_function_says_why() -> None:
    """More than 40 lines need a comment directly above the definition."""
    silent = [
        f"{path}: {function.name}, {_length(function)} lines"
        for path, function in _functions()
        if _length(function) > LONGEST_FUNCTION and not _is_explained(path, function)
    ]

    assert silent == []


def test_most_functions_are_short() -> None:
    """Half of them have fewer than ten lines."""
    assert statistics.median(_length(function) for _, function in _functions()) < 10


def test_modules_are_named_for_their_subject() -> None:
    """What is in a file called `utils` cannot be guessed."""
    assert [path for path in SOURCES if NAMELESS & {*path.with_suffix("").parts}] == []
