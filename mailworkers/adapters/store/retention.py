"""Deleting what is final and old, in small batches that wait for nobody."""

from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from mailworkers.adapters.crash_points import Point, when_sent
from mailworkers.adapters.db import Connection, run

Place = tuple[datetime, UUID]  # of an ended delivery: finished_at, delivery_id


class FinishedPayload(msgspec.Struct, frozen=True):
    """An ended delivery: `may_go` when nobody will want to send its bytes again."""

    delivery_id: UUID
    finished_at: datetime
    lane: int
    may_go: bool


class ReservationStretch(msgspec.Struct, frozen=True):
    """How many reservations were looked at and deleted, and when the last one seen was made."""

    seen: int
    deleted: int
    last: datetime | None


def finished_payloads(
    conn: Connection, *, after: Place, keep: timedelta, limit: int
) -> list[FinishedPayload]:
    """Return up to *limit* deliveries that ended after *after*, more than *keep* ago, in order."""
    at, delivery_id = after
    rows = run(conn, "finished_payloads", after=at, after_id=delivery_id, keep=keep, limit=limit)
    return [FinishedPayload(*row) for row in rows]


def find_walk(conn: Connection, walk: str) -> Place | None:
    """Return where *walk* stopped, None when it is to begin at the oldest."""
    rows = run(conn, "find_walk", walk=walk)
    return (rows[0][0], rows[0][1]) if rows else None


def save_walk(conn: Connection, walk: str, place: Place, *, is_new: bool) -> None:
    """Keep how far *walk* got; *is_new* when it began at the oldest since it was kept last."""
    finished_at, delivery_id = place
    run(
        conn,
        "save_walk",
        walk=walk,
        finished_at=finished_at,
        delivery_id=delivery_id,
        is_new=is_new,
    )


def delete_payloads(conn: Connection, delivery_ids: list[UUID]) -> int:
    """Delete the bytes of final deliveries; return how many there were."""
    return len(run(conn, "delete_payloads", delivery_ids=delivery_ids)) if delivery_ids else 0


def delete_deliveries(conn: Connection, *, keep: timedelta, limit: int) -> int:
    """Delete up to *limit* deliveries that ended more than *keep* ago, with all their rows."""
    when_sent(Point.DELETING, conn)
    return len(run(conn, "delete_deliveries", keep=keep, limit=limit))


def delete_reservations(
    conn: Connection, *, after: datetime, keep: timedelta, limit: int
) -> ReservationStretch:
    """Look at the next *limit* reservations made after *after* and more than *keep* ago.

    Those whose delivery is final or gone are deleted.
    """
    rows = run(conn, "delete_reservations", after=after, keep=keep, limit=limit)
    return ReservationStretch(*rows[0])


def delete_malformed(conn: Connection, *, keep: timedelta, limit: int) -> int:
    """Delete up to *limit* records of refused entries older than *keep*."""
    return len(run(conn, "delete_malformed", keep=keep, limit=limit))
