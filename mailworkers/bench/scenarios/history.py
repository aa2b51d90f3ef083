"""History: the same work on a small database, and on one that has years behind and weeks before it.

The finished ones are as a delivery is left after its content has gone; of those to come all are
still whole. Both halves run on the same stores, the small one first.
"""

import random

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.filling import Rows, fill
from mailworkers.bench.flatness import Flatness, measure_part
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_DAY = 86_400.0
_SIZES = b"""
SELECT round(sum(pg_total_relation_size(oid)) / 2 ^ 20) FROM pg_class
WHERE relnamespace = 'mail'::regnamespace AND relkind = 'r'
"""


class Past(msgspec.Struct, frozen=True):
    """How many have ended and how many are to come; *before* is how many the small one has."""

    finished: int = 5_000_000
    future: int = 1_000_000
    before: int = 10_000


def run(past: Past, load: Load, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs of *load* on the small database and as many on the large one."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        _grow(testbed, "small", past.before, 0)
        before = measure_part(testbed, load, chance, repeat, "small")
        _grow(testbed, "large", past.finished, past.future)
        after = measure_part(testbed, load, chance, repeat, "large")
        size = testbed.ask(_SIZES)
        surroundings = describe(testbed)
    settings = {
        **msgspec.to_builtins(past),
        **msgspec.to_builtins(load),
        "database_mib": int(size),
        "senders": setup.senders,
        "repeat": repeat,
    }
    parts = Flatness({"small": before, "large": after}, base="small")
    checks = Check.total(run.check for run in (*before, *after))
    return Report("history", parts.figures(load.messages), checks, settings, surroundings)


def _grow(testbed: Testbed, name: str, finished: int, future: int) -> None:
    """Put rows in while no role runs, and start the roles again."""
    testbed.roles.stop()
    day = _DAY * 29 / max(finished, 1)
    ended = Rows(f"{name}-ended", finished, "sent", first_in=-29.5 * _DAY, spacing=day)
    coming = _DAY * 25 / max(future, 1)
    later = Rows(f"{name}-later", future, "scheduled", first_in=_DAY, spacing=coming)
    with testbed.progress.step(f"making {finished:,} finished and {future:,} future deliveries"):
        fill(testbed.conn, *(rows for rows in (ended, later) if rows.count))
    testbed.start_all_roles()
