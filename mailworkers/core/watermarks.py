"""Watermarks: from where on an index is read, so as not to read again what was dealt with.

What moved on leaves dead entries behind, and while somebody holds a snapshot no cleaning may take
them: whoever begins at the beginning walks over all of them, each time. A row gets its time before
its transaction ends, so a few come to lie behind a mark: hence margins, and sweeps.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta

Pair = tuple[int, str]  # lane, source

# How far before the last delivery leased of a pair: what may come out of a transaction until then.
_OVERTAKEN = timedelta(seconds=1)
# The same for what the clock owes: much of it is worked out by others, some seconds before.
_OWED_LATE = timedelta(seconds=5)
# Seconds of rest for each second that a sweep took.
_REST = 50.0


class Sweeps:
    """When everything is read from its beginning: so often, but not for more than 2 % of the time.

    All times are seconds of a monotonic clock. The first one is due at once.
    """

    def __init__(self, every: float) -> None:
        self._every = every
        self._ended: float | None = None
        self._took = self._rest = 0.0

    def is_due(self, now: float, *, every: float | None = None) -> bool:
        """Whether it is time for one at *now*; *every* is for this time only."""
        pause = max(self._every if every is None else every, self._rest)
        return self._ended is None or now - self._ended >= pause

    def note(self, began: float, ended: float) -> None:
        """Take in that one was done.

        One that alone took long did not read much but waited, such as for the disk at a commit:
        that is when deliveries are overtaken, and no time to look for them the less.
        """
        took = ended - began
        self._ended, self._rest, self._took = ended, min(took, self._took) * _REST, took


class ReadySince:
    """Of each lane and source, from where on a sender reads what is ready."""

    def __init__(self) -> None:
        self.sweeps = Sweeps(10.0)
        self._since: dict[Pair, datetime] = {}

    def since(self, now: float) -> Mapping[Pair, datetime]:
        """Return where to begin at *now*: a pair that is not there, at its beginning."""
        return {} if self.sweeps.is_due(now) else self._since

    def is_sweep_due_at_rest(self, now: float) -> bool:
        """Whether to sweep because nothing was found."""
        return bool(self._since) and self.sweeps.is_due(now, every=2.0)

    def note(self, pair: Pair, ready_at: datetime) -> None:
        """Take in when the delivery leased last of *pair* became ready."""
        self._since[pair] = ready_at - _OVERTAKEN


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
