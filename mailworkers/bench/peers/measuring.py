"""One run of one peer: from the first enqueue until the last message is at the sink."""

import time

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load, text_of
from mailworkers.bench.cpu import Meter, Spent
from mailworkers.bench.figures import rate
from mailworkers.bench.peers.peer import Peer, Running, Work
from mailworkers.bench.peers.python_peers import run_name
from mailworkers.bench.testbed import Testbed

WARM_UP = 200  # messages
# Seconds in which a peer writes down what it has sent: that is its work, as our settling is ours.
_WRITING_DOWN = 1.0


class PeerRun(msgspec.Struct, frozen=True):
    """What one run gave; the rates are messages a second."""

    whole: float
    enqueued: float
    spent: Spent
    check: Check


def measure_peer(testbed: Testbed, peer: Peer, load: Load, title: str) -> PeerRun:
    """Start *peer*, let it send *load* after a few messages that do not count, and end it."""
    with (
        testbed.progress.step(title, load.messages) as advance,
        peer.running(testbed) as running,
    ):
        warm_up = Work(run_name(), min(WARM_UP, load.messages), text_of(load.size))
        _send(testbed, running, warm_up)
        testbed.sink.take()
        work = Work(run_name(), load.messages, text_of(load.size))
        running.prepare(work)
        wanted = testbed.sink.count() + work.messages
        meter = Meter({**testbed.store_groups(), **running.groups()})
        started, acknowledged = running.enqueue()
        testbed.await_arrivals(wanted, advance)
        time.sleep(_WRITING_DOWN)
        spent = meter.read()
        running.check_alive()
    arrivals = testbed.sink.take()
    last = max((arrival.at_ns for arrival in arrivals), default=started)
    return PeerRun(
        rate(len(arrivals), last - started),
        rate(work.messages, acknowledged - started),
        spent,
        running.check(work, arrivals),
    )


def _send(testbed: Testbed, running: Running, work: Work) -> None:
    wanted = testbed.sink.count() + work.messages
    running.prepare(work)
    running.enqueue()
    testbed.await_arrivals(wanted)
    running.check_alive()
