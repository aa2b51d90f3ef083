"""Flatness: the same load in different circumstances, as ratios to the first of them."""

import random
from collections.abc import Mapping, Sequence

import msgspec

from mailworkers.bench.commands import Load
from mailworkers.bench.figures import Figure
from mailworkers.bench.passing import Passage, pass_through
from mailworkers.bench.testbed import Testbed

_WARM_UP = 500  # messages for roles that were started just now
_COST = "cpu_seconds_per_1000"


def measure_part(
    testbed: Testbed, load: Load, chance: random.Random, repeat: int, name: str
) -> list[Passage]:
    """Return *repeat* runs of *load* after a few messages that do not count."""
    warm_up = msgspec.structs.replace(load, messages=min(_WARM_UP, load.messages))
    pass_through(testbed, warm_up, chance, f"{name}: warming up")
    return [
        pass_through(testbed, load, chance, f"{name}: run {number}")
        for number in range(1, repeat + 1)
    ]


class Flatness(msgspec.Struct, frozen=True):
    """Runs by circumstance; `ratio_<name>` is a circumstance's rate by that of *base*."""

    parts: Mapping[str, Sequence[Passage]]
    base: str

    def figures(self, messages: int) -> dict[str, Figure | None]:
        """Return rate and cost of each circumstance, and the ratios of rates and costs."""
        rates, costs = {}, {}
        for name, runs in self.parts.items():
            rates[name] = Figure.of((run.rate for run in runs), digits=0)
            costs[name] = Figure.of((run.spent.total * 1000 / messages for run in runs), digits=3)
        figures: dict[str, Figure | None] = {}
        for name, rate in rates.items():
            figures[f"{name}_per_second"] = rate
            figures[f"{name}_{_COST}"] = costs[name]
            if name != self.base:
                figures[f"ratio_{name}"] = _ratio(rate, rates[self.base])
                figures[f"cpu_ratio_{name}"] = _ratio(costs[name], costs[self.base])
        spent = [run.spent for runs in self.parts.values() for run in runs]
        figures["other_cores"] = Figure.of((one.other_cores for one in spent), digits=2)
        return figures


def _ratio(figure: Figure, base: Figure) -> Figure | None:
    """Return the ratio of the medians: runs of different circumstances make no pairs."""
    return Figure.of([figure.median / base.median], digits=2) if base.median else None
