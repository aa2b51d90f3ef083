"""One panel of the dashboard as HTML: near enough to Grafana to see whether it can be read."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import msgspec

Panel = dict[str, Any]
Point = tuple[float, float]

COLOURS = ("#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#37872d", "#8ab8ff")
_UNITS = {"ms": "ms", "mails/s": "/s", "ops": "/s", "percentunit": "%"}
_WIDTH, _HEIGHT, _LEFT = 1000.0, 300.0, 90.0


class Line(msgspec.Struct, frozen=True):
    """A series of a panel: its name in the legend, its points, its labels."""

    name: str
    points: list[Point]
    labels: dict[str, str]


def draw(panel: Panel, lines: Sequence[Line]) -> str:
    """Return *panel* with *lines* in it."""
    body = "<p class=none>No data</p>"
    if lines:
        kinds = {"stat": _stat, "table": _table, "state-timeline": _states, "heatmap": _heat}
        body = kinds.get(panel["type"], _graph)(panel, lines)
    return f"<h3>{escape(panel['title'])}</h3>{body}"


def _defaults(panel: Panel) -> dict[str, Any]:
    found: dict[str, Any] = panel["fieldConfig"]["defaults"]
    return found


def _bounds(panel: Panel) -> list[float]:
    steps = _defaults(panel)["thresholds"]["steps"]
    return [step["value"] for step in steps if step["value"] is not None]


def _number(value: float, unit: str) -> str:
    if unit == "percentunit":
        return f"{value:.1%}"
    if unit == "ms" and value >= 1000:
        seconds = value / 1000
        return f"{seconds:.3g} s" if seconds < 60 else f"{seconds / 60:.3g} min"
    text = f"{value:.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"
    return f"{text} {_UNITS.get(unit, '')}".strip()


def _words(panel: Panel, value: float) -> tuple[str, str]:
    """Return what *value* is called, and its colour."""
    for mapping in _defaults(panel)["mappings"]:
        told = mapping["options"].get(f"{value:g}")
        if told:
            return told["text"], told["color"]
    is_beyond = any(value >= bound for bound in _bounds(panel))
    return _number(value, _defaults(panel)["unit"]), "red" if is_beyond else "green"


def _stat(panel: Panel, lines: Sequence[Line]) -> str:
    text, colour = _words(panel, lines[0].points[-1][1])
    return f'<p class="stat {colour}">{escape(text)}</p>'


def _table(_panel: Panel, lines: Sequence[Line]) -> str:
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(value)}</td>" for value in line.labels.values()) + "</tr>"
        for line in lines
    )
    return f"<table>{rows}</table>"


def _span(lines: Iterable[Line]) -> tuple[float, float]:
    times = [at for line in lines for at, _ in line.points]
    return min(times), max(*times, min(times) + 1)


def _across(at: float, span: tuple[float, float]) -> float:
    return _LEFT + (at - span[0]) / (span[1] - span[0]) * (_WIDTH - _LEFT)


def _states(panel: Panel, lines: Sequence[Line]) -> str:
    span = _span(lines)
    tall = _HEIGHT / len(lines)
    shapes = []
    for place, line in enumerate(lines):
        for (at, value), (until, _) in zip(line.points, line.points[1:], strict=False):
            left, right = _across(at, span), _across(until, span)
            shapes.append(
                f'<rect x="{left:.1f}" y="{place * tall + 4:.1f}" width="{right - left + 1:.1f}"'
                f' height="{tall - 8:.1f}" class="{_words(panel, value)[1]}"/>'
            )
        shapes.append(f'<text x="0" y="{place * tall + tall / 2 + 6:.1f}">{line.name[:10]}</text>')
    return _svg(shapes)


def _heat(_panel: Panel, lines: Sequence[Line]) -> str:
    """Draw buckets, which come accumulated, as rows whose colour is how many fell into each."""
    ordered = sorted(lines, key=lambda line: float(line.labels["le"]))
    span, tall = _span(lines), _HEIGHT / len(lines)
    below: dict[float, float] = {}
    shapes = []
    for place, line in enumerate(ordered):
        top = _HEIGHT - (place + 1) * tall
        for at, value in line.points:
            alone, below[at] = value - below.get(at, 0.0), value
            shapes.append(
                f'<rect x="{_across(at, span):.1f}" y="{top:.1f}" width="9" height="{tall:.1f}"'
                f' fill="#ff9830" opacity="{min(1.0, max(alone, 0.0) / 6):.2f}"/>'
            )
        label = _number(float(line.labels["le"]), "ms")
        shapes.append(f'<text x="0" y="{top + tall:.1f}" font-size="14">{label}</text>')
    return _svg(shapes)


def _graph(panel: Panel, lines: Sequence[Line]) -> str:
    custom = _defaults(panel)["custom"]
    is_stacked = custom["stacking"]["mode"] == "normal"
    drawn = list(_stacked(lines) if is_stacked else [line.points for line in lines])
    top = max([value for points in drawn for _, value in points if math.isfinite(value)] or [0])
    scale = _Scale(top or 1.0, is_log=custom["scaleDistribution"]["type"] == "log")
    span = _span(lines)
    shapes = [scale.mark(share, _defaults(panel)["unit"]) for share in (0.0, 0.5, 1.0)]
    for place, points in enumerate(drawn):
        path = " ".join(
            f"{_across(at, span):.1f},{scale.height(value):.1f}"
            for at, value in points
            if math.isfinite(value)
        )
        colour = COLOURS[place % len(COLOURS)]
        shapes.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="3"/>')
    notes = []
    for bound in _bounds(panel):
        if bound <= scale.top:
            height = scale.height(bound)
            shapes.append(f'<path d="M{_LEFT} {height:.1f}H{_WIDTH}" class="bound"/>')
        else:
            notes.append(f"bound {_number(bound, _defaults(panel)['unit'])}")
    return _svg(shapes) + _legend(lines, notes)


def _stacked(lines: Sequence[Line]) -> Iterable[list[Point]]:
    total: dict[float, float] = {}
    for line in lines:
        for at, value in line.points:
            total[at] = total.get(at, 0.0) + value
        yield [(at, total[at]) for at, _ in line.points]


class _Scale:
    """Heights of values from 0 to *top*; by powers of ten, with 1 at the bottom, where *is_log*."""

    def __init__(self, top: float, *, is_log: bool) -> None:
        self.top = top * 1.1
        self._is_log = is_log and top > 10

    def height(self, value: float) -> float:
        if self._is_log:
            share = math.log10(max(value, 1.0)) / math.log10(self.top)
        else:
            share = value / self.top
        return _HEIGHT * (1 - share * 0.95) - 4

    def mark(self, share: float, unit: str) -> str:
        value = self.top**share if self._is_log else self.top * share
        height = self.height(value)
        text = f'<text x="0" y="{max(height, 18):.1f}">{_number(value, unit)}</text>'
        return f'<path d="M{_LEFT} {height:.1f}H{_WIDTH}" class="grid"/>{text}'


def _legend(lines: Sequence[Line], notes: Sequence[str]) -> str:
    names = [
        f'<i style="color:{COLOURS[place % len(COLOURS)]}">&#9632;</i> {escape(line.name)}'
        for place, line in enumerate(lines)
    ]
    return f"<p class=legend>{' '.join([*names, *notes])}</p>"


def _svg(shapes: Iterable[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none">'
        f"{''.join(shapes)}</svg>"
    )
