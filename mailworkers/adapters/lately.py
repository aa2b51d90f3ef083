"""What one sender did in the last minute, for its signs of life: `status` adds the senders up.

The database could tell what was sent, but not, without an index that every attempt would pay for,
what was put off.
"""

import time
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from mailworkers.core.settlement import Settlement
from mailworkers.core.states import AttemptOutcome

WINDOW = 60.0  # seconds
_MOST_ERRORS = 3


class Lately:
    """Attempts of the last minute, second by second, and the last that failed."""

    def __init__(self) -> None:
        self._deferred: deque[tuple[int, int]] = deque()
        self._errors: deque[dict[str, object]] = deque(maxlen=_MOST_ERRORS)

    def note(self, settlements: Sequence[Settlement]) -> None:
        """Take in attempts that were settled just now."""
        failed = [s for s in settlements if s.outcome is not AttemptOutcome.SUCCESS]
        if not failed:
            return
        deferred = sum(s.outcome is AttemptOutcome.TRANSIENT_ERROR for s in failed)
        self._deferred.append((int(time.monotonic()), deferred))
        self._errors.extend(_error(settlement) for settlement in failed[-_MOST_ERRORS:])

    def facts(self) -> dict[str, object]:
        """Return what the sign of life says: attempts put off in the last minute, last errors."""
        while self._deferred and self._deferred[0][0] < time.monotonic() - WINDOW:
            self._deferred.popleft()
        return {
            "deferred": sum(count for _, count in self._deferred),
            "errors": list(self._errors),
        }


def _error(settlement: Settlement) -> dict[str, object]:
    return {
        "at": datetime.now(UTC).isoformat(),
        "delivery_id": str(settlement.delivery_id),
        "words": f"{settlement.attempt_status}: {settlement.summary}",
    }
