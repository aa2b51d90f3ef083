"""One panel of the dashboard as HTML: near enough to Grafana to see whether it can be read."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Any

import msgspec

Panel = dict[str, Any]
Point = tuple[float, float]

COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff")
_UNITS = {"ms": "ms", "mails/s": "/s", "ops": "/s", "percentunit": "%"}
CELL = (70, 34)  # pixels of a column and of a row
_LEFT = 72.0


class Line(msgspec.Struct, frozen=True):
    """A series of a panel: its name in the legend, its points, its labels."""

    name: str
    points: list[Point]
    labels: dict[str, str]


def draw(panel: Panel, lines: Sequence[Line], span: Point) -> str:
    """Return *panel* with *lines* in it, from the one time of *span* to the other."""
    body = f"<p class=none>{_defaults(panel)['noValue']}</p>"
    if lines:
        kinds = {"stat": _stat, "table": _table, "state-timeline": _states, "heatmap": _heat}
        body = kinds.get(panel["type"], _graph)(panel, lines, span)
    return f"<h3>{escape(panel['title'])}</h3>{body}"


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return found


def _steps(panel: Panel) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _defaults(panel)["thresholds"]["steps"]
    return found


def _bounds(panel: Panel) -> list[float]:
    return [step["value"] for step in _steps(panel) if step["value"] is not None]


def _number(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "ms" and value >= 1000:
        seconds = value / 1000
        return f"{seconds:.3g} s" if seconds < 60 else f"{seconds / 60:.0f} min"
    text = f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{text} {_UNITS.get(unit, '')}".strip()


def _words(panel: Panel, value: float) -> tuple[str, str]:
    """Return what *value* is called, and its colour."""
    for mapping in _defaults(panel)["mappings"]:
        told = mapping["options"].get(f"{value:g}")
        if told:
            return told["text"], told["color"]
    reached = [s["color"] for s in _steps(panel) if s["value"] is None or s["value"] <= value]
    colour = "" if panel["options"].get("colorMode") == "none" else reached[-1]
    return _number(value, _defaults(panel)["unit"]), colour


def _stat(panel: Panel, lines: Sequence[Line], _span: Point) -> str:
    text, colour = _words(panel, lines[0].points[-1][1])
    return f'<p class="stat {colour}">{escape(text)}</p>'


def _table(_panel: Panel, lines: Sequence[Line], _span: Point) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in line.labels.values()) + "</tr>"
        for line in lines
    )
    return f"<table>{rows}</table>"


class _Area:
    """The room below a panel's title, in pixels, and what is drawn there: times run across it."""

    def __init__(self, panel: Panel, span: Point) -> None:
        place = panel["gridPos"]
        self.width: float = place["w"] * CELL[0] - 24.0
        self.height: float = place["h"] * CELL[1] * 0.66
        self._span = span
        self._shapes: list[str] = []

    def across(self, at: float) -> float:
        begin, end = self._span
        return _LEFT + (at - begin) / (end - begin) * (self.width - _LEFT)

    def text(self, height: float, words: str) -> None:
        self._shapes.append(f'<text x="0" y="{height:.1f}">{escape(words)}</text>')

    def rule(self, height: float, kind: str) -> None:
        self._shapes.append(f'<path d="M{_LEFT} {height:.1f}H{self.width}" class="{kind}"/>')

    def box(self, begin: float, end: float, top: float, tall: float, style: str) -> None:
        left, right = self.across(begin), self.across(end)
        self._shapes.append(
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{tall:.1f}"'
            f" {style}/>"
        )

    def line(self, points: Iterable[Point], colour: str) -> None:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        )

    def source(self) -> str:
        size = f'width="{self.width:g}" height="{self.height:g}"'
        return f"<svg {size}>{''.join(self._shapes)}</svg>"


def _states(panel: Panel, lines: Sequence[Line], span: Point) -> str:
    """Draw a bar for each series, in the colour of its value."""
    area = _Area(panel, span)
    tall = area.height / len(lines)
    for place, line in enumerate(lines):
        for value, points in groupby(line.points, key=lambda point: point[1]):
            times = [at for at, _ in points]
            colour = f'class="{_words(panel, value)[1]}"'
            area.box(times[0], times[-1] + 1, place * tall + 2, tall - 4, colour)
        area.text(place * tall + tall / 2 + 4, line.name[:11])
    return area.source()


def _heat(panel: Panel, lines: Sequence[Line], span: Point) -> str:
    """Draw buckets, which come accumulated, as rows whose colour is how many fell into each."""
    ordered = sorted(lines, key=lambda line: float(line.labels["le"]))
    area = _Area(panel, span)
    tall = area.height / len(lines)
    below: dict[float, float] = {}
    for place, line in enumerate(ordered):
        top = area.height - (place + 1) * tall
        for at, value in line.points:
            alone, below[at] = value - below.get(at, 0.0), value
            shade = min(1.0, max(alone, 0.0) / 40)
            area.box(at, at + 1, top, tall, f'fill="#ff9830" opacity="{shade:.2f}"')
        if place % 2 == 0:
            area.text(top + tall, _number(float(line.labels["le"]), "ms"))
    return area.source()


def _graph(panel: Panel, lines: Sequence[Line], span: Point) -> str:
    """Draw curves, the lines of alarms that are in sight, and a legend that names the others."""
    custom, unit = _defaults(panel)["custom"], _defaults(panel)["unit"]
    is_stacked = custom["stacking"]["mode"] == "normal"
    drawn = list(_stacked(lines) if is_stacked else [line.points for line in lines])
    top = max([value for points in drawn for _, value in points if math.isfinite(value)] or [0])
    area = _Area(panel, span)
    is_log = custom["scaleDistribution"]["type"] == "log"
    scale = _Scale(top or 1.0, area.height, is_log=is_log)
    for share in (0.0, 0.5, 1.0):
        value = scale.value(share)
        area.rule(scale.height(value), "grid")
        area.text(max(scale.height(value), 12), _number(value, unit))
    for place, points in enumerate(drawn):
        found = [(area.across(at), scale.height(y)) for at, y in points if math.isfinite(y)]
        area.line(found, COLOURS[place % len(COLOURS)])
    for bound in _bounds(panel):
        if bound <= scale.top:
            area.rule(scale.height(bound), "bound")
    notes = [f"bound {_number(bound, unit)}" for bound in _bounds(panel) if bound > scale.top]
    return area.source() + _legend(lines, notes)


def _stacked(lines: Sequence[Line]) -> Iterable[list[Point]]:
    total: dict[float, float] = {}
    for line in lines:
        for at, value in line.points:
            total[at] = total.get(at, 0.0) + value
        yield [(at, total[at]) for at, _ in line.points]


class _Scale:
    """Heights of values from 0 to *top*; by powers of ten, with 1 at the bottom, where *is_log*."""

    def __init__(self, top: float, tall: float, *, is_log: bool) -> None:
        self.top = top * 1.1
        self._tall = tall
        self._is_log = is_log and top > 10

    def height(self, value: float) -> float:
        if self._is_log:
            share = math.log10(max(value, 1.0)) / math.log10(self.top)
        else:
            share = value / self.top
        return self._tall * (1 - share * 0.95) - 2

    def value(self, share: float) -> float:
        return math.pow(self.top, share) if self._is_log else self.top * share


def _legend(lines: Sequence[Line], notes: Sequence[str]) -> str:
    names = [
        f'<i style="color:{COLOURS[place % len(COLOURS)]}">&#9632;</i> {escape(line.name)}'
        for place, line in enumerate(lines)
    ]
    return f"<p class=legend>{' '.join([*names, *notes])}</p>"
