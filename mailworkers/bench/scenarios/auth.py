"""The auth lane: how long a login code takes while a million bulk messages wait.

The senders work on the bulk all the time. It is not sent to its end: what arrived of it must have
arrived once.
"""

import random

import msgspec

from mailworkers.bench.arrivals import Arrival, Check, check
from mailworkers.bench.commands import Batch, Load, prepare, text_of
from mailworkers.bench.figures import Figure, rate, spread_of_times
from mailworkers.bench.filling import PREFIX, Rows, fill
from mailworkers.bench.machine import describe
from mailworkers.bench.offering import Times, offer, times
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import BenchFailed, Setup, Testbed
from mailworkers.core.states import Lane

_SOURCE = "authsession"
# By index: beside a million rows a walk over all of them would be most of what is measured.
_OPEN = b"""
SELECT count(*) FILTER (WHERE lane = 0)
    + (SELECT count(*) FROM deliveries WHERE lane = 0 AND status IN ('queued', 'rendered'))
    + (SELECT count(*) FROM deliveries WHERE lane = 0 AND status = 'deferred')
FROM deliveries WHERE status = 'sending'
"""
_WAITING = b"SELECT count(*) FROM deliveries WHERE lane = 2 AND status = 'queued'"


class Backlog(msgspec.Struct, frozen=True):
    """How many bulk messages wait, of how many bytes; login codes a second, for how long (s)."""

    bulk: int = 1_000_000
    rate: int = 20
    seconds: int = 20
    size: int = 2048


class _Run(msgspec.Struct, frozen=True):
    """What one run gave: times of login codes, bulk messages a second meanwhile."""

    times: Times
    bulk_rate: float
    other_cores: float
    check: Check


def run(backlog: Backlog, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs before the same backlog, which shrinks meanwhile."""
    chance = random.Random()
    text = text_of(backlog.size).replace("\n", "\r\n")
    bulk = Rows("bulk", backlog.bulk, "queued", Lane.BULK, first_in=-3600, text=text)
    with Testbed(setup, progress) as testbed:
        testbed.hold_senders()
        testbed.roles.stop()
        with progress.step(f"putting {backlog.bulk:,} bulk messages into the queue"):
            fill(testbed.conn, bulk)
        testbed.start_all_roles()
        testbed.release_senders()
        runs = [_run(testbed, backlog, chance, number) for number in range(1, repeat + 1)]
        waiting = testbed.ask(_WAITING)
        if not waiting:
            raise BenchFailed("the backlog was sent before the last login code: give --bulk more")
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(backlog), "senders": setup.senders, "repeat": repeat}
    total = Check.total(run.check for run in runs)
    return Report("auth", _figures(runs, waiting), total, settings, surroundings)


def _run(testbed: Testbed, backlog: Backlog, chance: random.Random, number: int) -> _Run:
    load = Load(backlog.rate * backlog.seconds, backlog.size, source=_SOURCE)
    batch = prepare(testbed.settings.stream, load, chance)
    with testbed.progress.step(f"run {number}: {load.messages} login codes before the backlog"):
        testbed.sink.take()
        meter = testbed.meter()
        put_at = offer(testbed, batch, pause=1 / backlog.rate)
        testbed.await_acknowledged()
        testbed.await_count(lambda: -int(testbed.ask(_OPEN)), 0)
        spent = meter.read()
        arrivals = testbed.sink.take()
    found = times(testbed, batch, put_at, arrivals)
    moments = [arrival.at_ns for arrival in arrivals] or [0]
    bulk_rate = rate(len(arrivals) - load.messages, max(moments) - min(moments))
    return _Run(found, bulk_rate, spent.other_cores, _check(batch, arrivals))


def _check(batch: Batch, arrivals: list[Arrival]) -> Check:
    """Compare login codes with what arrived; of the bulk, whatever came must have come once."""
    bulk = [arrival for arrival in arrivals if arrival.message_id.startswith(f"<{PREFIX}")]
    expected = {*batch.message_ids, *(arrival.message_id for arrival in bulk)}
    return check(expected, arrivals)


def _figures(runs: list[_Run], waiting: int) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for name, each in (("accepted", "from_accepted"), ("xadd", "from_xadd")):
        spans = [getattr(run.times, each) for run in runs]
        figures |= spread_of_times(f"auth_{name}_to_sink", spans)
    figures["bulk_per_second"] = Figure.of((run.bulk_rate for run in runs), digits=0)
    figures["bulk_waiting_at_the_end"] = Figure.of([waiting], digits=0)
    figures["other_cores"] = Figure.of((run.other_cores for run in runs), digits=2)
    return figures
