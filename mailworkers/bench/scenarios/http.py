"""Intake by HTTP: how many deliveries a second are durable, one by one and in batches.

Sending is paused meanwhile and goes on afterwards, so that each must arrive exactly once.
"""

import random
from collections.abc import Sequence

import msgspec

from mailworkers.bench.api_process import start_api
from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.callers import Callers, post
from mailworkers.bench.commands import Load, Submission, submissions
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import Figure, rate
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_ONE = "/api/v1/internal/deliveries"
_MANY = "/api/v1/internal/deliveries:batch"
_WARM_UP = 200


class Calls(msgspec.Struct, frozen=True):
    """*callers* wait for one answer each; a batch has so many deliveries."""

    callers: int = 32
    batch: int = 500


class _Intake(msgspec.Struct, frozen=True):
    """Deliveries a second, and what all processes used."""

    rate: float
    spent: Spent


def run(calls: Calls, load: Load, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* times *load*, first one by one, then in batches."""
    chance = random.Random()
    ways = {"single": 1, "batch": calls.batch}
    found: dict[str, list[_Intake]] = {way: [] for way in ways}
    checks: list[Check] = []
    with Testbed(setup, progress) as testbed:
        callers = Callers(start_api(testbed), calls.callers)
        for way, size in ways.items():
            warm_up = msgspec.structs.replace(load, messages=_WARM_UP)
            checks.append(_measure(testbed, callers, submissions(warm_up, chance), size, "")[1])
            for number in range(1, repeat + 1):
                batch = submissions(load, chance)
                title = f"{way}: run {number}"
                intake, arrived = _measure(testbed, callers, batch, size, title)
                found[way].append(intake)
                checks.append(arrived)
        callers.close()
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(calls), **msgspec.to_builtins(load), "repeat": repeat}
    return Report("http", _figures(found, load), Check.total(checks), settings, surroundings)


def _measure(
    testbed: Testbed, callers: Callers, batch: Sequence[Submission], size: int, title: str
) -> tuple[_Intake, Check]:
    """Post *batch*, *size* at a time; let all of it arrive then."""
    wanted = testbed.sink.count() + len(batch)
    bodies = [submission.body for submission in batch]
    if size == 1:
        requests = [post(_ONE, body) for body in bodies]
    else:
        groups = (bodies[first : first + size] for first in range(0, len(bodies), size))
        requests = [post(_MANY, {"deliveries": group}) for group in groups]
    with testbed.progress.step(title or "warming up"):
        testbed.hold_senders()
        meter = testbed.meter()
        callers.call(requests)
        spent = meter.read()
        testbed.release_senders()
        testbed.await_arrivals(wanted)
        testbed.await_settled()
    arrived = check((submission.message_id for submission in batch), testbed.sink.take())
    return _Intake(rate(len(batch), round(spent.elapsed * 1e9)), spent), arrived


def _figures(found: dict[str, list[_Intake]], load: Load) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for way, runs in found.items():
        each = 1000 / load.messages
        cost = f"{way}_cpu_seconds_per_1000"
        figures[f"{way}_per_second"] = Figure.of((one.rate for one in runs), digits=0)
        figures[cost] = Figure.of((one.spent.total * each for one in runs), digits=3)
        for kind in ("api", "postgres"):
            of_kind = (one.spent.by_kind[kind] * each for one in runs)
            figures[f"{cost}_{kind}"] = Figure.of(of_kind, digits=3)
    everything = [one.spent.other_cores for runs in found.values() for one in runs]
    figures["other_cores"] = Figure.of(everything, digits=2)
    return figures
