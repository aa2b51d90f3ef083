"""Crash points: what is listed is marked in the code, tried by cells, and told in the documents."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from mailworkers.adapters.crash_points import PLACES, Act, Point
from tests.crash.crash_points.cells import CELLS, LEFT_OUT

ROOT = Path(__file__).resolve().parents[2]
_MARKS = {"reached", "arrived", "when_sent", "when_answered"}
_OWN = {"crash_points.py", "crash_acts.py"}
_AFTER_DOT = {Point.DOT_SENT, Point.REPLY_UNREAD}


def _marked() -> Iterator[Point]:
    """Yield the point of every mark in the code."""
    for path in (ROOT / "mailworkers").rglob("*.py"):
        if path.name in _OWN:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in _MARKS:
                match node.args[0]:
                    case ast.Attribute(value=ast.Name(id="Point"), attr=name):
                        yield Point[name]


def test_every_point_is_listed_and_marked_once() -> None:
    """A point that is marked twice would be reached at either place, one that is not, never."""
    assert list(PLACES) == list(Point)
    assert Counter(_marked()) == Counter(Point)


def test_every_point_is_tried_with_every_act_or_there_is_a_reason() -> None:
    """The full table; a cell is there or left out, not both."""
    tried = {(cell.point, cell.act) for cell in CELLS}

    assert tried | LEFT_OUT.keys() == {(point, act) for point in Point for act in Act}
    assert not tried & LEFT_OUT.keys()
    assert all(LEFT_OUT.values())


def test_no_cell_has_two_predictions() -> None:
    """One for each point, act and policy."""
    assert max(Counter((cell.point, cell.act, cell.policy) for cell in CELLS).values()) == 1


def test_no_cell_predicts_more_copies_than_are_promised() -> None:
    """Under `retry` one too many where the list says so, by a freeze longer than the lease, or
    where the reply to a dot was cut off; under `park` none at all."""
    for cell in CELLS:
        extra = max(0, cell.expected.copies - 1)
        allowed = {
            Act.KILL: PLACES[cell.point].duplicates,
            Act.STOP: 1,
            Act.CUT: cell.point in _AFTER_DOT,
            Act.CUT_RELAY: cell.point in _AFTER_DOT,
        }.get(cell.act, 0)
        assert extra <= (0 if cell.policy == "park" else allowed), cell.name


def test_the_documents_list_the_points() -> None:
    """The table in docs/reliability.md says what `PLACES` says; every id is in the other table."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    found = [
        tuple(cell.strip() for cell in line.split("|")[1:-1])
        for line in page.splitlines()
        if re.match(r"\| `K-", line)
    ]
    other = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")

    assert found == [
        (f"`{point}`", place.role, place.boundary, place.follows, str(place.duplicates))
        for point, place in PLACES.items()
    ]
    assert [point for point in Point if not re.search(rf"\b{point}\b", other)] == []


def test_the_documents_count_the_cells() -> None:
    """A number that is written down is the number there is."""
    page = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")

    assert f"{len(Point)} points, {len(CELLS)} cells" in page
