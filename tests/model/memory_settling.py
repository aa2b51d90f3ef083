"""Settling, in time and late, in memory."""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from mailworkers.core.settlement import Settlement
from mailworkers.core.states import (
    READY,
    UNLEASED,
    AttemptOutcome,
    AttemptStatus,
    RecipientStatus,
    Status,
)
from tests.model.memory_moves import Moves
from tests.model.rows import Attempt, Row
from tests.model.store import Lease
from tests.model.violations import Violation

_LATE_ENDS = {Status.SENT, Status.FAILED, Status.SUPPRESSED}
_KNOWN_RECIPIENT = {
    RecipientStatus.ACCEPTED,
    RecipientStatus.REFUSED,
    RecipientStatus.SUPPRESSED,
}


class Settling(Moves):
    """The statements that record what became of attempts."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self._settled: set[Lease] = set()

    def settle(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        """Record outcomes whose lease is still theirs; return the statuses of those."""
        moved = {}
        for found in settlements:
            row = self.rows.get(found.delivery_id)
            if row and row.status is Status.SENDING and row.lease_token == found.lease_token:
                self._settle(row, found)
                moved[row.delivery_id] = row.status.value
        return moved

    def _settle(self, row: Row, found: Settlement) -> None:
        is_cancelled = row.cancel_requested_at is not None
        self._settled.add((found.delivery_id, found.lease_token))
        self._move(row, "settle", found.cancelled_status if is_cancelled else found.status)
        row.failure = found.cancelled_failure if is_cancelled else found.failure
        row.next_attempt_at = None if is_cancelled else found.next_attempt_at
        row.ready_at = self._now() if row.status in READY else None
        row.finished_at = None if row.status in UNLEASED else self._now()
        row.cycle_attempt -= not found.is_burnt
        row.lease_token = row.leased_by = None
        for end in found.recipients:
            row.recipients[end.ordinal] = end.cancelled_status if is_cancelled else end.status
        last = row.attempts[row.attempt_no - 1]
        last.status, last.outcome = found.attempt_status, found.outcome
        self._enter(row, row.failure)

    def settle_late(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        """Record outcomes that became known after their rows had been reclaimed."""
        held = {}
        for found in settlements:
            row = self.rows.get(found.delivery_id)
            last = row.last_attempt if row else None
            if (
                row
                and last
                and row.status not in {Status.SENDING, Status.SENT}
                and last.lease_token == found.lease_token
                and last.status is AttemptStatus.ABANDONED
                and last.outcome is AttemptOutcome.UNKNOWN
            ):
                held[row.delivery_id] = self._settle_late(row, last, found)
        return held

    def _settle_late(self, row: Row, last: Attempt, found: Settlement) -> str:
        if (row.delivery_id, found.lease_token) in self._settled:
            raise Violation(f"I-13: an outcome is recorded a second time: {row}")
        self.touched.add(row.delivery_id)
        last.status, last.outcome = found.attempt_status, found.outcome
        is_moved = found.status in _LATE_ENDS
        for end in found.recipients:
            if is_moved or end.status in _KNOWN_RECIPIENT:
                row.recipients[end.ordinal] = end.status
        if not is_moved:
            if row.status in READY:
                row.ready_at = self._now()
            return ""
        self._move(row, "settle_late", found.status)
        row.failure, row.finished_at = found.failure, self._now()
        row.next_attempt_at = row.ready_at = None
        if row.status is not Status.FAILED:
            self._close_letters(row)
        elif not any(letter.is_open for letter in row.dead_letters):
            self._enter(row, None)
        return row.status.value
