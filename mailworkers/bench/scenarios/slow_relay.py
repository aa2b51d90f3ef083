"""A relay that is far away: how throughput grows with senders at different round trips.

A proxy between senders and sink delays every byte by half the round trip each way. One transaction
costs two round trips (MAIL, RCPT and DATA in one, the message in the other), so one sender cannot
do more than 1 / (2 x round trip) a second, and only more senders help.
"""

import random
from collections.abc import Sequence

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.delaying_proxy import delayed
from mailworkers.bench.draining import drain
from mailworkers.bench.figures import Figure
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_FEWEST = 200  # messages of one measurement


class Distances(msgspec.Struct, frozen=True):
    """Round trips in ms and numbers of senders, each with each, and the one pair of the target.

    *seconds* is how long one measurement takes at the rate that the round trip allows; *at_most*
    messages are sent in one.
    """

    round_trips: tuple[int, ...] = (0, 20, 100)
    senders: tuple[int, ...] = (1, 2, 4, 8)
    also: tuple[tuple[int, int], ...] = ((50, 16),)
    seconds: int = 8
    at_most: int = 10_000
    size: int = 2048

    def pairs(self) -> list[tuple[int, int]]:
        """Return (round trip, senders) in the order they are measured."""
        grid = [(trip, count) for trip in self.round_trips for count in self.senders]
        return [*grid, *(pair for pair in self.also if pair not in grid)]

    def messages(self, trip: int, senders: int) -> int:
        """Return how many messages are sent over *trip* ms by *senders*."""
        if trip == 0:
            return self.at_most
        allowed = senders * 1000 / (2 * trip) * self.seconds
        return round(min(self.at_most, max(allowed, min(_FEWEST, self.at_most))))


def run(distances: Distances, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure every pair *repeat* times on one testbed."""
    chance = random.Random()
    figures: dict[str, Figure | None] = {}
    checks: list[Check] = []
    with Testbed(setup, progress) as testbed:
        for trip, senders in distances.pairs():
            rates = []
            for number in range(1, repeat + 1):
                title = f"{trip} ms, {senders} senders, run {number}"
                found, check = _measure(testbed, distances, (trip, senders), chance, title)
                rates.append(found)
                checks.append(check)
            figures |= _figures(trip, senders, rates)
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(distances), "repeat": repeat}
    return Report("slow-relay", figures, Check.total(checks), settings, surroundings)


def _measure(
    testbed: Testbed,
    distances: Distances,
    pair: tuple[int, int],
    chance: random.Random,
    title: str,
) -> tuple[float, Check]:
    trip, senders = pair
    with delayed(testbed.sink.address, trip / 1000) as address:
        relay = {"MAIL_SMTP_ADDR": address if trip else testbed.sink.address}
        testbed.replace_senders(count=senders, environment=relay)
        load = Load(distances.messages(trip, senders), distances.size)
        done = drain(testbed, load, chance, title)
        testbed.roles.stop("sender")
    return done.rate, done.check


def _figures(trip: int, senders: int, rates: Sequence[float]) -> dict[str, Figure | None]:
    name = f"at_{trip}_ms_by_{senders}_senders"
    figures: dict[str, Figure | None] = {f"{name}_per_second": Figure.of(rates, digits=1)}
    if trip:
        each = Figure.of((found / senders for found in rates), digits=2)
        figures[f"{name}_per_second_and_sender"] = each
    return figures
