"""Random schedules from a seed, and making those that fail short."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mailworkers.core.states import AttemptOutcome, Lane
from tests.model.book import RULES, perform
from tests.model.invariants import check
from tests.model.quiescence import quiesce
from tests.model.rules import Step
from tests.model.violations import Violation
from tests.model.world import PARKED, World

LENGTH = 240  # steps tried; most of them find nobody to happen to
_NAMES = tuple(name for name, found in RULES.items() for _ in range(found.weight))
_BITS = 52
START = (Step("spawn", 0), Step("accept", 0))
MakeWorld = Callable[[frozenset[Lane]], World]


class Schedule(NamedTuple):
    """What it takes to do the same again: the lanes that are parked, and the steps."""

    parked: int
    steps: tuple[Step, ...]


class Failed(NamedTuple):
    """A schedule that broke a promise, and which."""

    schedule: Schedule
    violation: Violation


def draw(seed: int) -> Schedule:
    """Return the schedule of *seed*; steps that find nobody are part of it."""
    chance = random.Random(seed)
    kinds = len(_NAMES)
    numbers = [divmod(chance.getrandbits(_BITS), kinds) for _ in range(LENGTH)]
    steps = [Step(_NAMES[kind], number) for number, kind in numbers]
    return Schedule(seed % len(PARKED), (*START, *steps))


def run(
    schedule: Schedule, make: MakeWorld = World, seen: Counter[str] | None = None
) -> Failed | None:
    """Do the steps of *schedule* and let the world come to rest; return what was broken."""
    world = make(PARKED[schedule.parked])
    done: list[Step] = []
    try:
        for step in schedule.steps:
            if perform(world, step):
                done.append(step)
                check(world)
        quiesce(world)
    except Violation as violation:
        return Failed(Schedule(schedule.parked, tuple(done)), violation)
    if seen is not None:
        _count(world, done, seen)
    return None


def _count(world: World, done: Sequence[Step], seen: Counter[str]) -> None:
    """Take in what a schedule was made of, and what came of it."""
    seen.update(step.rule for step in done)
    for row in (*world.rows, *world.ended.values()):
        seen[f"ended {row.status}"] += 1
        seen["attempts"] += len(row.attempts)
        seen["attempts unknown"] += sum(a.outcome is AttemptOutcome.UNKNOWN for a in row.attempts)
    seen["copies too many"] += sum(n - 1 for n in world.copies.values() if n > 1)


def shrink(failed: Failed, make: MakeWorld = World) -> Failed:
    """Return the shortest schedule found that breaks a promise too."""
    best = failed
    size = max(1, len(best.schedule.steps) // 2)
    while size:
        start = 0
        while start < len(best.schedule.steps):
            steps = best.schedule.steps
            shorter = Schedule(best.schedule.parked, steps[:start] + steps[start + size :])
            if found := run(shorter, make):
                best = found
            else:
                start += size
        size //= 2
    for place in range(len(best.schedule.steps)):
        steps = best.schedule.steps
        if place >= len(steps):
            break
        simple = (*steps[:place], Step(steps[place].rule, 0), *steps[place + 1 :])
        if found := run(Schedule(best.schedule.parked, simple), make):
            best = found
    return best
