"""Passing through: commands go in at once, every role is at work, until the last is at the sink."""

import random

import msgspec

from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.commands import Load, prepare
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import rate
from mailworkers.bench.testbed import Testbed


class Passage(msgspec.Struct, frozen=True):
    """Messages a second from the first XADD to the last arrival, and what that cost."""

    rate: float
    spent: Spent
    check: Check


def pass_through(testbed: Testbed, load: Load, chance: random.Random, title: str) -> Passage:
    """Put *load* on the stream and wait until all of it has arrived and is settled."""
    batch = prepare(testbed.settings.stream, load, chance)
    wanted = testbed.sink.count() + load.messages
    with testbed.progress.step(title, load.messages) as advance:
        meter = testbed.meter()
        started = testbed.put(batch)
        testbed.await_arrivals(wanted, advance)
        testbed.await_settled()
        spent = meter.read()
    arrivals = testbed.sink.take()
    last = max((arrival.at_ns for arrival in arrivals), default=started)
    return Passage(rate(len(arrivals), last - started), spent, check(batch.message_ids, arrivals))
