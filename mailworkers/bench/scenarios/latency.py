"""Latency: how long a message takes at a steady rate, and when nothing else happens."""

import random
import time

import msgspec

from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.commands import Batch, Load, Mode, prepare
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import Figure, spread_of_times
from mailworkers.bench.machine import describe
from mailworkers.bench.offering import Times, offer, times
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report, costs
from mailworkers.bench.testbed import Setup, Testbed

WARM_UP = 200  # messages before the first run
_IDLE_PAUSE = 1.3  # seconds: longer than a poll, so that every role is in its longest wait


class Offer(msgspec.Struct, frozen=True):
    """Messages a second, for how many seconds; then *idle_tries* first messages when idle."""

    rate: int = 200
    seconds: int = 10
    idle_tries: int = 10
    size: int = 2048
    mode: Mode = Mode.RENDERED


class _Run(msgspec.Struct, frozen=True):
    """What one run gave."""

    offered: Times
    idle: Times
    spent: Spent
    check: Check


def run(offered: Offer, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs on a testbed of its own."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        with progress.step(f"warming up with {WARM_UP} messages"):
            _send(testbed, _prepare(testbed, offered, WARM_UP, chance), pause=0.0)
        runs = [_run(testbed, offered, chance, number) for number in range(1, repeat + 1)]
        surroundings = describe(testbed)
    settings = {
        **msgspec.to_builtins(offered),
        "senders": setup.senders,
        "consumers": setup.consumers,
        "repeat": repeat,
    }
    total = Check.total(run.check for run in runs)
    return Report("latency", _figures(runs, offered), total, settings, surroundings)


def _run(testbed: Testbed, offered: Offer, chance: random.Random, number: int) -> _Run:
    batch = _prepare(testbed, offered, offered.rate * offered.seconds, chance)
    title = f"run {number}: {offered.rate} messages a second for {offered.seconds} s"
    with testbed.progress.step(title):
        meter = testbed.meter()
        busy, came = _send(testbed, batch, pause=1 / offered.rate)
        spent = meter.read()
    batch = _prepare(testbed, offered, offered.idle_tries, chance)
    with testbed.progress.step(f"run {number}: {offered.idle_tries} messages to an idle system"):
        time.sleep(_IDLE_PAUSE)
        idle, came_idle = _send(testbed, batch, pause=_IDLE_PAUSE)
    return _Run(busy, idle, spent, came.plus(came_idle))


def _prepare(testbed: Testbed, offered: Offer, messages: int, chance: random.Random) -> Batch:
    return prepare(testbed.settings.stream, Load(messages, offered.size, offered.mode), chance)


def _send(testbed: Testbed, batch: Batch, *, pause: float) -> tuple[Times, Check]:
    """Put the commands of *batch* one by one, *pause* seconds apart; return how long each took."""
    wanted = testbed.sink.count() + len(batch.commands)
    put_at = offer(testbed, batch, pause=pause)
    testbed.await_arrivals(wanted)
    testbed.await_settled()
    arrivals = testbed.sink.take()
    return times(testbed, batch, put_at, arrivals), check(batch.message_ids, arrivals)


def _figures(runs: list[_Run], offered: Offer) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for name, each in (("accepted", "from_accepted"), ("xadd", "from_xadd")):
        for phase in ("offered", "idle"):
            spans = [getattr(getattr(run, phase), each) for run in runs]
            figures |= spread_of_times(f"{phase}_{name}_to_sink", spans)
    return {**figures, **costs([run.spent for run in runs], offered.rate * offered.seconds)}
