"""What the journal and the checks of the lease cost: senders with and without them, in pairs.

Both of a pair empty the same queue on the same stores, one after the other; which of them comes
first alternates, so that a machine that grows slower or faster favours neither. Only the senders
work meanwhile: this is where the cost is largest.
"""

import random
import statistics
import sys
from collections.abc import Sequence

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.draining import Drain, drain
from mailworkers.bench.figures import Figure
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

WARM_UP = 500  # messages for senders that were started just now
_BOLD = (sys.executable, "-m", "mailworkers.bench.bold_sender")


class _Pair(msgspec.Struct, frozen=True):
    """The same done with the journal and without it."""

    kept: Drain
    bold: Drain

    @property
    def cost_percent(self) -> float:
        """Return by how much less the journal lets through."""
        return 100 * (1 - self.kept.rate / self.bold.rate) if self.bold.rate else 0.0

    @property
    def sender_cost_percent(self) -> float:
        """Return by how much more CPU the senders use with it."""
        return 100 * (self.kept.sender_seconds / self.bold.sender_seconds - 1)


def run(load: Load, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* pairs of *load* on a testbed of its own."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        pairs = [_pair(testbed, load, chance, number) for number in range(1, repeat + 1)]
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(load), "senders": setup.senders, "pairs": repeat}
    return Report("journal", _figures(pairs), _total(pairs), settings, surroundings)


def _pair(testbed: Testbed, load: Load, chance: random.Random, number: int) -> _Pair:
    drains = {}
    for is_bold in (False, True) if number % 2 else (True, False):
        title = f"pair {number}: {'without' if is_bold else 'with'} journal and checks"
        testbed.replace_senders(_BOLD if is_bold else None)
        warm_up = msgspec.structs.replace(load, messages=min(WARM_UP, load.messages))
        drain(testbed, warm_up, chance, f"{title}, warming up")
        drains[is_bold] = drain(testbed, load, chance, title)
    return _Pair(drains[False], drains[True])


def _figures(pairs: Sequence[_Pair]) -> dict[str, Figure | None]:
    kept, bold = [pair.kept for pair in pairs], [pair.bold for pair in pairs]
    return {
        "cost_percent": Figure.of((pair.cost_percent for pair in pairs), digits=1),
        "with_journal_per_second": Figure.of((drain.rate for drain in kept), digits=0),
        "without_journal_per_second": Figure.of((drain.rate for drain in bold), digits=0),
        "sender_cpu_cost_percent": Figure.of((p.sender_cost_percent for p in pairs), digits=1),
        "with_journal_sender_cpu_seconds_per_1000": Figure.of(
            (drain.sender_seconds for drain in kept), digits=3
        ),
        "without_journal_sender_cpu_seconds_per_1000": Figure.of(
            (drain.sender_seconds for drain in bold), digits=3
        ),
        "other_cores": Figure.of(
            (statistics.mean((p.kept.spent.other_cores, p.bold.spent.other_cores)) for p in pairs),
            digits=2,
        ),
    }


def _total(pairs: Sequence[_Pair]) -> Check:
    return Check.total(drain.check for pair in pairs for drain in (pair.kept, pair.bold))
