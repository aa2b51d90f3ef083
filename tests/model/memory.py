"""The statements of `sql/` on rows in memory, one function a statement.

`test_lockstep.py` keeps them true: it runs the real ones beside them.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from uuid import UUID

from mailworkers.adapters.store import Acceptance, Verdict
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.states import (
    READY,
    REQUEUEABLE,
    UNLEASED,
    Failure,
    Lane,
    RecipientStatus,
    Status,
)
from tests.model.memory_clock import Clockwork
from tests.model.memory_leases import Leases
from tests.model.memory_moves import OPEN
from tests.model.memory_settling import Settling
from tests.model.rows import Row

_REOPENED = {
    Status.UNCERTAIN: {RecipientStatus.UNCERTAIN},
    Status.DEAD_LETTER: {RecipientStatus.EXHAUSTED},
    Status.FAILED: {RecipientStatus.REFUSED, RecipientStatus.EXPIRED},
}


class MemoryStore(Leases, Settling, Clockwork):
    """Deliveries in memory; *now* is the database's clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        super().__init__(now)
        self._keys: dict[tuple[str, str], tuple[bytes, UUID]] = {}

    def accept(self, news: Sequence[NewDelivery]) -> list[Acceptance]:
        """Store what is new; tell what a key that is taken holds."""
        return [self._accept(new) for new in news]

    def _accept(self, new: NewDelivery) -> Acceptance:
        key = (new.source, new.idempotency_key)
        if key in self._keys:
            fingerprint, first = self._keys[key]
            same = fingerprint == new.fingerprint
            return Acceptance(Verdict.REPLAYED if same else Verdict.CONFLICT, first)
        self._keys[key] = (new.fingerprint, new.delivery_id)
        self.touched.add(new.delivery_id)
        addresses = [recipient.canonical for recipient in new.recipients]
        is_listed = [address in self.listed for address in addresses]
        status = Status.SUPPRESSED if all(is_listed) else new.status
        row = Row(
            delivery_id=new.delivery_id,
            source=new.source,
            lane=new.lane,
            payload_mode=new.payload_mode,
            retry_policy=new.retry_policy,
            status=status,
            failure=Failure.LISTED if status is Status.SUPPRESSED else None,
            next_attempt_at=new.next_attempt_at,
            ready_at=self._now() if status in READY else None,
            expires_at=new.expires_at,
            finished_at=self._now() if status is Status.SUPPRESSED else None,
            recipients=[RecipientStatus.SUPPRESSED if no else OPEN for no in is_listed],
        )
        self._allow("accept", "(new)", status)
        self.rows[new.delivery_id] = row
        self._addresses[new.delivery_id] = addresses
        return Acceptance(Verdict.ACCEPTED, new.delivery_id, status)

    def suppress(self, canonical: str) -> None:
        """Put an address on the list."""
        self.listed.add(canonical)

    def cancel(self, delivery_id: UUID) -> str:
        """Withdraw a delivery, or ask its sender to; return its status now."""
        row = self.rows.get(delivery_id)
        if row is None:
            return "(deleted)"
        if row.status in UNLEASED:
            self._close_open(
                row,
                RecipientStatus.UNCERTAIN if row.may_have_gone else RecipientStatus.CANCELLED,
            )
            self._end(row, "cancel", Failure.REJECTED)
        elif row.status is Status.SENDING and row.cancel_requested_at is None:
            self._move(row, "request_cancel", row.status)
            row.cancel_requested_at = self._now()
        return row.status.value

    def requeue(self, delivery_id: UUID, expires_at: datetime | None) -> str:
        """Begin a new cycle for the recipients that gave the status; return the status now."""
        row = self.rows.get(delivery_id)
        if row is None:
            return "(deleted)"
        end = expires_at or row.expires_at
        is_late = end is not None and end <= self._now()
        if row.status in REQUEUEABLE and row.lane is not Lane.AUTH and not is_late:
            reopened = _REOPENED[row.status]
            row.recipients = [OPEN if s in reopened else s for s in row.recipients]
            self._move(row, "requeue", row.payload_mode.ready)
            row.ready_at, row.expires_at = self._now(), end
            row.next_attempt_at = row.finished_at = row.cancel_requested_at = row.failure = None
            row.cycle_attempt = 0
            self._close_letters(row)
        return row.status.value
