"""What the scheduler and retention do, in memory."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

from mailworkers.adapters.store import ExpiredLease, Reclaim
from mailworkers.core.states import (
    UNLEASED,
    WAITING,
    AttemptOutcome,
    AttemptStatus,
    Failure,
    RecipientStatus,
    Status,
)
from tests.model.memory_moves import Moves
from tests.model.rows import Row
from tests.model.violations import Violation


class Clockwork(Moves):
    """The statements that look at the clock."""

    def promote_due(self) -> int:
        """Make ready what is due."""
        now = self._now()
        due = [
            row
            for row in self.rows.values()
            if row.status in WAITING
            and row.next_attempt_at is not None
            and row.next_attempt_at <= now
            and (row.expires_at is None or row.expires_at > now)
        ]
        for row in due:
            self._move(row, "promote_due", row.payload_mode.ready)
            row.ready_at = now
        return len(due)

    def expired_leases(self) -> list[ExpiredLease]:
        """Return the leases whose end has passed."""
        now = self._now()
        return [
            ExpiredLease(
                delivery_id=row.delivery_id,
                source=row.source,
                lane=row.lane,
                lease_token=row.lease_token,
                cycle_attempt=row.cycle_attempt,
                attempt_no=row.attempt_no,
                retry_policy=row.retry_policy,
                traceparent=None,
                now=now,
            )
            for row in self.rows.values()
            if row.lease_token is not None
            and row.next_attempt_at is not None
            and row.next_attempt_at <= now
        ]

    def reclaim(self, reclaims: Sequence[Reclaim]) -> dict[UUID, str]:
        """Take back the leases among *reclaims* that are still there and have ended."""
        moved = {}
        for found in reclaims:
            row = self.rows.get(found.delivery_id)
            if (
                row
                and row.lease_token == found.lease_token
                and row.next_attempt_at is not None
                and row.next_attempt_at <= self._now()
            ):
                self._reclaim(row, found)
                moved[row.delivery_id] = row.status.value
        return moved

    def _reclaim(self, row: Row, found: Reclaim) -> None:
        if row.lease_token != found.lease_token:
            raise Violation(f"I-13: a lease that nobody asked for is taken back: {row}")
        if row.next_attempt_at is None or row.next_attempt_at > self._now():
            raise Violation(f"I-08: a lease that has not ended is taken back: {row}")
        last = row.attempts[row.attempt_no - 1]
        last.status, last.outcome = AttemptStatus.ABANDONED, AttemptOutcome.UNKNOWN
        row.lease_token = row.leased_by = row.ready_at = None
        is_cancelled = row.cancel_requested_at is not None
        status = Status.UNCERTAIN if is_cancelled else Status(found.status)
        if status is Status.DEFERRED:
            self._move(row, "reclaim", status)
            row.failure, row.next_attempt_at = None, found.next_attempt_at
            return
        is_exhausted = status is Status.DEAD_LETTER
        self._close_open(
            row, RecipientStatus.EXHAUSTED if is_exhausted else RecipientStatus.UNCERTAIN
        )
        row.next_attempt_at = None if is_cancelled else found.next_attempt_at
        self._end(row, "reclaim", Failure.UNKNOWN)

    def expire_overdue(self) -> int:
        """End what is past its expiry and has no sender."""
        now = self._now()
        due = [
            row
            for row in self.rows.values()
            if row.status in UNLEASED and row.expires_at is not None and row.expires_at <= now
        ]
        for row in due:
            self._close_open(
                row, RecipientStatus.UNCERTAIN if row.may_have_gone else RecipientStatus.EXPIRED
            )
            self._end(row, "expire_overdue", Failure.EXPIRED)
        return len(due)

    def delete_deliveries(self, keep: timedelta) -> int:
        """Delete what ended more than *keep* ago."""
        before = self._now() - keep
        old = [row for row in self.rows.values() if row.finished_at and row.finished_at < before]
        for row in old:
            self._allow("delete_deliveries", row.status, "(deleted)")
            del self.rows[row.delivery_id]
        return len(old)
