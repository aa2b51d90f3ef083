"""What a leased row is for the relay and for a decision, and telling what became of it."""

from datetime import datetime
from uuid import UUID

import msgspec

from mailworkers.adapters.store import Leased, Settled
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.core.addresses import needs_smtputf8
from mailworkers.core.replies import RecipientVerdict, Result, Verdict
from mailworkers.core.settlement import Case, Settlement
from mailworkers.core.states import READY, PayloadMode, RecipientStatus, Status
from mailworkers.core.wire import Envelope


class Outcome(msgspec.Struct, frozen=True):
    """A finished attempt that waits for its settle; `finished` is a monotonic time in seconds."""

    leased: Leased
    settlement: Settlement
    duration_ms: float
    max_attempts: int
    finished: float


def envelope_of(leased: Leased, mime: bytes) -> Envelope:
    """Return the envelope for the recipients that are still open."""
    # Headers may need SMTPUTF8 where the envelope does not: a Reply-To, a recipient dropped since.
    needs_utf8 = not mime.isascii() or any(map(needs_smtputf8, leased.addresses))
    return Envelope(
        mail_from=leased.mail_from,
        rcpt_to=tuple(leased.addresses),
        size=len(mime),
        smtputf8=needs_utf8 or needs_smtputf8(leased.mail_from),
    )


def case_of(leased: Leased, lease_token: UUID) -> Case:
    """Return the facts a decision about *leased* needs."""
    return Case(
        delivery_id=leased.delivery_id,
        lease_token=lease_token,
        payload_mode=PayloadMode(leased.payload_mode),
        cycle_attempt=leased.cycle_attempt,
        expires_at=leased.expires_at,
        ordinals=leased.ordinals,
        closed=[RecipientStatus(status) for status in leased.closed],
    )


def complete(verdict: Verdict, recipients: int) -> Verdict:
    """Return a verdict that speaks of every recipient: without a session all of them wait."""
    if verdict.recipients:
        return verdict
    nobody = (RecipientVerdict(Result.DEFERRED, verdict.reply),) * recipients
    return msgspec.structs.replace(verdict, recipients=nobody)


def summary_of(verdict: Verdict) -> str:
    """Return the provider summary: the reply's text, or what happened instead of one."""
    return verdict.reply.text if verdict.reply else str(verdict.attempt_status).replace("_", " ")


def report_settled(telemetry: Telemetry, outcome: Outcome, settled: Settled) -> None:
    """Tell what became of a delivery whose attempt was settled."""
    leased, settlement = outcome.leased, outcome.settlement
    telemetry.attempt_closed(settlement.attempt_status, outcome.duration_ms)
    if leased.due_at is not None and leased.attempt_no > 1:
        telemetry.retry_executed(
            settlement.attempt_status, _milliseconds(leased.due_at, leased.leased_at)
        )
    status = Status(settled.status)
    if status is Status.SENT and settled.created_at and settled.finished_at:
        telemetry.delivery_sent(
            delivery_id=leased.delivery_id,
            source=leased.source,
            attempt_no=leased.attempt_no,
            duration_ms=outcome.duration_ms,
            end_to_end_ms=_milliseconds(settled.created_at, settled.finished_at),
            traceparent=leased.traceparent,
        )
    elif status is Status.DEFERRED:
        telemetry.retry_scheduled(
            delivery_id=leased.delivery_id,
            source=leased.source,
            cycle_attempt=leased.cycle_attempt,
            attempt_no=leased.attempt_no,
            next_attempt_at=settlement.next_attempt_at,
            reason=settlement.summary,
            traceparent=leased.traceparent,
        )
    elif status not in READY:
        report_ended(telemetry, leased, status, settlement.summary, outcome.max_attempts)


def report_ended(
    telemetry: Telemetry, leased: Leased, status: Status, reason: str, max_attempts: int
) -> None:
    """Tell that a delivery ended without being sent."""
    if status in {Status.FAILED, Status.DEAD_LETTER}:
        telemetry.dead_lettered(
            delivery_id=leased.delivery_id,
            source=leased.source,
            cycle_attempt=leased.cycle_attempt,
            attempt_no=leased.attempt_no,
            max_attempts=max_attempts,
            permanent=status is Status.FAILED,
            reason=reason,
            traceparent=leased.traceparent,
        )
    else:
        telemetry.delivery_ended(
            delivery_id=leased.delivery_id,
            source=leased.source,
            status=status,
            reason=reason,
            attempt_no=leased.attempt_no,
            traceparent=leased.traceparent,
        )


def _milliseconds(start: datetime, end: datetime) -> float:
    return (end - start).total_seconds() * 1000
