"""Leases: the right of one sender to work on a delivery for a time, proved by a token."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from mailworkers.adapters.crash_points import Point, when_answered, when_sent
from mailworkers.adapters.db import Connection, run
from mailworkers.core.watermarks import Pair


class Leased(msgspec.Struct):
    """One row of a lease, with what the transaction needs.

    `status` is `sending`, or final where the lease found nobody left to send to. `leased_at` is the
    database's clock; `due_at` when it should have run, None for a first try. `closed` are the
    statuses of recipients that ended earlier. `mime` is None when it did not fit into the answer.
    """

    delivery_id: UUID
    source: str
    lane: int
    status: str
    payload_mode: str
    mail_from: str
    attempt_no: int
    cycle_attempt: int
    retry_policy: str
    expires_at: datetime | None
    created_at: datetime
    ready_at: datetime
    due_at: datetime | None
    traceparent: str | None
    mime_size: int
    failure: str | None
    leased_at: datetime
    ordinals: list[int]
    addresses: list[str]
    closed: list[str]
    mime: bytes | None


class LeasedRow(msgspec.Struct, frozen=True):
    """What a dead holder had leased; `now` is the database's clock, `abandoned` earlier deaths."""

    delivery_id: UUID
    source: str
    lane: int
    payload_mode: str
    lease_token: UUID
    attempt_no: int
    cycle_attempt: int
    retry_policy: str
    expires_at: datetime | None
    traceparent: str | None
    created_at: datetime
    now: datetime
    ordinals: list[int]
    closed: list[str]
    abandoned: int


# What one answer may carry; more is fetched delivery by delivery when its turn comes.
MIME_BUDGET = 4 * 1024 * 1024


def lease_ready(
    conn: Connection,
    *,
    lease_token: UUID,
    leased_by: UUID,
    lanes: Sequence[int],
    after: str,
    since: Mapping[Pair, datetime],
    limit: int,
    lease: timedelta,
    is_stub: bool,
) -> list[Leased]:
    """Lease up to *limit* ready deliveries: *lanes* in that order, sources after *after* first.

    Of the pairs in *since* only those ready from that time on. The lease of a row ends *lease* plus
    its size / 64 KiB/s from now.
    """
    when_sent(Point.LEASING, conn)
    when_answered(Point.LEASE_COMMITTED, conn)
    rows = run(
        conn,
        "lease_ready",
        lease_token=lease_token,
        leased_by=leased_by,
        lanes=list(lanes),
        after=after,
        since_lanes=[lane for lane, _ in since],
        since_sources=[source for _, source in since],
        since=list(since.values()),
        limit=limit,
        lease=lease,
        stub=is_stub,
        mime_budget=MIME_BUDGET,
    )
    return [Leased(*row) for row in rows]


def hand_back(conn: Connection, *, leased_by: UUID, held: Sequence[UUID]) -> int:
    """Give up every lease of *leased_by* but those on *held*; return how many there were.

    For leases that were certainly not started, and those whose answer never came. What it gives up
    is read first, so that no later lease of the same holder can be meant.
    """
    leases = run(conn, "leases_of", leased_by=leased_by, held=list(held))
    if not leases:
        return 0
    delivery_ids, lease_tokens = zip(*leases, strict=True)
    rows = run(conn, "hand_back", delivery_ids=list(delivery_ids), lease_tokens=list(lease_tokens))
    return len(rows)


def load_mime(conn: Connection, delivery_id: UUID) -> bytes | None:
    """Return the bytes of one delivery, None when there are none any more."""
    rows = run(conn, "load_mime", delivery_id=delivery_id)
    return bytes(rows[0][0]) if rows else None


def leased_rows(conn: Connection, leased_by: UUID) -> list[LeasedRow]:
    """Return everything *leased_by* has leased."""
    return [LeasedRow(*row) for row in run(conn, "leased_rows", leased_by=leased_by)]
