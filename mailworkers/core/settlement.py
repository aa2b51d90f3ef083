"""What an attempt's verdict means for its delivery: where it goes, when, and for which recipients.

Pure: the time, the chance for jitter and the policies come as arguments. Two ends are worked out,
since a cancel may have been requested while the relay was talking; the statement takes the right
one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import msgspec

from mailworkers.core.replies import RecipientVerdict, Result, Verdict
from mailworkers.core.retry import RetryPolicy
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Failure,
    PayloadMode,
    RecipientStatus,
    Stage,
    Status,
    closing_status,
)


class Case(msgspec.Struct, frozen=True):
    """The facts about a leased delivery that a decision needs.

    `closed` are the statuses of recipients that ended in earlier attempts; `ordinals` those of the
    recipients of this attempt, in the order of the verdict's.
    """

    delivery_id: UUID
    lease_token: UUID
    payload_mode: PayloadMode
    cycle_attempt: int
    expires_at: datetime | None
    ordinals: Sequence[int]
    closed: Sequence[RecipientStatus]


class RecipientEnd(msgspec.Struct, frozen=True):
    """What becomes of one recipient, and what if a cancel was requested."""

    ordinal: int
    status: RecipientStatus
    cancelled_status: RecipientStatus
    reply_code: int | None
    enhanced_code: str | None


class Settlement(msgspec.Struct, frozen=True):
    """One row for the statement `settle`; `is_burnt`: whether the attempt counts on the ladder."""

    delivery_id: UUID
    lease_token: UUID
    status: Status
    failure: Failure | None
    cancelled_status: Status
    cancelled_failure: Failure | None
    next_attempt_at: datetime | None
    is_burnt: bool
    attempt_status: AttemptStatus
    outcome: AttemptOutcome
    stage: Stage | None
    reply_code: int | None
    enhanced_code: str | None
    summary: str
    relay: str
    recipients: tuple[RecipientEnd, ...]


_CLOSED_BY_REPLY = {
    Result.ACCEPTED: RecipientStatus.ACCEPTED,
    Result.REFUSED: RecipientStatus.REFUSED,
    Result.POLICY: RecipientStatus.SUPPRESSED,
}
_FAILURE_OF = {
    Status.FAILED: Failure.REJECTED,
    Status.DEAD_LETTER: Failure.EXHAUSTED,
    Status.UNCERTAIN: Failure.UNKNOWN,
    Status.SUPPRESSED: Failure.POLICY,
}


# Long because it names every column of the settle once.
def decide(
    case: Case,
    verdict: Verdict,
    *,
    now: datetime,
    policy: RetryPolicy,
    chance: float,
    is_parked: bool,
    relay: str,
    summary: str,
) -> Settlement:
    """Return what *verdict* makes of *case* at *now*.

    *is_parked*: an unknown outcome is not tried again (uncertain policy `park`). *now* is the
    database's clock; *chance* in [0, 1) places the retry within the jitter.
    """
    waits = _next_attempt_at(case, verdict, now, policy, chance)
    ends = tuple(
        _end(ordinal, judged, waits, is_parked)
        for ordinal, judged in zip(case.ordinals, verdict.recipients, strict=True)
    )
    is_open = any(end.status is RecipientStatus.OPEN for end in ends)
    status = _status(case, verdict, ends, is_open)
    cancelled_status = closing_status([*case.closed, *(end.cancelled_status for end in ends)])
    return Settlement(
        delivery_id=case.delivery_id,
        lease_token=case.lease_token,
        status=status,
        failure=_failure(status, verdict, [end.status for end in ends]),
        cancelled_status=cancelled_status,
        cancelled_failure=_failure(
            cancelled_status, verdict, [end.cancelled_status for end in ends]
        ),
        next_attempt_at=waits.at if status is Status.DEFERRED else None,
        is_burnt=verdict.burns_ladder,
        attempt_status=verdict.attempt_status,
        outcome=verdict.outcome,
        stage=verdict.stage,
        reply_code=verdict.reply.code if verdict.reply else None,
        enhanced_code=(verdict.reply.enhanced or None) if verdict.reply else None,
        summary=summary,
        relay=relay,
        recipients=ends,
    )


class Reclaimed(NamedTuple):
    """What a lease that ended without a word becomes: columns of the statement `reclaim`."""

    status: Status
    next_attempt_at: datetime | None
    failure: Failure | None


# A vanished sender may be in the middle of its transaction still: never at its heels.
SHORTEST_RECLAIM = timedelta(seconds=10)


def reclaimed(
    cycle_attempt: int, *, now: datetime, policy: RetryPolicy, chance: float, is_parked: bool
) -> Reclaimed:
    """Return what becomes of a delivery whose sender vanished: it may have been sent or not."""
    if is_parked:
        return Reclaimed(Status.UNCERTAIN, None, Failure.UNKNOWN)
    delay = policy.next_delay(cycle_attempt, chance)
    if delay is None:
        return Reclaimed(Status.DEAD_LETTER, None, Failure.EXHAUSTED)
    return Reclaimed(Status.DEFERRED, now + max(delay, SHORTEST_RECLAIM), None)


class _Wait(msgspec.Struct, frozen=True):
    """When to try again; None and why not when there is no further try."""

    at: datetime | None
    otherwise: RecipientStatus


def _next_attempt_at(
    case: Case, verdict: Verdict, now: datetime, policy: RetryPolicy, chance: float
) -> _Wait:
    if not verdict.burns_ladder:
        return _Wait(now, RecipientStatus.EXPIRED)
    delay = policy.next_delay(case.cycle_attempt, chance)
    if delay is None:
        return _Wait(None, RecipientStatus.EXHAUSTED)
    at = now + delay
    if case.expires_at is not None and at >= case.expires_at:
        return _Wait(None, RecipientStatus.EXPIRED)
    return _Wait(at, RecipientStatus.OPEN)


def _end(ordinal: int, judged: RecipientVerdict, waits: _Wait, is_parked: bool) -> RecipientEnd:
    """Return what becomes of one recipient under the verdict about it."""
    status = cancelled = _CLOSED_BY_REPLY.get(judged.result)
    if status is None or cancelled is None:
        is_unknown = judged.result is Result.UNKNOWN
        # Whoever may have it already is never called exhausted, expired or cancelled.
        if is_unknown and (is_parked or waits.at is None):
            status = RecipientStatus.UNCERTAIN
        else:
            status = RecipientStatus.OPEN if waits.at is not None else waits.otherwise
        cancelled = RecipientStatus.UNCERTAIN if is_unknown else RecipientStatus.CANCELLED
    reply = judged.reply
    return RecipientEnd(
        ordinal,
        status,
        cancelled,
        reply.code if reply else None,
        (reply.enhanced or None) if reply else None,
    )


def _status(case: Case, verdict: Verdict, ends: tuple[RecipientEnd, ...], is_open: bool) -> Status:
    """Return where the delivery goes: on while somebody is open, else by the recipients' rule."""
    if not is_open:
        return closing_status([*case.closed, *(end.status for end in ends)])
    return Status.DEFERRED if verdict.burns_ladder else case.payload_mode.ready


def _failure(
    status: Status, verdict: Verdict, recipients: Sequence[RecipientStatus]
) -> Failure | None:
    """Return why a delivery ended in *status*, None when it lives, was sent or was withdrawn."""
    if status is Status.FAILED:
        if verdict.failure is not None:
            return verdict.failure
        refused = RecipientStatus.REFUSED in recipients
        expired = RecipientStatus.EXPIRED in recipients
        return Failure.EXPIRED if expired and not refused else Failure.REJECTED
    return _FAILURE_OF.get(status)
