"""What the clock does to deliveries: promotes the due, takes back dead leases, ends the overdue."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from mailworkers.adapters.crash_points import Point, when_answered, when_sent
from mailworkers.adapters.db import Connection, run, run_transaction


class ExpiredLease(msgspec.Struct, frozen=True):
    """A delivery whose lease has ended without a word; `now` is the database's clock."""

    delivery_id: UUID
    source: str
    lane: int
    lease_token: UUID
    cycle_attempt: int
    attempt_no: int
    retry_policy: str
    traceparent: str | None
    now: datetime


class Reclaim(msgspec.Struct, frozen=True):
    """What to make of an expired lease: `deferred` until a time, `dead_letter` or `uncertain`."""

    delivery_id: UUID
    lease_token: UUID
    status: str
    next_attempt_at: datetime | None
    failure: str | None


class Overdue(msgspec.Struct, frozen=True):
    """A delivery that was ended because its `expires_at` had passed."""

    delivery_id: UUID
    source: str
    status: str
    attempt_no: int
    cycle_attempt: int
    traceparent: str | None


def promote_due(conn: Connection, *, limit: int, since: datetime | None = None) -> int:
    """Make up to *limit* deliveries ready that are due *since* then; return how many."""
    when_sent(Point.PROMOTING, conn)
    when_answered(Point.PROMOTED, conn)
    return len(run(conn, "promote_due", limit=limit, since=since))


def expired_leases(
    conn: Connection, *, limit: int, since: datetime | None = None
) -> list[ExpiredLease]:
    """Return up to *limit* leases whose end has passed, *since* then."""
    return [ExpiredLease(*row) for row in run(conn, "expired_leases", limit=limit, since=since)]


def reclaim(conn: Connection, reclaims: Sequence[Reclaim]) -> dict[UUID, str]:
    """Take leases back; return the new status of those that had still not been settled."""
    when_sent(Point.RECLAIMING, conn)
    rows = run(
        conn,
        "reclaim",
        delivery_ids=[r.delivery_id for r in reclaims],
        lease_tokens=[r.lease_token for r in reclaims],
        statuses=[str(r.status) for r in reclaims],
        next_attempt_ats=[r.next_attempt_at for r in reclaims],
        failures=[r.failure and str(r.failure) for r in reclaims],
    )
    return dict(rows)


def expire_overdue(conn: Connection, *, limit: int, since: datetime | None = None) -> list[Overdue]:
    """End up to *limit* waiting deliveries that are past their `expires_at`, *since* then.

    What is decided by is read under the locks: somebody may have been served a moment before.
    """

    def work() -> list[Overdue]:
        held = run(conn, "hold_overdue", limit=limit, since=since)
        if not held:
            return []
        delivery_ids, attempt_nos = map(list, zip(*held, strict=True))
        rows = run(conn, "expire_overdue", delivery_ids=delivery_ids, attempt_nos=attempt_nos)
        return [Overdue(*row) for row in rows]

    return run_transaction(conn, work)


def end_pauses(conn: Connection) -> int:
    """Remove the pauses whose time is over; return how many."""
    return len(run(conn, "end_pauses"))


def next_due(
    conn: Connection, *, within: timedelta, since: datetime | None = None
) -> tuple[timedelta | None, datetime]:
    """Return how long until the clock has something to do, and the database's time.

    Negative when late; None where nothing that was due *since* then is to be done *within* that.
    """
    rows = run(conn, "next_due", within=within, since=since)
    due, now = rows[0]
    return due, now
