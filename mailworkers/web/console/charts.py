"""Lines and bars of the overview: numbers in, SVG paths out. Pure; the pages draw the frame.

A chart is 90 x 40 units, stretched to whatever width the page gives it, newest at the right edge.
"""

import math
from collections.abc import Mapping, Sequence

import msgspec

from mailworkers.adapters.store.pulse import SPAN, STRETCH, Stretch
from mailworkers.core.counts import count
from mailworkers.core.states import Lane
from mailworkers.web.console.words import milliseconds

WIDTH = SPAN // STRETCH
HEIGHT = 40
_SECONDS = STRETCH.total_seconds()
# Three stretches a bar: thirty bars are read at a glance, ninety are not.
_PER_BAR = 3
_OUTCOMES = {
    "sent": ("sent",),
    "suppressed": ("suppressed",),
    "cancelled": ("cancelled",),
    "uncertain": ("uncertain",),
    "failed": ("failed", "dead_letter"),
}


class Series(msgspec.Struct, frozen=True):
    """One line, area or layer of bars: *look* is its style, *now* its newest value in words."""

    name: str
    look: str
    path: str
    now: str


class Chart(msgspec.Struct, frozen=True):
    """A drawing: *top* is what its upper edge stands for, *words* tell it to who cannot see it."""

    title: str
    top: str
    series: tuple[Series, ...]
    words: str
    is_empty: bool = False
    note: str = ""


def throughput(stretches: Sequence[Stretch]) -> Chart:
    """Return how many deliveries came in and were sent, a second."""
    full = stretches[:-1]  # the present one has only begun
    came = [sum(s.accepted.values()) / _SECONDS for s in full]
    went = [_ended(s, ("sent",)) / _SECONDS for s in full]
    top = nice_top(max([*came, *went, 0]))
    series = (
        Series("sent", "area good", _area(went, top), _rate(_lately(went))),
        Series("accepted", "line accent", _line(came, top), _rate(_lately(came))),
    )
    return _chart("Throughput", _rate(top), series, is_empty=not any((*came, *went)))


def outcomes(stretches: Sequence[Stretch]) -> Chart:
    """Return how deliveries ended, as stacked bars of half a minute."""
    bars = _bars(stretches)
    layers = {
        name: [sum(_ended(s, statuses) for s in bar) for bar in bars]
        for name, statuses in _OUTCOMES.items()
    }
    heights = [sum(column) for column in zip(*layers.values(), strict=True)]
    top = nice_top(max([*heights, 0]))
    floor = [0.0] * len(bars)
    series = []
    for name, values in layers.items():
        path = _bar_path(floor, values, top)
        series.append(Series(name, f"bar {name}", path, count(sum(values))))
        floor = [low + value for low, value in zip(floor, values, strict=True)]
    return _chart("Outcomes", f"{count(top)} in 30 s", tuple(series), is_empty=not any(heights))


def depth(stretches: Sequence[Stretch], live: Mapping[str, int]) -> Chart:
    """Return how many deliveries of each lane lived.

    Told back from *live*, how many do now: those that came later were not there yet, those that
    ended later still were. One that was requeued counts from when it first came.
    """
    lines = {lane.label: _told_back(stretches, lane.label, live) for lane in Lane}
    top = nice_top(max([*(value for line in lines.values() for value in line), 0]))
    series = tuple(
        Series(lane, f"line lane-{lane}", _line(line, top), count(live.get(lane, 0)))
        for lane, line in lines.items()
    )
    is_empty = not any(value for line in lines.values() for value in line)
    return _chart("Waiting, by lane", count(top), series, is_empty=is_empty)


def took(stretches: Sequence[Stretch]) -> Chart:
    """Return how long the attempts took that sent mail, from the lease to the relay's answer."""
    found = [s.took for s in stretches]
    top = nice_top(max([t[2] for t in found if t] or [0]))
    newest = next((t for t in reversed(found) if t), None)
    series = tuple(
        Series(
            name,
            f"line {name}",
            _line([t[place] if t else None for t in found], top),
            milliseconds(newest[place]) if newest else "–",
        )
        for place, name in enumerate(("p50", "p95", "p99"))
    )
    return _chart("Send duration", milliseconds(top), series, is_empty=newest is None)


def _chart(title: str, top: str, series: tuple[Series, ...], *, is_empty: bool) -> Chart:
    now = ", ".join(f"{one.name} {one.now}" for one in series)
    return Chart(title, top, series, f"{title}, the last 15 minutes. Now: {now}.", is_empty)


def nice_top(most: float) -> float:
    """Return a round number that is not below *most*: 1, 2 or 5 times a power of ten."""
    if most <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(most))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= most)


def _told_back(stretches: Sequence[Stretch], lane: str, live: Mapping[str, int]) -> list[float]:
    there = live.get(lane, 0)
    told = []
    for stretch in reversed(stretches):
        told.append(float(max(0, there)))
        there -= stretch.accepted.get(lane, 0)
        there += sum(n for (of_lane, _), n in stretch.ended.items() if of_lane == lane)
    return told[::-1]


def _ended(stretch: Stretch, statuses: Sequence[str]) -> int:
    return sum(n for (_, status), n in stretch.ended.items() if status in statuses)


def _bars(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Return the stretches in bars that keep their place while time goes on."""
    bars: dict[int, list[Stretch]] = {}
    for stretch in stretches:
        bars.setdefault(int(stretch.begins_at / _SECONDS) // _PER_BAR, []).append(stretch)
    return [bars[number] for number in sorted(bars)][-(WIDTH // _PER_BAR) :]


def _lately(values: Sequence[float]) -> float:
    """Return the mean of the last half minute."""
    last = values[-3:]
    return sum(last) / len(last) if last else 0.0


def _rate(value: float) -> str:
    return f"{value:.0f}/s" if value >= 10 else f"{value:.1f}/s"


def _line(values: Sequence[float | None], top: float) -> str:
    """Return a path through *values*, broken where there is none; one alone is a short stroke."""
    path: list[str] = []
    placed = _placed(values)
    befores = [None, *(value for _, value in placed)]
    afters = [*(value for _, value in placed[1:]), None]
    for (x, value), before, after in zip(placed, befores, afters, strict=False):
        if value is not None:
            path.append(f"{'M' if before is None else 'L'}{x} {_y(value, top)}")
            path.append("h-.9" if before is None and after is None else "")
    return "".join(path)


def _area(values: Sequence[float], top: float) -> str:
    placed = list(_placed(values))
    if not placed:
        return ""
    line = "".join(f"L{x} {_y(value or 0, top)}" for x, value in placed)
    return f"M{placed[0][0]} {HEIGHT}{line}L{placed[-1][0]} {HEIGHT}Z"


def _bar_path(floor: Sequence[float], values: Sequence[float], top: float) -> str:
    """Return rectangles of *values* that stand on *floor*."""
    left = WIDTH - len(values) * _PER_BAR
    return "".join(
        f"M{left + number * _PER_BAR + 0.3:g} {_y(low, top)}h2.4V{_y(low + value, top)}h-2.4Z"
        for number, (low, value) in enumerate(zip(floor, values, strict=True))
        if value
    )


def _placed(values: Sequence[float | None]) -> list[tuple[int, float | None]]:
    """Return each value with its x: the newest at the right edge."""
    left = WIDTH - len(values) + 1
    return [(left + number, value) for number, value in enumerate(values)]


def _y(value: float, top: float) -> str:
    return f"{HEIGHT - min(value / top, 1) * (HEIGHT - 1):.2f}".rstrip("0").rstrip(".")
