"""docs/faults: every fault has a test that exists, or says in words why it has none."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs" / "faults").glob("*.md"))
HEADING = ["id", "what happens", "proof"]
_NO_TEST = "No test:"
_PROOF = re.compile(r"`([\w./-]+\.py)::(\w+)`")

Row = tuple[str, str, str]


def _rows(page: Path) -> list[Row]:
    """Return the rows of the tables of *page* that are headed `id`, `what happens`, `proof`."""
    rows: list[Row] = []
    is_ours = False
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells == HEADING:
            is_ours = True
        elif not cells:
            is_ours = False
        elif is_ours and len(cells) == len(HEADING) and set(cells[0]) - set("-: "):
            rows.append((cells[0], cells[1], cells[2]))
    return rows


ROWS = [(page, row) for page in PAGES for row in _rows(page)]


@cache
def _tests(path: Path) -> frozenset[str]:
    """Return the names of the test functions in a file, those of classes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test")
    )


def test_every_page_has_faults() -> None:
    """A page whose table is headed otherwise would not be looked at."""
    assert PAGES
    assert [page.name for page in PAGES if not _rows(page)] == []


@pytest.mark.parametrize(("page", "row"), ROWS, ids=[f"{page.stem} {row[0]}" for page, row in ROWS])
def test_a_fault_names_tests_that_exist_or_says_why_there_is_none(page: Path, row: Row) -> None:
    """`path::test_name`, one or more; or a sentence that begins with "No test:"."""
    identity, happens, proof = row
    assert identity
    assert len(happens.split()) > 2
    if proof.startswith(_NO_TEST):
        assert len(proof.removeprefix(_NO_TEST).split()) > 5, "say why"
        return

    named = _PROOF.findall(proof)

    assert named, "no test is named"
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not (ROOT / path).is_file() or name not in _tests(ROOT / path)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_an_id_stands_once_on_a_page(page: Path) -> None:
    """What else there is to say about it belongs into its row."""
    ids = [row[0] for row in _rows(page)]

    assert sorted({identity for identity in ids if ids.count(identity) > 1}) == []
