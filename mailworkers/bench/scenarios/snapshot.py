"""A held snapshot: another session keeps one open, so that nothing dead may be removed meanwhile.

Runs follow each other before it, during it until its time is over, and after it. What counts of
`held` are its last runs, when most has piled up; of `after` those within a minute.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from mailworkers.adapters import db
from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.figures import Figure
from mailworkers.bench.flatness import Flatness, measure_part
from mailworkers.bench.machine import describe
from mailworkers.bench.passing import Passage, pass_through
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_AFTERWARDS = 60.0  # seconds in which it must have recovered
_DEAD = b"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'deliveries'"


class Hold(msgspec.Struct, frozen=True):
    """For how many seconds the snapshot is held."""

    seconds: int = 600


def run(hold: Hold, load: Load, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs before, as many as fit during, and those of a minute after."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        before = measure_part(testbed, load, chance, repeat, "before")

        def again(title: str) -> Passage:
            return pass_through(testbed, load, chance, title)

        with _held_snapshot(testbed):
            held = _during(again, hold.seconds, "while the snapshot is held")
        dead = testbed.ask(_DEAD)
        after = _during(again, min(_AFTERWARDS, hold.seconds), "after it")
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(hold), **msgspec.to_builtins(load), "repeat": repeat}
    runs = {"before": before, "held": held[-repeat:], "after": after[-repeat:]}
    figures = Flatness(runs, base="before").figures(load.messages)
    figures["dead_tuples"] = Figure.of([dead], digits=0)
    total = Check.total(run.check for run in (*before, *held, *after))
    return Report("snapshot", figures, total, settings, surroundings)


@contextmanager
def _held_snapshot(testbed: Testbed) -> Iterator[None]:
    """Hold a snapshot for the time of the context, as a backup or a forgotten psql does."""
    with db.connect(testbed.servers.postgres_dsn) as other:
        other.execute("SET idle_in_transaction_session_timeout = 0")
        with other.transaction():
            other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*) FROM deliveries")
            yield
            other.execute("SELECT count(*) FROM deliveries")  # it is held still


def _during(again: Callable[[str], Passage], seconds: float, title: str) -> list[Passage]:
    """Return the runs that begin within *seconds*, at least one."""
    ends = time.monotonic() + seconds
    runs = [again(f"{title}: {seconds:.0f} s left")]
    while (left := ends - time.monotonic()) > 0:
        runs.append(again(f"{title}: {left:.0f} s left"))
    return runs
