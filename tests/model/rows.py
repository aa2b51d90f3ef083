"""What the stores hold about one delivery, in the words of the tables."""

from datetime import datetime
from uuid import UUID

import msgspec

from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Failure,
    Lane,
    PayloadMode,
    RecipientStatus,
    Status,
)


class Attempt(msgspec.Struct):
    """A row of `attempts`; its number is its place in the delivery's list, from 1."""

    lease_token: UUID
    leased_by: UUID
    cycle_attempt: int
    status: AttemptStatus = AttemptStatus.IN_PROGRESS
    outcome: AttemptOutcome | None = None


class DeadLetter(msgspec.Struct):
    """A row of `dead_letters`."""

    cause: str
    attempt_no: int
    cycle_attempt: int
    is_open: bool = True


class Row(msgspec.Struct, kw_only=True):
    """A row of `deliveries` with everything that belongs to it.

    Each delivery of the model has a source of its own: which of two comes first inside a source is
    not what is modelled.
    """

    delivery_id: UUID
    source: str
    lane: Lane
    payload_mode: PayloadMode
    retry_policy: str
    status: Status
    failure: Failure | None
    next_attempt_at: datetime | None
    ready_at: datetime | None
    expires_at: datetime | None
    finished_at: datetime | None
    cancel_requested_at: datetime | None = None
    lease_token: UUID | None = None
    leased_by: UUID | None = None
    attempt_no: int = 0
    cycle_attempt: int = 0
    recipients: list[RecipientStatus]
    attempts: list[Attempt] = []
    dead_letters: list[DeadLetter] = []

    @property
    def last_attempt(self) -> Attempt | None:
        """Return the attempt with the row's number, None before the first."""
        return self.attempts[self.attempt_no - 1] if self.attempt_no else None

    @property
    def may_have_gone(self) -> bool:
        """Whether nobody knows if the last attempt reached its recipients."""
        last = self.last_attempt
        return last is not None and last.outcome is AttemptOutcome.UNKNOWN
