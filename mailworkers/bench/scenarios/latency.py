"""Latency: how long a message takes while a steady rate is offered, and when nothing else happens.

Measured from two moments: the XADD, and the acceptance (the row's `created_at`, set just before the
COMMIT), until the sink has the final dot. All clocks are this machine's.
"""

import random
import time
from collections.abc import Sequence
from datetime import datetime

import msgspec

from mailworkers.bench.arrivals import Arrival, Check, check
from mailworkers.bench.commands import Batch, Load, Mode, prepare
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import Figure, percentile
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report, costs
from mailworkers.bench.testbed import Setup, Testbed

WARM_UP = 200  # messages before the first run
_IDLE_PAUSE = 1.3  # seconds: longer than a poll, so that every role is in its longest wait
_ACCEPTED = "SELECT delivery_id::text, created_at FROM deliveries WHERE delivery_id = ANY (%s)"
_MILLISECOND = 1e6  # ns


class Offer(msgspec.Struct, frozen=True):
    """Messages a second, for how many seconds; then *idle_tries* first messages when idle."""

    rate: int = 200
    seconds: int = 10
    idle_tries: int = 10
    size: int = 2048
    mode: Mode = Mode.RENDERED


class _Times(msgspec.Struct, frozen=True):
    """Milliseconds that messages took to the sink, since their XADD and since their acceptance."""

    from_xadd: list[float]
    from_accepted: list[float]


class _Run(msgspec.Struct, frozen=True):
    """What one run gave."""

    offered: _Times
    idle: _Times
    spent: Spent
    check: Check


def run(offer: Offer, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs on a testbed of its own."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        with progress.step(f"warming up with {WARM_UP} messages"):
            _send(testbed, _prepare(testbed, offer, WARM_UP, chance), pause=0.0)
        runs = [_run(testbed, offer, chance, number) for number in range(1, repeat + 1)]
        surroundings = describe(testbed)
    settings = {
        **msgspec.to_builtins(offer),
        "senders": setup.senders,
        "consumers": setup.consumers,
        "repeat": repeat,
    }
    total = Check.total(run.check for run in runs)
    return Report("latency", _figures(runs, offer), total, settings, surroundings)


def _run(testbed: Testbed, offer: Offer, chance: random.Random, number: int) -> _Run:
    batch = _prepare(testbed, offer, offer.rate * offer.seconds, chance)
    title = f"run {number}: {offer.rate} messages a second for {offer.seconds} s"
    with testbed.progress.step(title):
        meter = testbed.meter()
        offered, came = _send(testbed, batch, pause=1 / offer.rate)
        spent = meter.read()
    batch = _prepare(testbed, offer, offer.idle_tries, chance)
    with testbed.progress.step(f"run {number}: {offer.idle_tries} messages to an idle system"):
        time.sleep(_IDLE_PAUSE)
        idle, came_idle = _send(testbed, batch, pause=_IDLE_PAUSE)
    return _Run(offered, idle, spent, came.plus(came_idle))


def _prepare(testbed: Testbed, offer: Offer, messages: int, chance: random.Random) -> Batch:
    return prepare(testbed.settings.stream, Load(messages, offer.size, offer.mode), chance)


def _send(testbed: Testbed, batch: Batch, *, pause: float) -> tuple[_Times, Check]:
    """Put the commands of *batch* one by one, *pause* seconds apart; return how long each took."""
    wanted = testbed.sink.count() + len(batch.commands)
    put_at = []
    due = time.monotonic()
    for command in batch.commands:
        time.sleep(max(0.0, due - time.monotonic()))
        put_at.append(testbed.producer.put([command]))
        due += pause
    testbed.await_arrivals(wanted)
    testbed.await_settled()
    arrivals = testbed.sink.take()
    return _times(testbed, batch, put_at, arrivals), check(batch.message_ids, arrivals)


def _times(
    testbed: Testbed, batch: Batch, put_at: Sequence[int], arrivals: Sequence[Arrival]
) -> _Times:
    arrived = {arrival.message_id: arrival.at_ns for arrival in arrivals}
    ids = {name[1:].partition("@")[0]: name for name in batch.message_ids}
    rows = testbed.conn.execute(_ACCEPTED, [list(ids)])
    accepted = {ids[delivery_id]: _nanoseconds(at) for delivery_id, at in rows}
    came = [name for name in batch.message_ids if name in arrived]
    put = dict(zip(batch.message_ids, put_at, strict=True))
    return _Times(
        [(arrived[name] - put[name]) / _MILLISECOND for name in came],
        [(arrived[name] - accepted[name]) / _MILLISECOND for name in came],
    )


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e9)


def _figures(runs: list[_Run], offer: Offer) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for name, each in (("accepted", "from_accepted"), ("xadd", "from_xadd")):
        for phase in ("offered", "idle"):
            times = [getattr(getattr(run, phase), each) for run in runs]
            prefix = f"{phase}_{name}_to_sink"
            figures[f"{prefix}_p50_ms"] = Figure.of((percentile(t, 0.5) for t in times), digits=2)
            figures[f"{prefix}_p99_ms"] = Figure.of((percentile(t, 0.99) for t in times), digits=2)
            figures[f"{prefix}_max_ms"] = Figure.of((max(t) for t in times), digits=2)
    return {**figures, **costs([run.spent for run in runs], offer.rate * offer.seconds)}
