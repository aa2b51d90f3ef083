"""Watermarks: from where on an index is read, so as not to read again what was dealt with.

What moved on leaves dead entries behind, and while somebody holds a snapshot no cleaning may take
them: whoever begins at the beginning walks over all of them, each time. A row gets its time before
its transaction ends, so a few come to lie behind a mark: hence margins, and sweeps.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from math import inf
from typing import NamedTuple

Pair = tuple[int, str]  # lane, source

# How far before the last delivery leased of a pair: what may come out of a transaction until then.
_OVERTAKEN = timedelta(seconds=1)
# The same for what the clock owes: much of it is worked out by others, some seconds before.
_OWED_LATE = timedelta(seconds=5)
# Seconds of rest for each second that a sweep took.
_REST = 50.0


class _Swept:
    """When something was swept last, and how long it is to be left alone.

    A sweep that alone took long did not read much but waited, such as for the disk at a commit:
    that is when deliveries are overtaken, and no time to look for them the less.
    """

    def __init__(self, ended: float) -> None:
        self.ended = ended
        self.rest = self._took = 0.0

    def note(self, began: float, ended: float) -> None:
        """Take in another one."""
        took = ended - began
        self.ended, self.rest, self._took = ended, min(took, self._took) * _REST, took


class Sweeps:
    """When everything is read from its beginning: so often, but not for more than 2 % of the time.

    All times are seconds of a monotonic clock. The first one is due at once.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._swept = _Swept(-inf)

    def is_due(self, now: float) -> bool:
        """Whether it is time for one at *now*."""
        return now - self._swept.ended >= max(self._every, self._swept.rest)

    def note(self, began: float, ended: float) -> None:
        """Take in that one was done."""
        self._swept.note(began, ended)


class Reading(NamedTuple):
    """A lease: of which *lanes*, sources after *after* first, each pair *since* when.

    *is_full*: it gave as many as were asked for. *began* and *ended* are monotonic times.
    """

    lanes: Sequence[int]
    after: str
    since: Mapping[Pair, datetime]
    is_full: bool
    began: float
    ended: float

    def came_to(self, pair: Pair, last: Collection[Pair]) -> bool:
        """Whether *pair* was read, before those in *last* had filled the lease."""
        if pair[0] not in self.lanes:
            return False
        return not self.is_full or self._turn(pair) <= max(map(self._turn, last))

    def _turn(self, pair: Pair) -> tuple[int, bool, str]:
        lane, source = pair
        return self.lanes.index(lane), source <= self.after, source


class _Mark:
    """From where on one pair is read, and when it was swept."""

    def __init__(self, since: datetime, swept_at: float) -> None:
        self.since = since
        self.swept = _Swept(swept_at)


class ReadySince:
    """Of each lane and source, from where on a sender reads what is ready.

    Each has its own sweeps: a lease takes only so many, and may never come to the others.
    """

    def __init__(self) -> None:
        self._marks: dict[Pair, _Mark] = {}

    def since(self, now: float, *, is_at_rest: bool = False) -> Mapping[Pair, datetime]:
        """Return where to begin at *now*: a pair that is not there, at its beginning.

        *is_at_rest*: since these give nothing, more of them may be swept.
        """
        rest = sum(mark.swept.rest for mark in self._marks.values())
        pause = max(2.0 if is_at_rest else 10.0, rest)
        return {
            pair: mark.since for pair, mark in self._marks.items() if now - mark.swept.ended < pause
        }

    def note(self, reading: Reading, last: Mapping[Pair, datetime]) -> None:
        """Take in a lease, and when the last delivery it gave of each pair became ready."""
        for pair, mark in self._marks.items():
            if pair not in reading.since and reading.came_to(pair, last):
                mark.swept.note(reading.began, reading.ended)
        for pair, ready_at in last.items():
            mark = self._marks.setdefault(pair, _Mark(ready_at, reading.ended))
            mark.since = ready_at - _OVERTAKEN


class DueSince:
    """From where on the scheduler reads what is due. Times but *now* are those of the database."""

    def __init__(self) -> None:
        self.sweeps = Sweeps(2.0)
        self.since: datetime | None = None
        self._asked_at: datetime | None = None

    def note_done(self, asked_at: datetime) -> None:
        """Take in that all that was due is done, and that at *asked_at* the next time was asked.

        What was due when it was asked before is dealt with: all that was done since came later.
        """
        self.since = self._asked_at and self._asked_at - _OWED_LATE
        self._asked_at = asked_at
