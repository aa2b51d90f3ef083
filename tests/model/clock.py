"""The clocks: one that only grows (CLOCK_BOOTTIME), and the database's, which may be set."""

from datetime import UTC, datetime, timedelta

_TICK = timedelta(milliseconds=1)
_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Time passes when a step says so, and by a millisecond with every step."""

    def __init__(self) -> None:
        self._passed = timedelta(0)
        self._offset = timedelta(0)
        self.was_set = False

    @property
    def boottime(self) -> float:
        """Return the seconds since the model began, whatever the database's clock does."""
        return self._passed.total_seconds()

    def now(self) -> datetime:
        """Return the database's time."""
        return _EPOCH + self._passed + self._offset

    def tick(self) -> None:
        """Let a millisecond pass: no two steps happen at the same time."""
        self._passed += _TICK

    def advance(self, span: timedelta) -> None:
        """Let *span* pass."""
        self._passed += span

    def step(self, span: timedelta) -> None:
        """Set the database's clock forward or back by *span*; no time passes."""
        self._offset += span
        self.was_set = True
