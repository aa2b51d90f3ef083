"""Retention under load: what it costs that old deliveries are deleted while new ones pass.

The old ones are past their 30 days when the retention process starts; a run counts only when there
was still something to delete at its end. How many go in a second is measured from one deletion to
another: retention rests between them, longer than a short run lasts.
"""

import random
import time

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.figures import Figure
from mailworkers.bench.filling import Rows, fill
from mailworkers.bench.flatness import Flatness, measure_part
from mailworkers.bench.machine import describe
from mailworkers.bench.passing import Passage, pass_through
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import BenchFailed, Setup, Testbed

_OLD = b"SELECT count(*) FROM deliveries WHERE finished_at < now() - interval '30 days'"
_AGE = 31 * 86_400.0


class Old(msgspec.Struct, frozen=True):
    """How many deliveries are to be deleted."""

    rows: int = 1_000_000


def run(old: Old, load: Load, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs without the retention process and as many while it deletes."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        testbed.roles.stop()
        with progress.step(f"making {old.rows:,} deliveries older than 30 days"):
            fill(testbed.conn, Rows("old", old.rows, "sent", first_in=-_AGE))
        testbed.start_all_roles(without="retention")
        without = measure_part(testbed, load, chance, repeat, "nothing is deleted")
        testbed.roles.start("retention", 1)
        with progress.step("starting retention"):
            before = _await_deletion(testbed, old.rows)
        started = time.monotonic()
        during = _while_deleting(testbed, load, chance, repeat)
        after = _await_deletion(testbed, int(testbed.ask(_OLD)))
        deleted = (before - after) / (time.monotonic() - started)
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(old), **msgspec.to_builtins(load), "repeat": repeat}
    parts = Flatness({"without": without, "deleting": during}, base="without")
    figures = {
        **parts.figures(load.messages),
        "deleted_per_second": Figure.of([deleted], digits=0),
    }
    total = Check.total(run.check for run in (*without, *during))
    return Report("retention", figures, total, settings, surroundings)


def _await_deletion(testbed: Testbed, rows: int) -> int:
    """Return how many old rows are left once they are fewer than *rows*, which may be none."""
    if rows:
        testbed.await_count(lambda: -int(testbed.ask(_OLD)), 1 - rows)
    return int(testbed.ask(_OLD))


def _while_deleting(
    testbed: Testbed, load: Load, chance: random.Random, repeat: int
) -> list[Passage]:
    runs: list[Passage] = []
    while len(runs) < repeat:
        passage = pass_through(testbed, load, chance, f"while deleting: run {len(runs) + 1}")
        if not testbed.ask(_OLD):
            break
        runs.append(passage)
    if not runs:
        raise BenchFailed("all old rows were deleted before the first run ended: give --rows more")
    return runs
