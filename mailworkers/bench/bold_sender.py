"""A sender that writes no journal and never looks at its lease, to measure what the two cost.

For measurements only: when it dies, nobody knows what it has sent. `python -m
mailworkers.bench.bold_sender` runs it with the settings of any role.
"""

import os
import sys
from uuid import UUID

from mailworkers.adapters import process
from mailworkers.adapters.journal import SenderJournal
from mailworkers.adapters.outcomes import Outcomes
from mailworkers.adapters.settings import load
from mailworkers.adapters.store import Leased
from mailworkers.core.journal import Record
from mailworkers.core.wire import Reply
from mailworkers.roles.sender import Sender


class NoJournal(SenderJournal):
    """A journal that keeps nothing; leases are still held in its name."""

    def __init__(self, journal_id: UUID) -> None:
        self.journal_id = journal_id

    @property
    def is_full(self) -> bool:
        """Say that there is room, always."""
        return False

    def write(self, record: Record) -> None:
        """Forget *record*."""

    def renew(self) -> None:
        """There is nothing to cut."""

    def close(self, *, is_done: bool) -> None:
        """There is nothing to release."""


class BoldSender(Sender):
    """The product's sender without its journal and without its checks of the lease."""

    def __init__(self, context: process.Context) -> None:
        super().__init__(context)
        journal_id = self._journal.journal_id
        self._journal.close(is_done=True)
        self._journal = NoJournal(journal_id)
        self._outcomes = Outcomes(context.database, self._journal, context.telemetry)

    def _seconds_left(self, _leased: Leased) -> float:
        return float("inf")

    def _may_dot(self, _replies: tuple[Reply | None, ...]) -> bool:
        self._is_past_dot = True
        return True


if __name__ == "__main__":
    sys.exit(process.run("sender", load(os.environ), BoldSender))
