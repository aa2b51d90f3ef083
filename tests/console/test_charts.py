"""Numbers become lines and bars: nothing leaves its frame, nothing is drawn that was not there."""

import re

import pytest

from mailworkers.adapters.store.pulse import Stretch
from mailworkers.web.console import charts
from mailworkers.web.console.charts import HEIGHT, WIDTH, nice_top


def stretch(number: int, **ended: int) -> Stretch:
    """Return a stretch in which *ended* deliveries of lane bulk came and ended."""
    accepted = {"bulk": sum(ended.values())} if ended else {}
    counts = {("bulk", status): count for status, count in ended.items()}
    return Stretch(number * 10, accepted, counts, (1.0, 2.0, 4.0) if ended else None)


@pytest.mark.parametrize(
    ("most", "top"), [(0, 1), (0.3, 0.5), (1, 1), (1.1, 2), (7, 10), (101, 200), (4e6, 5e6)]
)
def test_the_upper_edge_is_a_round_number_above_everything(most: float, top: float) -> None:
    """One, two or five times a power of ten."""
    assert nice_top(most) == pytest.approx(top)


@pytest.mark.parametrize("count", [0, 1, 2, 5, 90])
def test_everything_stays_inside_its_frame(count: int) -> None:
    """However much of the past is known yet, and however it jumps."""
    seen = [stretch(1000 + n, sent=n * n % 37, failed=n % 5) for n in range(count)]
    drawn = [
        charts.throughput(seen),
        charts.outcomes(seen),
        charts.depth(seen, {"bulk": 3}),
        charts.took(seen),
    ]

    for chart in drawn:
        for series in chart.series:
            for x, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", series.path):
                assert 0 <= float(x) <= WIDTH, chart.title
                assert 0 <= float(y) <= HEIGHT, chart.title


def test_the_queue_of_the_past_is_told_back_from_the_present() -> None:
    """Before ten came there were two; what ended in between was there until it did."""
    seen = [
        Stretch(0, {}, {}, None),
        Stretch(10, {"bulk": 10}, {}, None),
        Stretch(20, {}, {("bulk", "sent"): 5}, None),
    ]

    chart = charts.depth(seen, {"bulk": 7})

    (line,) = [s.path for s in chart.series if s.name == "bulk"]
    heights = [float(y) for _, y in re.findall(r"[ML]([\d.-]+) ([\d.-]+)", line)]
    told = [(HEIGHT - y) / (HEIGHT - 1) * nice_top(12) for y in heights]
    assert told == pytest.approx([2, 12, 7], abs=0.1)


def test_a_time_without_mail_breaks_the_line_of_durations() -> None:
    """Nothing took no time: there was nothing."""
    seen = [stretch(1, sent=1), stretch(2), stretch(3, sent=1)]

    chart = charts.took(seen)

    assert chart.series[0].path.count("M") == 2
    assert chart.series[0].now == "1 ms"
    assert charts.took([stretch(1)]).is_empty
