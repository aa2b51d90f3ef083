"""Throughput: from the first XADD until the last message is at the sink, and each part alone.

A run has three phases. `whole`: all roles work while the commands come in. `intake`: sending is
paused, the consumers bring as many commands again into Postgres. `drain`: the pause ends, the
senders empty the queue. Peers take their turn after each run, on the same stores and into the same
sink, so that a machine that grows slower or faster favours nobody.
"""

import random
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.commands import Load, Mode, prepare
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import Figure, rate
from mailworkers.bench.machine import describe
from mailworkers.bench.passing import pass_through
from mailworkers.bench.peers.comparison import Comparison
from mailworkers.bench.peers.peer import Peer
from mailworkers.bench.postfix_tools import find_tools
from mailworkers.bench.profiling import profiled
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report, costs
from mailworkers.bench.testbed import Setup, Testbed
from mailworkers.bench.wire import measure_wire

WARM_UP = 500  # messages before the first run: prepared statements, templates, caches
_WIRE_MESSAGES = 20_000


class _Run(msgspec.Struct, frozen=True):
    """What one run gave; the rates are messages a second."""

    whole: float
    intake: float
    drain: float
    spent: Spent
    check: Check


def run(
    load: Load,
    setup: Setup,
    *,
    repeat: int,
    progress: Progress,
    has_wire: bool = True,
    profile: Path | None = None,
    peers: Sequence[Peer] = (),
) -> Report:
    """Measure *repeat* runs of *load*, and of as much by each of *peers*, on one testbed."""
    wire = _wire(load, repeat, progress) if has_wire else None
    chance = random.Random()
    comparison = Comparison(peers, progress)
    with Testbed(setup, progress) as testbed:
        warm_up = msgspec.structs.replace(load, messages=WARM_UP)
        pass_through(testbed, warm_up, chance, "warming up")
        runs = []
        for number in range(1, repeat + 1):
            with profiled(testbed, profile):
                runs.append(_run(testbed, load, chance, number))
            comparison.run(testbed, load, number)
        surroundings = describe(testbed)
    settings = {
        **msgspec.to_builtins(load),
        "senders": setup.senders,
        "consumers": setup.consumers,
        "sink": str(setup.sink),
        "repeat": repeat,
    }
    figures = _figures(runs, load, wire)
    figures |= comparison.figures(figures, load.messages)
    total = Check.total(run.check for run in runs)
    return Report("throughput", figures, total, settings, surroundings, comparison.facts())


def _run(testbed: Testbed, load: Load, chance: random.Random, number: int) -> _Run:
    whole = pass_through(testbed, load, chance, f"run {number}: stream to sink")
    intake, drain, came_apart = _parts(testbed, load, chance, f"run {number}: intake, then drain")
    return _Run(whole.rate, intake, drain, whole.spent, whole.check.plus(came_apart))


def _parts(
    testbed: Testbed, load: Load, chance: random.Random, title: str
) -> tuple[float, float, Check]:
    """Return the rate of the consumers alone, then that of the senders alone."""
    batch = prepare(testbed.settings.stream, load, chance)
    wanted = testbed.sink.count() + load.messages
    with testbed.progress.step(title, load.messages) as advance:
        testbed.hold_senders()
        started = testbed.put(batch)
        testbed.await_acknowledged()
        accepted: datetime = testbed.ask(b"SELECT max(created_at) FROM deliveries")
        testbed.release_senders()
        testbed.await_arrivals(wanted, advance)
        testbed.await_settled()
    arrivals = testbed.sink.take()
    times = [arrival.at_ns for arrival in arrivals] or [0]
    return (
        rate(load.messages, int(accepted.timestamp() * 1e9) - started),
        rate(len(times) - 1, max(times) - min(times)),
        check(batch.message_ids, arrivals),
    )


def _wire(load: Load, repeat: int, progress: Progress) -> Figure | None:
    """Return what SMTP alone carries with messages of this size; None without smtp-source."""
    with progress.step("looking for smtp-source and smtp-sink"):
        tools = find_tools(may_download=True)
    if tools is None:
        progress.say("no smtp-source and smtp-sink here: the wire's limit is not measured")
        return None
    return measure_wire(
        tools, messages=_WIRE_MESSAGES, size=load.size, repeat=repeat, progress=progress
    )


def _figures(runs: list[_Run], load: Load, wire: Figure | None) -> dict[str, Figure | None]:
    # A rendered message is as long as `smtp-source`'s; a template's is another one.
    is_alike = wire is not None and load.mode is Mode.RENDERED
    ratio = Figure.of((run.whole / wire.median for run in runs), 3) if wire and is_alike else None
    return {
        "messages_per_second": Figure.of((run.whole for run in runs), digits=0),
        "intake_per_second": Figure.of((run.intake for run in runs), digits=0),
        "drain_per_second": Figure.of((run.drain for run in runs), digits=0),
        "wire_per_second": wire,
        "ratio_to_wire": ratio,
        **costs([run.spent for run in runs], load.messages),
    }
