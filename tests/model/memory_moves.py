"""What moving a delivery in memory has in common, whatever statement does it."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

from mailworkers.core.states import MOVES, Failure, RecipientStatus, Status, closing_status
from tests.model.rows import DeadLetter, Row
from tests.model.violations import Violation

OPEN = RecipientStatus.OPEN
_FAILURE_OF_END = {
    Status.DEAD_LETTER: Failure.EXHAUSTED,
    Status.UNCERTAIN: Failure.UNKNOWN,
    Status.SUPPRESSED: Failure.LISTED,
}
_CAUSES_OF_THEIR_OWN = {Failure.EXPIRED, Failure.POISON}


class Moves:
    """Rows, and the moves that `core.states.MOVES` allows; any other is a violation."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.rows: dict[UUID, Row] = {}
        self.touched: set[UUID] = set()
        self._now = now

    def _allow(self, statement: str, before: str, after: str) -> None:
        move = MOVES[statement]
        if before not in move.before or after not in move.after:
            raise Violation(f"{statement} moved {before} -> {after}: MOVES does not allow it")

    def _move(self, row: Row, statement: str, status: Status) -> None:
        self._allow(statement, row.status, status)
        self.touched.add(row.delivery_id)
        row.status = status

    def _close_open(self, row: Row, status: RecipientStatus) -> None:
        row.recipients = [status if s is OPEN else s for s in row.recipients]

    def _end(self, row: Row, statement: str, when_failed: Failure) -> None:
        """End a row whose recipients are all closed, by their rule."""
        self._move(row, statement, closing_status(row.recipients))
        if row.status is Status.FAILED:
            row.failure = when_failed
        else:
            row.failure = _FAILURE_OF_END.get(row.status)
        row.finished_at, row.next_attempt_at = self._now(), None
        if statement != "lease_ready":
            row.ready_at = None
        self._enter(row, row.failure)

    def _enter(self, row: Row, failure: Failure | None) -> None:
        """Enter a dead letter where the status asks for one."""
        if row.status is Status.DEAD_LETTER:
            cause = "exhausted"
        elif row.status is Status.FAILED:
            own = {Failure.EXPIRED, Failure.POISON}
            cause = failure.value if failure in own else "permanent"
        else:
            return
        row.dead_letters.append(DeadLetter(cause, row.attempt_no, row.cycle_attempt))

    def _close_letters(self, row: Row) -> None:
        for letter in row.dead_letters:
            letter.is_open = False
