"""Emptying a queue: the senders alone at work, as fast as they can."""

import random

import msgspec

from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.commands import Load, prepare
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import rate
from mailworkers.bench.testbed import Testbed


class Drain(msgspec.Struct, frozen=True):
    """One emptied queue: messages a second, CPU seconds of the senders for 1,000."""

    rate: float
    sender_seconds: float
    spent: Spent
    check: Check


def drain(testbed: Testbed, load: Load, chance: random.Random, title: str) -> Drain:
    """Fill the queue with *load* while sending is paused, then let the senders empty it."""
    batch = prepare(testbed.settings.stream, load, chance)
    wanted = testbed.sink.count() + load.messages
    with testbed.progress.step(title, load.messages) as advance:
        testbed.hold_senders()
        testbed.put(batch)
        testbed.await_acknowledged()
        meter = testbed.meter()
        testbed.release_senders()
        testbed.await_arrivals(wanted, advance)
        testbed.await_settled()
        spent = meter.read()
    arrivals = testbed.sink.take()
    times = [arrival.at_ns for arrival in arrivals] or [0]
    return Drain(
        rate(len(times) - 1, max(times) - min(times)),
        spent.by_kind["sender"] * 1000 / load.messages,
        spent,
        check(batch.message_ids, arrivals),
    )
