"""What arrived, and whether every message did so exactly once."""

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec


class Arrival(msgspec.Struct, frozen=True, array_like=True):
    """A message at the sink: its Message-ID, "" without one, and when, in ns since the epoch."""

    message_id: str
    at_ns: int


class Check(msgspec.Struct, frozen=True):
    """Messages put in against messages arrived, by Message-ID.

    `missing` never came, `doubled` counts the copies beyond the first, `foreign` nobody put in.
    """

    expected: int
    arrived: int
    missing: int
    doubled: int
    foreign: int

    @property
    def is_exactly_once(self) -> bool:
        """Whether every message arrived once and nothing else did."""
        return not (self.missing or self.doubled or self.foreign)

    def plus(self, other: Self) -> Self:
        """Return both checks as one."""
        sums = zip(msgspec.structs.astuple(self), msgspec.structs.astuple(other), strict=True)
        return type(self)(*(one + another for one, another in sums))

    @classmethod
    def total(cls, checks: Iterable[Self]) -> Self:
        """Return all *checks* as one."""
        return functools.reduce(cls.plus, checks, cls(0, 0, 0, 0, 0))


def check(expected: Iterable[str], arrivals: Sequence[Arrival]) -> Check:
    """Compare the Message-IDs that were put in with what arrived."""
    wanted = frozenset(expected)
    copies = Counter(arrival.message_id for arrival in arrivals)
    return Check(
        expected=len(wanted),
        arrived=len(arrivals),
        missing=sum(message_id not in copies for message_id in wanted),
        doubled=sum(copies[message_id] - 1 for message_id in wanted if message_id in copies),
        foreign=sum(count for message_id, count in copies.items() if message_id not in wanted),
    )
