"""The soak: a long row of messages, and whether anything grows that should not.

Batches follow each other while the processes are looked at: resident memory and open files of
senders and consumers, dead tuples, and the indexes in which only live deliveries lie. `growth` is
the median of the last quarter minus that of the second: the first one warms up.
"""

import random
import statistics
from collections.abc import Callable, Sequence

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.figures import Figure
from mailworkers.bench.machine import describe
from mailworkers.bench.passing import Passage, pass_through
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.resources import Used, used_by
from mailworkers.bench.testbed import Setup, Testbed

_WATCHED = ("sender", "consumer")
_DEAD = b"SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'deliveries'"
_LIVE_INDEXES = b"""
SELECT sum(pg_relation_size(name::regclass)) / 2 ^ 20 FROM unnest(
    '{deliveries_ready,deliveries_due,deliveries_lease_ends,deliveries_expiring,deliveries_leased}'
    ::text[]) name
"""
_CONNECTIONS = b"""
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


class Soak(msgspec.Struct, frozen=True):
    """How many messages in all, and in one batch."""

    messages: int = 1_000_000
    batch: int = 10_000
    size: int = 2048


class _Look(msgspec.Struct, frozen=True):
    """What was seen after one batch; of several processes of a role, the largest."""

    used: dict[str, Used]
    dead: int
    index_mib: float
    connections: int


def run(soak: Soak, setup: Setup, *, progress: Progress) -> Report:
    """Send all messages once."""
    chance = random.Random()
    looks: list[_Look] = []
    passages: list[Passage] = []
    batches = max(1, soak.messages // soak.batch)
    with Testbed(setup, progress) as testbed:
        for number in range(1, batches + 1):
            load = Load(min(soak.batch, soak.messages), soak.size)
            title = f"batch {number} of {batches}"
            passages.append(pass_through(testbed, load, chance, title))
            looks.append(_look(testbed))
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(soak), "senders": setup.senders}
    figures = {**_figures(looks), **_rates(passages)}
    total = Check.total(one.check for one in passages)
    return Report("memory", figures, total, settings, surroundings)


def _look(testbed: Testbed) -> _Look:
    used = {
        role: max((used_by(one.pid) for one in testbed.roles.of(role)), key=lambda u: u.rss_mib)
        for role in _WATCHED
    }
    return _Look(
        used,
        int(testbed.ask(_DEAD)),
        float(testbed.ask(_LIVE_INDEXES)),
        int(testbed.ask(_CONNECTIONS)),
    )


def _figures(looks: Sequence[_Look]) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for role in _WATCHED:
        figures |= _course(f"{role}_rss_mib", looks, lambda one, r=role: one.used[r].rss_mib, 1)  # type: ignore[misc]
        figures |= _course(f"{role}_open_files", looks, lambda one, r=role: one.used[r].files, 0)  # type: ignore[misc]
    figures |= _course("dead_tuples", looks, lambda one: one.dead, 0)
    figures |= _course("live_indexes_mib", looks, lambda one: one.index_mib, 1)
    figures["connections"] = Figure.of([max(one.connections for one in looks)], digits=0)
    return figures


def _course(
    name: str, looks: Sequence[_Look], look: Callable[[_Look], float], digits: int
) -> dict[str, Figure | None]:
    """Return the highest value over time, and how much it grew."""
    values = [look(one) for one in looks]
    quarter = max(1, len(values) // 4)
    early = values[quarter : 2 * quarter] or values
    growth = statistics.median(values[-quarter:]) - statistics.median(early)
    return {
        f"{name}_most": Figure.of([max(values)], digits),
        f"{name}_growth": Figure.of([growth], digits),
    }


def _rates(passages: Sequence[Passage]) -> dict[str, Figure | None]:
    """Return the rate of all batches, and that of the last tenth by that of the first."""
    tenth = max(1, len(passages) // 10)
    first, last = (
        statistics.median(one.rate for one in part)
        for part in (passages[:tenth], passages[-tenth:])
    )
    return {
        "messages_per_second": Figure.of((one.rate for one in passages), digits=0),
        "ratio_last_to_first": Figure.of([last / first], 2) if first else None,
        "other_cores": Figure.of((one.spent.other_cores for one in passages), digits=2),
    }
