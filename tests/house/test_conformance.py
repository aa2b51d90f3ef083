"""docs/conformance.md: every row of the operators' runbooks, once, with a test that exists."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
WORDS = {"met", "otherwise", "untested", "no"}
# How many rows each runbook has, numbered from 1.
RUNBOOKS = {"MS": 121, "RS": 133, "BO": 60, "OW": 62}
_CODE = re.compile(r"`([^`]+)`")

Row = tuple[str, str, str, str]


def _rows() -> list[Row]:
    found: list[Row] = []
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 4 and re.fullmatch(r"[A-Z]{2}-\d+", cells[0]):
            found.append((cells[0], cells[1], cells[2], cells[3]))
    return found


ROWS = _rows()


@cache
def _tests(path: Path) -> frozenset[str]:
    """Return the names of the test functions of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    )


def _exists(named: str) -> bool:
    """Whether *named*, a file or `file::test`, is there."""
    path, _, test = named.partition("::")
    return (ROOT / path).is_file() and (not test or test in _tests(ROOT / path))


def test_every_row_stands_here_once() -> None:
    """A row that is left out would be a promise nobody looked at."""
    wanted = {
        f"{runbook}-{number:02}"
        for runbook, last in RUNBOOKS.items()
        for number in range(1, last + 1)
    }

    found = Counter(row[0] for row in ROWS)

    assert found == Counter(wanted)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_row_says_how_it_is_and_what_it_names_exists(row: Row) -> None:
    """What is met names a test, or a file where no test can be; all else says why in words."""
    _, word, how, shown = row
    named = _CODE.findall(shown)

    assert word in WORDS
    assert [name for name in named if not _exists(name)] == []
    assert bool(named) or word != "met"
    assert not named or word in {"met", "otherwise"}
    assert word == "met" or len(how.split()) >= 3, "say why"


def test_most_of_what_is_met_is_shown_by_a_test() -> None:
    """A file alone proves little: it is for what is written down, and rows of it are few."""
    by_file = [
        row[0]
        for row in ROWS
        if row[1] == "met" and not any("::" in n for n in _CODE.findall(row[3]))
    ]

    assert len(by_file) < 10, by_file
