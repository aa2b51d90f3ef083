"""docs/architecture.md shows the moves as they are; documents name only files that exist."""

import re
from pathlib import Path

import pytest

from mailworkers.core.states import MOVES

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
_FILE = re.compile(r"`([\w./-]+\.(?:conf|md|py|sh|sql|toml|txt|html|yaml))`")


def test_the_move_table_is_the_codes() -> None:
    """After a change: the row of the statement changes with its header and `MOVES`."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = page.split("\n## Moves\n", 1)[1].split("\n## ", 1)[0]
    rows = [
        [cell.strip(" `") for cell in line.split("|")[1:-1]]
        for line in section.splitlines()
        if line.startswith("| `")
    ]

    found = {name: tuple(frozenset(cell.split(", ")) for cell in cells) for name, *cells in rows}

    assert found == {n: (m.owners, m.before, m.after) for n, m in MOVES.items()}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_only_files_that_exist(document: Path) -> None:
    """In the checkout, in the package, or beside the document."""
    named = set(_FILE.findall(document.read_text(encoding="utf-8")))
    places = (ROOT, ROOT / "mailworkers", document.parent)

    assert [name for name in named if not any((place / name).exists() for place in places)] == []
