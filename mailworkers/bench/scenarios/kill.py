"""All senders are killed in the middle of the work: copies, losses, and how soon it goes on.

The sink takes a message at its final dot and answers a moment later, so that a killed sender often
leaves one that was taken and not known as sent. Nobody can know then: one copy for each session
that was cut is what the default policy, to try again, may cost.
"""

import random
import time

import msgspec

from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.commands import Load, prepare
from mailworkers.bench.figures import Figure
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_LOOK_EVERY = 0.002  # seconds
_ON_ITS_WAY = 0.1  # seconds: what the dead have written is taken, too


class Kill(msgspec.Struct, frozen=True):
    """How many messages, at which share of them senders die, how long the sink takes to answer."""

    messages: int = 2000
    share: float = 0.4
    dot_delay_ms: int = 10
    size: int = 2048


class _Run(msgspec.Struct, frozen=True):
    """Copies and losses, what lives on at the end, seconds from the respawn to the next arrival."""

    check: Check
    stuck: int
    going_on: float


def run(kill: Kill, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Kill all senders once in each of *repeat* runs."""
    chance = random.Random()
    setup = msgspec.structs.replace(setup, dot_delay=kill.dot_delay_ms / 1000)
    with Testbed(setup, progress) as testbed:
        runs = [_run(testbed, kill, chance, number) for number in range(1, repeat + 1)]
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(kill), "senders": setup.senders, "repeat": repeat}
    total = Check.total(run.check for run in runs)
    return Report(
        "kill",
        _figures(runs, setup.senders),
        total,
        settings,
        surroundings,
        copies_allowed=setup.senders * repeat,
    )


def _run(testbed: Testbed, kill: Kill, chance: random.Random, number: int) -> _Run:
    batch = prepare(testbed.settings.stream, Load(kill.messages, kill.size), chance)
    before = testbed.sink.count()
    with testbed.progress.step(f"run {number}: {kill.messages} messages, senders killed"):
        testbed.hold_senders()
        testbed.put(batch)
        testbed.await_acknowledged()
        testbed.release_senders()
        while testbed.sink.count() < before + kill.messages * kill.share:
            testbed.check_alive()
            time.sleep(_LOOK_EVERY)
        testbed.roles.kill("sender")
        time.sleep(_ON_ITS_WAY)
        died_at = testbed.sink.count()
        respawned = time.monotonic()
        testbed.roles.start("sender", testbed.setup.senders)
        testbed.await_arrivals(died_at + 1)
        going_on = time.monotonic() - respawned
        testbed.await_settled()
        stuck = testbed.live()
    return _Run(check(batch.message_ids, testbed.sink.take()), stuck, going_on)


def _figures(runs: list[_Run], sessions: int) -> dict[str, Figure | None]:
    return {
        "copies": Figure.of((run.check.doubled for run in runs), digits=0),
        "copies_per_session": Figure.of((run.check.doubled / sessions for run in runs), digits=2),
        "lost": Figure.of((run.check.missing for run in runs), digits=0),
        "stuck": Figure.of((run.stuck for run in runs), digits=0),
        "going_on_after_ms": Figure.of((run.going_on * 1000 for run in runs), digits=0),
    }
