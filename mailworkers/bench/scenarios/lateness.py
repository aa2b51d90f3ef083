"""Retries: how long after their time they are at the sink, at a steady rate and in a burst.

The rows are deferred ones as a first attempt leaves them, due one after the other. Lateness ends
with the final dot at the sink: the transaction itself is counted.
"""

import msgspec

from mailworkers.bench.arrivals import Arrival, Check, check
from mailworkers.bench.commands import text_of
from mailworkers.bench.figures import Figure, spread_of_times
from mailworkers.bench.filling import PREFIX, Rows, fill, filled_ids
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_AHEAD = 5.0  # seconds from filling until the first is due: roles must live by then
_DUE = """
SELECT delivery_id::text, extract(epoch FROM next_attempt_at) FROM deliveries
WHERE starts_with(idempotency_key, %s)
"""


class Retries(msgspec.Struct, frozen=True):
    """Retries a second for how long: the steady part, then the burst."""

    rate: int = 50
    seconds: int = 30
    burst_rate: int = 200
    burst_seconds: int = 10
    size: int = 2048


class _Run(msgspec.Struct, frozen=True):
    """Milliseconds that retries were late, and whether each came."""

    late: list[float]
    other_cores: float
    check: Check


def run(retries: Retries, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Measure *repeat* runs of both parts on a testbed of its own."""
    parts = {
        "sustained": (retries.rate, retries.seconds),
        "burst": (retries.burst_rate, retries.burst_seconds),
    }
    runs: dict[str, list[_Run]] = {name: [] for name in parts}
    with Testbed(setup, progress) as testbed:
        for number in range(1, repeat + 1):
            for name, (rate, seconds) in parts.items():
                title = f"run {number}, {name}: {rate} retries a second for {seconds} s"
                rows = _rows(f"{name}{number}-", rate, seconds, retries.size)
                runs[name].append(_run(testbed, rows, title))
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(retries), "senders": setup.senders, "repeat": repeat}
    total = Check.total(one.check for each in runs.values() for one in each)
    return Report("lateness", _figures(runs), total, settings, surroundings)


def _rows(name: str, rate: int, seconds: int, size: int) -> Rows:
    text = text_of(size).replace("\n", "\r\n")
    return Rows(name, rate * seconds, "deferred", first_in=_AHEAD, spacing=1 / rate, text=text)


def _run(testbed: Testbed, rows: Rows, title: str) -> _Run:
    wanted = testbed.sink.count() + rows.count
    with testbed.progress.step(title, rows.count) as advance:
        fill(testbed.conn, rows)
        # Its time is gone from the row once it is done, so it is read before.
        due = {f"<{PREFIX}{one}@example.org>": at for one, at in _due(testbed, rows.name)}
        expected = filled_ids(testbed.conn, rows.name)
        meter = testbed.meter()
        testbed.await_arrivals(wanted, advance)
        testbed.await_settled()
        spent = meter.read()
    arrivals = testbed.sink.take()
    return _Run(_lateness(due, arrivals), spent.other_cores, check(expected, arrivals))


def _due(testbed: Testbed, name: str) -> list[tuple[str, float]]:
    rows = testbed.conn.execute(_DUE, [name])
    return [(delivery_id, float(at)) for delivery_id, at in rows if at is not None]


def _lateness(due: dict[str, float], arrivals: list[Arrival]) -> list[float]:
    return [
        arrival.at_ns / 1e6 - due[arrival.message_id] * 1000
        for arrival in arrivals
        if arrival.message_id in due
    ]


def _figures(runs: dict[str, list[_Run]]) -> dict[str, Figure | None]:
    figures: dict[str, Figure | None] = {}
    for name, each in runs.items():
        figures |= spread_of_times(f"{name}_late", [run.late for run in each])
    others = [run.other_cores for each in runs.values() for run in each]
    figures["other_cores"] = Figure.of(others, digits=2)
    return figures
