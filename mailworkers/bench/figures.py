"""Figures of repeated runs: the median, and how far they lie apart."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Self

import msgspec


class Figure(msgspec.Struct, frozen=True):
    """One figure over all runs, in the order they were made."""

    median: float
    least: float
    most: float
    runs: tuple[float, ...]

    @classmethod
    def of(cls, runs: Iterable[float], digits: int) -> Self:
        """Return the figure of *runs*, of which there is at least one, rounded to *digits*."""
        rounded = tuple(round(run, digits) for run in runs)
        median = round(statistics.median(rounded), digits)
        return cls(median, min(rounded), max(rounded), rounded)


def rate(count: int, nanoseconds: int) -> float:
    """Return how many a second *count* in *nanoseconds* are; 0 for no time at all."""
    return count / nanoseconds * 1e9 if nanoseconds > 0 else 0.0


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least of *values* that *share* of them do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def spread_of_times(prefix: str, runs: Sequence[Sequence[float]]) -> dict[str, Figure | None]:
    """Return median, 99th percentile and maximum of the times, in ms, of each of *runs*.

    A run in which nothing came has none of them, nor have all together.
    """
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    is_whole = all(runs)
    return {
        f"{prefix}_{name}_ms": Figure.of((percentile(run, share) for run in runs), digits=2)
        if is_whole
        else None
        for name, share in shares.items()
    }
