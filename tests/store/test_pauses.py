"""Pauses: what is held back, what is not, and what the audit trail says of it."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.store import lease_ready
from mailworkers.adapters.store.operator_actions import list_actions
from mailworkers.adapters.store.pauses import add_pause, list_pauses, remove_pause
from mailworkers.core.states import Lane
from tests.deliveries import accept, new_delivery

LATER = datetime(2099, 1, 1, tzinfo=UTC)


def leased(conn: db.Connection) -> set[tuple[str, int]]:
    """Lease whatever is ready; return its sources and lanes."""
    rows = lease_ready(
        conn,
        lease_token=uuid4(),
        leased_by=uuid4(),
        lanes=list(Lane),
        after="",
        since={},
        limit=50,
        lease=timedelta(minutes=3),
        is_stub=False,
    )
    return {(found.source, found.lane) for found in rows}


EVERY = {
    ("billing", Lane.AUTH),
    ("billing", Lane.BULK),
    ("news", Lane.AUTH),
    ("news", Lane.BULK),
}


@pytest.mark.parametrize(
    ("lane", "source", "goes"),
    [
        (Lane.BULK, None, {("billing", Lane.AUTH), ("news", Lane.AUTH)}),
        (None, "news", {("billing", Lane.AUTH), ("billing", Lane.BULK)}),
        (Lane.BULK, "news", EVERY - {("news", Lane.BULK)}),
        (None, None, set()),
    ],
)
def test_a_pause_holds_back_what_it_names_until_it_is_removed(
    conn: db.Connection, lane: Lane | None, source: str | None, goes: set[tuple[str, int]]
) -> None:
    """A lane, a source, both together, or everything."""
    accept(conn, *(new_delivery(source=s, lane=level) for s, level in EVERY))
    pause = add_pause(conn, lane=lane, source=source, actor="ada", reason="the relay is moved")

    assert leased(conn) == goes

    remove_pause(conn, pause.pause_id, actor="ada", reason="done")
    assert leased(conn) == EVERY - goes
    assert list_pauses(conn) == []


def test_a_pause_and_its_end_stand_in_the_trail(conn: db.Connection) -> None:
    """Removing what is not there changes nothing and says nothing."""
    pause = add_pause(
        conn, lane=Lane.BULK, source=None, actor="ada", reason="the relay is moved", ends_at=LATER
    )
    assert remove_pause(conn, pause.pause_id, actor="bob", reason="done") == pause
    assert remove_pause(conn, pause.pause_id, actor="bob", reason="done") is None

    facts = {
        "lane": "bulk",
        "source": None,
        "reason": "the relay is moved",
        "ends_at": LATER.isoformat(),
    }
    lines = list_actions(conn, subject=f"pause {pause.pause_id}", before_id=None, limit=10)
    assert [(line.actor, line.action, line.before, line.after) for line in lines] == [
        ("bob", "resume", facts, None),
        ("ada", "pause", None, facts),
    ]
