"""Errands: what the load has to do and when, no more of it in memory than is under way."""

import heapq
import itertools
import threading
import time

from mailworkers.gameday.commands import Command

_LONGEST_WAIT = 0.2  # seconds without a look at the clock


class Sending:
    """One command under way; all its errands share it. `times` is fixed when it is first sent."""

    __slots__ = ("command", "lock", "times")

    def __init__(self, command: Command) -> None:
        self.command = command
        self.lock = threading.Lock()
        self.times: dict[str, int] | None = None


class Errand:
    """One thing to do with a command: send it by a way, or what an operator does to it."""

    __slots__ = ("at", "order", "sending", "tries", "what")

    def __init__(self, at: float, order: int, sending: Sending, what: str, tries: int) -> None:
        self.at = at
        self.order = order
        self.sending = sending
        self.what = what
        self.tries = tries

    def __lt__(self, other: "Errand") -> bool:
        return (self.at, self.order) < (other.at, other.order)


class Errands:
    """What is due, by time; shared by the workers of one kind."""

    def __init__(self) -> None:
        self._heap: list[Errand] = []
        self._changed = threading.Condition()
        self._order = itertools.count()
        self._unanswered = 0
        self._is_complete = False

    def add(self, at: float, sending: Sending, what: str, tries: int = 0) -> None:
        """Plan one errand for the monotonic time *at*."""
        with self._changed:
            heapq.heappush(self._heap, Errand(at, next(self._order), sending, what, tries))
            self._unanswered += 1
            self._changed.notify()

    def take(self, most: int) -> list[Errand]:
        """Return up to *most* errands whose time has come; wait a little when there is none."""
        taken: list[Errand] = []
        with self._changed:
            self._changed.wait_for(self._is_due, self._seconds_to_wait())
            now = time.monotonic()
            while self._heap and len(taken) < most and self._heap[0].at <= now:
                taken.append(heapq.heappop(self._heap))
        return taken

    def _is_due(self) -> bool:
        return bool(self._heap) and self._heap[0].at <= time.monotonic()

    def _seconds_to_wait(self) -> float:
        if not self._heap:
            return _LONGEST_WAIT
        return min(max(self._heap[0].at - time.monotonic(), 0.001), _LONGEST_WAIT)

    def settle(self, count: int) -> None:
        """Say that *count* errands are over."""
        with self._changed:
            self._unanswered -= count

    def complete(self) -> None:
        """Say that nothing new will come but what is repeated."""
        self._is_complete = True

    @property
    def waiting(self) -> int:
        """How many errands are not over."""
        return self._unanswered

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        return self._is_complete and self._unanswered == 0
