"""Settling: what became of attempts, recorded in one statement, guarded by the lease token."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.crash_points import Point, when_answered, when_sent
from mailworkers.adapters.db import Connection, run
from mailworkers.core.settlement import Settlement


class Settled(msgspec.Struct, frozen=True):
    """What a settle made of a delivery; `finished_at` is None while it lives."""

    delivery_id: UUID
    status: str
    source: str
    attempt_no: int
    cycle_attempt: int
    traceparent: str | None
    created_at: datetime | None
    finished_at: datetime | None


def settle(conn: Connection, settlements: Sequence[Settlement]) -> dict[UUID, Settled]:
    """Record *settlements*; a delivery missing from the answer was not ours any more."""
    when_sent(Point.SETTLING, conn)
    when_answered(Point.SETTLE_COMMITTED, conn)
    rows = run(
        conn,
        "settle",
        **_columns(settlements),
        cancelled_statuses=[str(s.cancelled_status) for s in settlements],
        cancelled_failures=[s.cancelled_failure and str(s.cancelled_failure) for s in settlements],
        next_attempt_ats=[s.next_attempt_at for s in settlements],
        is_burnt=[s.is_burnt for s in settlements],
        r_cancelled_statuses=[str(r.cancelled_status) for s in settlements for r in s.recipients],
    )
    return {row[0]: Settled(*row) for row in rows}


def settle_late(conn: Connection, settlements: Sequence[Settlement]) -> dict[UUID, Settled]:
    """Record outcomes whose lease was taken back before they were known.

    Those in the answer held: `status` is what the delivery is now, "" when only its attempt was
    corrected. The others met a later attempt: nothing was changed.
    """
    if not settlements:
        return {}
    rows = run(conn, "settle_late", **_columns(settlements))
    return {row[0]: Settled(*row) for row in rows}


def _columns(settlements: Sequence[Settlement]) -> dict[str, list[Any]]:
    """Return the arrays that both statements take."""
    flat = [(s, r) for s in settlements for r in s.recipients]
    return {
        "delivery_ids": [s.delivery_id for s in settlements],
        "lease_tokens": [s.lease_token for s in settlements],
        "statuses": [str(s.status) for s in settlements],
        "failures": [s.failure and str(s.failure) for s in settlements],
        "attempt_statuses": [str(s.attempt_status) for s in settlements],
        "outcomes": [str(s.outcome) for s in settlements],
        "stages": [s.stage and str(s.stage) for s in settlements],
        "reply_codes": [s.reply_code for s in settlements],
        "enhanced_codes": [s.enhanced_code for s in settlements],
        "summaries": [s.summary for s in settlements],
        "relays": [s.relay for s in settlements],
        "r_delivery_ids": [s.delivery_id for s, _ in flat],
        "r_ordinals": [r.ordinal for _, r in flat],
        "r_statuses": [str(r.status) for _, r in flat],
        "r_reply_codes": [r.reply_code for _, r in flat],
        "r_enhanced_codes": [r.enhanced_code for _, r in flat],
    }
