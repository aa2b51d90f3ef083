"""The database's time on this host, whose own clock may be wrong or be set while we run.

Everything that is decided by time is decided by the database's clock (F-C01). What a role must know
between two questions to it goes by the time since boot, which nobody can set. This host's clock
stamps log lines and judges certificates, no more; that it is far off is said aloud all the same.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

# Beyond this a host is misconfigured, not merely unsynchronised for a moment.
MOST_SKEW = timedelta(minutes=5)


def since_boot() -> float:
    """Return the seconds since this machine was started, its sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class DatabaseClock:
    """Tells the database's time; set right at the start of a role and with every heartbeat.

    *on_skew* is called with how far the database is ahead when this host is found to be far off,
    and again only after it was right in between.
    """

    def __init__(self, on_skew: Callable[[timedelta], None] = lambda _: None) -> None:
        self._told = datetime.now(UTC)
        self._told_at = since_boot()
        self._on_skew = on_skew
        self._is_off = False

    def note(self, database_now: datetime) -> None:
        """Take in what the database says now."""
        self._told, self._told_at = database_now, since_boot()
        skew = database_now - datetime.now(UTC)
        was_off, self._is_off = self._is_off, abs(skew) > MOST_SKEW
        if self._is_off and not was_off:
            self._on_skew(skew)

    def now(self) -> datetime:
        """Return the time by the database's clock."""
        return self._told + timedelta(seconds=since_boot() - self._told_at)
