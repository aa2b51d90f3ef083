"""What the overview shows, read once for all who look: the console must not slow the senders.

However many pages are open, the database is asked at most every two seconds, by one connection,
and for a tenth of the time at most.
"""

from datetime import timedelta

import msgspec

from mailworkers.adapters.gauges import Question
from mailworkers.adapters.store.overview import Process, Stats, list_processes, read_stats
from mailworkers.adapters.store.pauses import Pause, list_pauses
from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.store.pulse import Pulse, Stretch

_FRESH = timedelta(seconds=2)
_KEPT = timedelta(seconds=30)
_REST = 10.0


class Seen(msgspec.Struct, frozen=True):
    """How the whole service does at one moment."""

    stats: Stats
    stretches: list[Stretch]
    pauses: list[Pause]
    processes: list[Process]


class Watch:
    """The one reader behind every overview that is open."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._pulse = Pulse()
        self._seen = Question("postgres", self._read, fresh=_FRESH, kept=_KEPT, rest=_REST)

    def _read(self) -> Seen:
        with self._pool.connection() as conn:
            return Seen(
                stats=read_stats(conn),
                stretches=self._pulse.read(conn),
                pauses=list_pauses(conn),
                processes=list_processes(conn),
            )

    def seen(self) -> Seen:
        """Return how it was a moment ago; StoreUnavailable when nobody can say."""
        return self._seen.glance()
