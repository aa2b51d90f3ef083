"""Leasing and handing back, in memory."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from mailworkers.adapters.store import Leased, LeasedRow
from mailworkers.core.states import (
    READY,
    AttemptOutcome,
    AttemptStatus,
    Failure,
    Lane,
    RecipientStatus,
    Status,
)
from mailworkers.core.watermarks import Pair
from tests.model.memory_moves import OPEN, Moves
from tests.model.rows import Attempt, Row
from tests.model.store import Lease
from tests.model.violations import Violation


class Leases(Moves):
    """The statements by which a sender takes work and gives it back."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self.listed: set[str] = set()
        self._addresses: dict[UUID, list[str]] = {}

    def lease_ready(
        self,
        *,
        lease_token: UUID,
        leased_by: UUID,
        lanes: Sequence[Lane],
        after: str,
        since: Mapping[Pair, datetime],
        limit: int,
        lease: timedelta,
    ) -> list[Leased]:
        """Lease up to *limit* ready deliveries, or end those whose recipients are all listed."""
        now = self._now()
        ready = [
            row
            for row in self.rows.values()
            if row.status in READY
            and row.lane in lanes
            and row.ready_at is not None
            and row.ready_at >= since.get((row.lane, row.source), row.ready_at)
            and (row.expires_at is None or row.expires_at > now)
        ]
        ready.sort(key=lambda row: (lanes.index(row.lane), row.source <= after, row.source))
        taken = ready[:limit]
        taken.sort(key=lambda row: (row.lane, row.ready_at, row.delivery_id))
        return [self._lease(row, lease_token, leased_by, now + lease) for row in taken]

    def _lease(self, row: Row, token: UUID, holder: UUID, end: datetime) -> Leased:
        due_at, ready_at = row.next_attempt_at, row.ready_at or self._now()
        addresses = self._addresses[row.delivery_id]
        last = row.last_attempt
        is_doubtful = last is not None and last.outcome is AttemptOutcome.UNKNOWN
        dropped = RecipientStatus.UNCERTAIN if is_doubtful else RecipientStatus.SUPPRESSED
        for ordinal, status in enumerate(row.recipients):
            if status is OPEN and addresses[ordinal] in self.listed:
                row.recipients[ordinal] = dropped
        closed = {status for status in row.recipients if status is not OPEN}
        ordinals = [n for n, status in enumerate(row.recipients) if status is OPEN]
        if ordinals:
            self._move(row, "lease_ready", Status.SENDING)
            row.lease_token, row.leased_by, row.next_attempt_at = token, holder, end
            row.attempt_no += 1
            row.cycle_attempt += 1
            row.failure = None
            row.attempts.append(Attempt(token, holder, row.cycle_attempt))
        else:
            self._end(row, "lease_ready", Failure.REJECTED)
        return Leased(
            delivery_id=row.delivery_id,
            source=row.source,
            lane=row.lane,
            status=row.status,
            payload_mode=row.payload_mode,
            mail_from="",
            attempt_no=row.attempt_no,
            cycle_attempt=row.cycle_attempt,
            retry_policy=row.retry_policy,
            expires_at=row.expires_at,
            created_at=end,
            ready_at=ready_at,
            due_at=due_at,
            traceparent=None,
            mime_size=0,
            failure=row.failure,
            leased_at=self._now(),
            ordinals=ordinals,
            addresses=[addresses[n] for n in ordinals],
            closed=sorted(closed),
            mime=None,
        )

    def leases_of(self, leased_by: UUID, held: Sequence[UUID]) -> list[Lease]:
        """Return what one holder has leased, but for what is *held*."""
        return [
            (row.delivery_id, row.lease_token)
            for row in self.rows.values()
            if row.lease_token and row.leased_by == leased_by and row.delivery_id not in held
        ]

    def hand_back(self, leases: Sequence[Lease]) -> int:
        """Give up those of *leases* that are there still."""
        found = [(self.rows.get(delivery_id), token) for delivery_id, token in leases]
        given = [row for row, token in found if row and row.lease_token == token]
        for row in given:
            self._hand_back(row)
        return len(given)

    def _hand_back(self, row: Row) -> None:
        row.attempts.pop()
        row.attempt_no -= 1
        row.cycle_attempt -= 1
        row.lease_token = row.leased_by = row.next_attempt_at = None
        if row.cancel_requested_at is None:
            self._move(row, "hand_back", row.payload_mode.ready)
            row.failure, row.ready_at = None, self._now()
        else:
            row.ready_at = None
            self._close_open(
                row,
                RecipientStatus.UNCERTAIN if row.may_have_gone else RecipientStatus.CANCELLED,
            )
            self._end(row, "hand_back", Failure.REJECTED)

    def leased_rows(self, leased_by: UUID) -> list[LeasedRow]:
        """Return what one holder has leased."""
        return [self._leased_row(r) for r in self.rows.values() if r.leased_by == leased_by]

    def _leased_row(self, row: Row) -> LeasedRow:
        since = max((letter.attempt_no for letter in row.dead_letters), default=0)
        deaths = [a.status is AttemptStatus.ABANDONED for a in row.attempts[since:]]
        if row.lease_token is None:
            raise Violation("a row without a lease has a holder")
        return LeasedRow(
            delivery_id=row.delivery_id,
            source=row.source,
            lane=row.lane,
            payload_mode=row.payload_mode,
            lease_token=row.lease_token,
            attempt_no=row.attempt_no,
            cycle_attempt=row.cycle_attempt,
            retry_policy=row.retry_policy,
            expires_at=row.expires_at,
            traceparent=None,
            created_at=self._now(),
            now=self._now(),
            ordinals=[n for n, status in enumerate(row.recipients) if status is OPEN],
            closed=sorted({status for status in row.recipients if status is not OPEN}),
            abandoned=sum(deaths),
        )
