"""The last quarter of an hour by tens of seconds: what came in, what ended, how long it took.

Built from indexes on the times of deliveries, a little more of the past with each reading; a
stretch that is over is never counted again.
"""

import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailworkers.adapters.db import Connection, run
from mailworkers.adapters.store.heartbeats import database_time
from mailworkers.core.states import Lane

STRETCH = timedelta(seconds=10)
SPAN = timedelta(minutes=15)
_SECONDS = int(STRETCH.total_seconds())
_COUNT = SPAN // STRETCH
# A commit may come this long after the time it writes: younger stretches are counted again.
_UNSETTLED = 3
# The past is read in portions, and no further once a reading took so long.
_PORTION = 6
_ENOUGH = timedelta(milliseconds=150)


class Stretch(msgspec.Struct, frozen=True):
    """Ten seconds: `accepted` by lane, `ended` by lane and status, both counts; `took` the median,
    the 95th and the 99th percentile of the attempts that sent mail, in ms, None when none did."""

    begins_at: int
    accepted: dict[str, int]
    ended: dict[tuple[str, str], int]
    took: tuple[float, float, float] | None


class Pulse:
    """What is known of the last quarter of an hour; used by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[int, Stretch] = {}

    def read(self, conn: Connection) -> list[Stretch]:
        """Return the last stretches, oldest first, the present one last; no gap between them."""
        present = _number(database_time(conn))
        first = present - _COUNT + 1
        self._known = {n: known for n, known in self._known.items() if n >= first}
        begun = time.monotonic()
        oldest = self._fill(conn, present - _UNSETTLED + 1, present + 1, present)
        while oldest > first and time.monotonic() - begun < _ENOUGH.total_seconds():
            oldest = self._fill(conn, max(first, oldest - _PORTION), oldest, present)
        found = [self._known[number] for number in range(oldest, present + 1)]
        for number in range(present - _UNSETTLED + 1, present + 1):
            del self._known[number]
        return found

    def _fill(self, conn: Connection, begin: int, end: int, present: int) -> int:
        """Count from *begin* to before *end*; return since when all is known up to *present*."""
        about = {"seconds": _SECONDS, "begin": begin, "end": end}
        accepted: defaultdict[int, dict[str, int]] = defaultdict(dict)
        ended: defaultdict[int, dict[tuple[str, str], int]] = defaultdict(dict)
        for number, lane, count in run(conn, "count_accepted_by_time", **about):
            accepted[number][Lane(lane).label] = count
        for number, lane, status, count in run(conn, "count_ended_by_time", **about):
            ended[number][(Lane(lane).label, status)] = count
        took = _took(run(conn, "measure_attempts", **about))
        for number in range(begin, end):
            self._known[number] = Stretch(
                number * _SECONDS, accepted[number], ended[number], took.get(number)
            )
        oldest = present
        while oldest - 1 in self._known:
            oldest -= 1
        return oldest


def _took(rows: Iterable[tuple[Any, ...]]) -> dict[int, tuple[float, float, float]]:
    return {number: (found[0], found[1], found[2]) for number, found in rows}


def _number(at: datetime) -> int:
    return int(at.timestamp()) // _SECONDS
