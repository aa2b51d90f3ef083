"""Whose turn it is: the order of lanes for the next lease, and how much to lease."""

from collections.abc import Iterator

from mailworkers.core.states import Lane

MOST = 200
# Seconds of work that one lease may hold; half as long for bulk, which would be in the way of a
# login code. That costs bulk a twentieth of its rate.
_SPAN = 0.05
_SPAN_OF_BULK = 0.025
_BULK_FIRST_EVERY = 8


class LaneOrder:
    """Auth mail first; every eighth time bulk before normal, so that neither starves.

    Lanes whose doubtful deliveries are parked lease one at a time: a sender that dies then leaves
    at most one of them in doubt.
    """

    def __init__(self, parked: frozenset[Lane] = frozenset()) -> None:
        self._parked = parked
        self._turn = 0

    def next(self) -> Iterator[tuple[tuple[Lane, ...], int]]:
        """Yield lanes in order with the most to lease of them: the next where one gave nothing."""
        self._turn += 1
        bulk_first = self._turn % _BULK_FIRST_EVERY == 0
        order = (
            (Lane.AUTH, Lane.BULK, Lane.NORMAL)
            if bulk_first
            else (Lane.AUTH, Lane.NORMAL, Lane.BULK)
        )
        group: list[Lane] = []
        for lane in order:
            if lane in self._parked:
                if group:
                    yield tuple(group), MOST
                    group = []
                yield (lane,), 1
            else:
                group.append(lane)
        if group:
            yield tuple(group), MOST


class Pace:
    """How many to lease next, 1 to 200: so many as take 50 ms, 25 where it is bulk."""

    def __init__(self) -> None:
        self.limit = 1

    def note(self, count: int, seconds: float, last: Lane) -> None:
        """Take in that *count* took *seconds*; *last* is the lane of the last one leased."""
        if count:
            span = _SPAN_OF_BULK if last is Lane.BULK else _SPAN
            self.limit = max(1, min(MOST, int(count * span / max(seconds, 1e-6))))
