"""Pauses: what is kept from being leased, and until when.

The lease reads them, so a pause holds from the next lease on, within one poll; what a sender has in
hand goes on.
"""

from datetime import datetime
from typing import Any

import msgspec

from mailworkers.adapters.db import Connection, run, run_transaction
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.core.states import Lane


class Pause(msgspec.Struct, frozen=True):
    """A lane, a source, both together or (both None) everything is held back until `ends_at`."""

    pause_id: int
    lane: str | None
    source: str | None
    reason: str
    created_by: str
    created_at: datetime
    ends_at: datetime | None


def list_pauses(conn: Connection) -> list[Pause]:
    """Return the pauses that hold now, oldest first."""
    return [_pause(row) for row in run(conn, "list_pauses")]


def add_pause(
    conn: Connection,
    *,
    lane: Lane | None,
    source: str | None,
    actor: str,
    reason: str,
    ends_at: datetime | None = None,
) -> Pause:
    """Hold back a lane, a source, both together or everything, from the next lease on."""

    def work() -> Pause:
        number = None if lane is None else int(lane)
        rows = run(
            conn,
            "add_pause",
            lane=number,
            source=source,
            actor=actor,
            reason=reason,
            ends_at=ends_at,
        )
        pause = _pause(rows[0])
        _record(conn, "pause", pause, actor, reason)
        return pause

    return run_transaction(conn, work)


def remove_pause(conn: Connection, pause_id: int, *, actor: str, reason: str) -> Pause | None:
    """End a pause before its time; None when there is no such pause."""

    def work() -> Pause | None:
        rows = run(conn, "remove_pause", pause_id=pause_id)
        if not rows:
            return None
        pause = _pause(rows[0])
        _record(conn, "resume", pause, actor, reason)
        return pause

    return run_transaction(conn, work)


def _pause(row: tuple[Any, ...]) -> Pause:
    pause_id, lane, *rest = row
    return Pause(pause_id, None if lane is None else Lane(lane).label, *rest)


def _record(conn: Connection, action: str, pause: Pause, actor: str, reason: str) -> None:
    facts = {
        "lane": pause.lane,
        "source": pause.source,
        "reason": pause.reason,
        "ends_at": pause.ends_at and pause.ends_at.isoformat(),
    }
    record_action(
        conn,
        actor=actor,
        action=action,
        subject=f"pause {pause.pause_id}",
        before=None if action == "pause" else facts,
        after=facts if action == "pause" else None,
        reason=reason,
    )
