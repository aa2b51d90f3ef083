"""Outcomes of attempts: kept in the journal and in memory until they are settled, then told."""

import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from mailworkers.adapters import store
from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.db import Connection, Database
from mailworkers.adapters.journal import SenderJournal
from mailworkers.adapters.lately import Lately
from mailworkers.adapters.store import Effect, Settled
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.adapters.tracing import Attempt
from mailworkers.core.journal import Answered
from mailworkers.core.journal import Settled as SettledRecord
from mailworkers.core.settlement import Settlement
from mailworkers.core.states import FINAL, READY, AttemptStatus, Status


class Outcome(msgspec.Struct, frozen=True):
    """A finished attempt. What nobody saw is None: its duration, how late a retry was.

    `finished` is a monotonic time in seconds.
    """

    settlement: Settlement
    max_attempts: int
    duration_ms: float | None = None
    lateness_ms: float | None = None
    finished: float = 0.0


# What a failover may take back: a settle that had not reached the standby.
_RECENT = 60.0  # seconds
_MOST_RECENT = 2000


class Outcomes:
    """The outcomes of one sender that wait for their settle, and those settled a moment ago."""

    def __init__(self, database: Database, journal: SenderJournal, telemetry: Telemetry) -> None:
        self._database = database
        self._journal = journal
        self._telemetry = telemetry
        self._waiting: list[Outcome] = []
        self._is_doubtful = False
        self._recent: deque[Outcome] = deque(maxlen=_MOST_RECENT)
        self._conn: Connection | None = None
        self.lately = Lately()

    @property
    def delivery_ids(self) -> list[UUID]:
        """Return the deliveries whose outcomes wait."""
        return [outcome.settlement.delivery_id for outcome in self._waiting]

    def age(self) -> float:
        """Return for how many seconds the oldest has waited, 0 when none does."""
        return time.monotonic() - self._waiting[0].finished if self._waiting else 0.0

    def add(self, outcome: Outcome) -> None:
        """Keep *outcome*: in memory first, since a journal may fail to take it."""
        self._waiting.append(outcome)
        reached(Point.REPLY_READ)
        self._journal.write(Answered(outcome.settlement))

    def settle(self) -> None:
        """Record what waits; an outcome whose lease was taken back is corrected where it holds."""
        self.reconcile()
        if not self._waiting:
            return
        reached(Point.OUTCOME_KEPT)
        # Until the answer is here, the same outcomes may have been settled by this call or not.
        was_doubtful, self._is_doubtful = self._is_doubtful, True
        recorded = record(self._database.conn, self._waiting)
        reached(Point.SETTLED)
        outcomes, self._waiting, self._is_doubtful = self._waiting, [], False
        self._journal.write(SettledRecord())
        self._recent.extend(outcomes)
        self.lately.note([outcome.settlement for outcome in outcomes])
        lost = tell(self._telemetry, outcomes, recorded)
        if not was_doubtful:
            for delivery_id in lost:
                self._telemetry.lease_lost(delivery_id)

    def reconcile(self) -> None:
        """On a new connection, record again what was settled lately: a failover may have lost it.

        A lease that it did not lose would otherwise be taken for one that was never started. Where
        nothing was lost nothing moves: those rows carry another token by now, or none.
        """
        conn = self._database.conn
        if conn is self._conn:
            return
        since = time.monotonic() - _RECENT
        if recent := [outcome for outcome in self._recent if outcome.finished > since]:
            recorded = record(conn, recent)
            for settled in (recorded.settled | recorded.late).values():
                self._telemetry.outcome_corrected(settled.delivery_id, settled.status)
        self._conn = conn


class Recorded(msgspec.Struct, frozen=True):
    """What the database made of outcomes: those settled in time, those that still held late."""

    settled: dict[UUID, Settled]
    late: dict[UUID, Settled]


def record(conn: Connection, outcomes: Sequence[Outcome]) -> Recorded:
    """Settle *outcomes*; one whose lease was taken back is corrected where it holds."""
    settlements = [outcome.settlement for outcome in outcomes]
    settled = store.settle(conn, settlements)
    missing = [s for s in settlements if s.delivery_id not in settled]
    return Recorded(settled, store.settle_late(conn, missing))


def tell(telemetry: Telemetry, outcomes: Sequence[Outcome], recorded: Recorded) -> list[UUID]:
    """Tell what became of *outcomes*; return the deliveries that somebody else decides about."""
    lost: list[UUID] = []
    with telemetry.together():
        for outcome in outcomes:
            delivery_id = outcome.settlement.delivery_id
            if settled := recorded.settled.get(delivery_id):
                report(telemetry, outcome, settled)
            elif late := recorded.late.get(delivery_id):
                report_late(telemetry, outcome, late)
            else:
                lost.append(delivery_id)
    return lost


def report_late(telemetry: Telemetry, outcome: Outcome, settled: Settled) -> None:
    """Tell of an outcome that became known after its lease had been taken back."""
    telemetry.outcome_corrected(settled.delivery_id, settled.status)
    if settled.status:
        report(telemetry, outcome, settled)


def report(telemetry: Telemetry, outcome: Outcome, settled: Settled) -> None:
    """Tell what became of a delivery whose attempt was settled."""
    settlement = outcome.settlement
    trace = settled.traceparent
    telemetry.attempt_closed(settlement.attempt_status, outcome.duration_ms, trace)
    if telemetry.tracer is not None and outcome.duration_ms is not None:
        traceparent = telemetry.tracer.record_attempt(_attempt(outcome, settled))
        settled = msgspec.structs.replace(settled, traceparent=traceparent)
    if outcome.lateness_ms is not None:
        telemetry.retry_executed(settlement.attempt_status, outcome.lateness_ms, trace)
    status = Status(settled.status)
    if status is Status.SENT and settled.created_at and settled.finished_at:
        telemetry.delivery_sent(
            delivery_id=settled.delivery_id,
            source=settled.source,
            cycle_attempt=settled.cycle_attempt,
            attempt_no=settled.attempt_no,
            duration_ms=outcome.duration_ms,
            end_to_end_ms=milliseconds(settled.created_at, settled.finished_at),
            traceparent=settled.traceparent,
        )
    elif status is Status.DEFERRED:
        telemetry.retry_scheduled(
            delivery_id=settled.delivery_id,
            source=settled.source,
            cycle_attempt=settled.cycle_attempt,
            attempt_no=settled.attempt_no,
            next_attempt_at=settlement.next_attempt_at,
            reason=settlement.summary,
            traceparent=settled.traceparent,
        )
    elif status not in READY:
        report_ended(telemetry, settled, settlement.summary, outcome.max_attempts)


def _attempt(outcome: Outcome, settled: Settled) -> Attempt:
    """Return what the span of an attempt tells."""
    settlement = outcome.settlement
    return Attempt(
        delivery_id=settled.delivery_id,
        source=settled.source,
        attempt_no=settled.attempt_no,
        status=settlement.attempt_status,
        is_accepted=settlement.attempt_status is AttemptStatus.PROVIDER_ACCEPTED,
        stage=settlement.stage or "",
        reply_code=settlement.reply_code,
        enhanced_code=settlement.enhanced_code or "",
        relay=settlement.relay,
        traceparent=settled.traceparent,
        ended_ago=time.monotonic() - outcome.finished,
        duration_ms=outcome.duration_ms or 0.0,
    )


class Ended(Protocol):
    """A row of any statement that ended a delivery."""

    @property
    def delivery_id(self) -> UUID: ...
    @property
    def source(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def attempt_no(self) -> int: ...
    @property
    def cycle_attempt(self) -> int: ...
    @property
    def traceparent(self) -> str | None: ...


def report_ended(telemetry: Telemetry, ended: Ended, reason: str, max_attempts: int) -> None:
    """Tell that a delivery is over: with a dead letter, or without success or failure."""
    status = Status(ended.status)
    if status in {Status.FAILED, Status.DEAD_LETTER}:
        telemetry.dead_lettered(
            delivery_id=ended.delivery_id,
            source=ended.source,
            cycle_attempt=ended.cycle_attempt,
            attempt_no=ended.attempt_no,
            max_attempts=max_attempts,
            permanent=status is Status.FAILED,
            reason=reason,
            traceparent=ended.traceparent,
        )
    else:
        telemetry.delivery_ended(
            delivery_id=ended.delivery_id,
            source=ended.source,
            status=status,
            reason=reason,
            attempt_no=ended.attempt_no,
            traceparent=ended.traceparent,
        )


def report_verb(telemetry: Telemetry, effect: Effect) -> None:
    """Tell what an operator did to a delivery; nothing where nothing is different now."""
    if not effect.is_change:
        return
    now = effect.after
    if effect.is_pending:
        telemetry.cancel_requested(
            delivery_id=now.delivery_id,
            source=now.source,
            attempt_no=now.attempt_no,
            traceparent=now.traceparent,
        )
    elif now.status in FINAL:
        report_ended(telemetry, now, "cancelled", now.attempt_no)
    else:
        telemetry.delivery_requeued(
            delivery_id=now.delivery_id,
            source=now.source,
            before=effect.before.status,
            status=now.status,
            traceparent=now.traceparent,
        )


def milliseconds(start: datetime, end: datetime) -> float:
    """Return the milliseconds from *start* to *end*."""
    return (end - start).total_seconds() * 1000
