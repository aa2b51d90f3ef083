"""The picture of a collection: us beside peers, the reach of senders, and all targets."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mailworkers.bench.budgets import Bound, Line
from mailworkers.bench.svg import BAD, FAINT, GOOD, GRID, INK, LINES, OTHERS, OURS, Drawing, Point

_WIDTH = 1120.0
_MARGIN = 40.0
_ROW = 22.0
_TOP = 110.0
_PEERS = {
    "mailworkers": "",
    "pgqueuer": "pgqueuer_",
    "post_office": "post_office_",
    "celery": "celery_",
    "postfix": "postfix_",
    "procrastinate": "procrastinate_",
}
_NAMES = {"post_office": "django-post_office", "celery": "Celery", "postfix": "Postfix"}
_MOST_TIMES = 10.0  # how far the axis of targets goes to either side

Found = Mapping[str, Mapping[str, Any]]


def draw(found: Found, lines: Sequence[Line]) -> str:
    """Return the picture as SVG; what was not measured is left out of it."""
    measured = [line for line in lines if line.value is not None]
    targets_top = _TOP + 330
    drawing = Drawing(_WIDTH, targets_top + 70 + _ROW * len(measured))
    drawing.text((_MARGIN, 44), "mailworkers, measured", size=24, is_bold=True)
    drawing.text((_MARGIN, 68), _surroundings(found), colour=FAINT)
    throughput = found.get("throughput", {})
    _bars(drawing, (_MARGIN, _TOP), "Messages a second, 2 KB", throughput, "per_second", 0)
    _bars(drawing, (_MARGIN + 350, _TOP), "CPU seconds for 1,000", throughput, "cpu", 2)
    _reach(drawing, (_MARGIN + 720, _TOP), found.get("slow-relay", {}))
    _targets(drawing, (_MARGIN, targets_top), measured)
    return drawing.source()


def _surroundings(found: Found) -> str:
    for answer in found.values():
        if machine := answer.get("machine"):
            stores = answer.get("versions", {})
            return (
                f"{machine.get('cores')} cores shared by everything ({machine.get('processor')}), "
                f"PostgreSQL {stores.get('postgres')}, fsync on; one sink, one recipient a message"
            )
    return "nothing measured yet"


def _speed_name(prefix: str) -> str:
    return f"{prefix}per_second" if prefix else "messages_per_second"


def _bars(
    drawing: Drawing, at: Point, title: str, answer: Mapping[str, Any], kind: str, digits: int
) -> None:
    """Draw a bar for each who was measured, its spread as a thin line."""
    drawing.text(at, title, size=15, is_bold=True)
    values = {}
    for name, prefix in _PEERS.items():
        figure = _speed_name(prefix) if kind == "per_second" else f"{prefix}cpu_seconds_per_1000"
        if (value := answer.get(figure)) is not None:
            values[name] = (value, answer.get("spread", {}).get(figure, {}))
    longest = max((max(v, s.get("most", v)) for v, s in values.values()), default=1) or 1
    scale = 150 / longest
    for number, (name, (value, spread)) in enumerate(values.items()):
        y = at[1] + 24 + number * 32
        drawing.text((at[0], y + 15), _NAMES.get(name, name), size=12)
        x = at[0] + 125
        drawing.bar((x, y), value * scale, 20, OTHERS if _PEERS[name] else OURS)
        if spread:
            drawing.line([(x + spread[end] * scale, y + 10) for end in ("least", "most")], INK)
        end = x + max(value, spread.get("most", value)) * scale
        drawing.text((end + 6, y + 15), f"{value:,.{digits}f}", size=12)


def _reach(drawing: Drawing, at: Point, answer: Mapping[str, Any]) -> None:
    """Draw messages a second by senders, a line for each round trip, both axes logarithmic."""
    settings = answer.get("settings", {})
    drawing.text(at, "Messages a second by senders", size=15, is_bold=True)
    counts = sorted(set(settings.get("senders", [])))
    width, height, left, top = 280.0, 220.0, at[0] + 40, at[1] + 20
    series = {
        trip: [
            (count, value)
            for count in counts
            if (value := answer.get(f"at_{trip}_ms_by_{count}_senders_per_second"))
        ]
        for trip in settings.get("round_trips", [])
    }
    known = [value for points in series.values() for _, value in points]
    if not known or len(counts) < 2:
        drawing.text((left, top + 20), "not measured", colour=FAINT)
        return
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    octaves = math.log2(max(counts) / min(counts))

    def place(count: float, value: float) -> Point:
        share = (math.log10(value) - low) / max(high - low, 1)
        return left + width * math.log2(count / min(counts)) / octaves, top + height * (1 - share)

    for power in range(low, high + 1):
        y = place(min(counts), 10**power)[1]
        drawing.line([(left, y), (left + width, y)], GRID)
        drawing.text((left - 6, y + 4), f"{10**power:,g}", size=11, colour=FAINT, anchor="end")
    for count in counts:
        x = place(count, 10**low)[0]
        drawing.text((x, top + height + 18), f"{count}", size=11, colour=FAINT, anchor="middle")
    for (trip, points), colour in zip(series.items(), LINES, strict=False):
        _curve(drawing, [place(*point) for point in points], colour, f"{trip} ms round trip")


def _curve(drawing: Drawing, places: Sequence[Point], colour: str, words: str) -> None:
    """Draw a line through *places*, its name above its end."""
    drawing.line(places, colour, 2)
    for place in places:
        drawing.dot(place, colour, 3)
    for x, y in places[-1:]:
        drawing.text((x, y - 9), words, size=11, colour=colour, anchor="end")


def _targets(drawing: Drawing, at: Point, lines: Sequence[Line]) -> None:
    """Draw how far each figure is from its target; to the right is better, whatever the bound."""
    drawing.text(at, "All targets: to the right of the line is better", size=15, is_bold=True)
    middle, half = at[0] + 640, 180.0
    bottom = at[1] + 30 + _ROW * len(lines)
    for times in (-_MOST_TIMES, -2, 2, _MOST_TIMES):
        x = middle + math.copysign(half * math.log(abs(times), _MOST_TIMES), times)
        drawing.line([(x, at[1] + 24), (x, bottom)], GRID)
        words = f"{abs(times):g}x {'better' if times > 0 else 'worse'}"
        drawing.text((x, bottom + 16), words, size=11, colour=FAINT, anchor="middle")
    drawing.line([(middle, at[1] + 24), (middle, bottom)], INK, 1.5)
    for number, line in enumerate(lines):
        y = at[1] + 30 + _ROW * number
        what, target, measured, _ = line.texts()
        colour = GOOD if line.is_reached else BAD
        drawing.text((at[0], y + 14), what, size=12)
        drawing.text((at[0] + 430, y + 14), target, size=12, colour=FAINT, anchor="end")
        x = middle + half * _lead(line)
        drawing.line([(middle, y + 10), (x, y + 10)], colour, 2)
        drawing.dot((x, y + 10), colour, 5)
        drawing.text((middle + half + 50, y + 14), measured, size=12, colour=colour)


def _lead(line: Line) -> float:
    """Return how much better than its target a figure is, -1..1 for a tenth to ten times."""
    value, target = line.value or 0.0, line.budget.target
    if target == 0:
        return 0.05 if line.is_reached else -1.0
    if line.budget.bound is Bound.AT_LEAST:
        times = value / target
    else:
        times = target / value if value > 0 else _MOST_TIMES
    if times <= 0:
        return -1.0
    return max(-1.0, min(1.0, math.log(times, _MOST_TIMES)))
