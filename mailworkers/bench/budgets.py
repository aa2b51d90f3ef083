"""The targets, and what was measured of each: one line for each thing that is promised.

They are for two cores shared by everything, and are told in docs/performance.md.
"""

import enum
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

TIMES = "x"


class Bound(enum.StrEnum):
    """On which side of its target a figure must be."""

    AT_LEAST = "≥"
    AT_MOST = "≤"
    BELOW = "<"


class Budget(msgspec.Struct, frozen=True):
    """One target: the figure of a measurement, the bound and the value; *unit* may be empty."""

    what: str
    measurement: str
    figure: str
    bound: Bound
    target: float
    unit: str = ""

    def is_reached(self, value: float) -> bool:
        """Whether *value* is on the right side."""
        match self.bound:
            case Bound.AT_LEAST:
                return value >= self.target
            case Bound.AT_MOST:
                return value <= self.target
            case Bound.BELOW:
                return value < self.target


class Line(msgspec.Struct, frozen=True):
    """One line of the report; *value* is None where nothing was measured."""

    budget: Budget
    value: float | None

    @property
    def is_reached(self) -> bool | None:
        """Whether the target was reached, None where nothing was measured."""
        return None if self.value is None else self.budget.is_reached(self.value)

    def texts(self) -> tuple[str, str, str, str]:
        """Return what, target, measured and reached, as text."""
        unit = self.budget.unit if self.budget.unit == TIMES else f" {self.budget.unit}".rstrip()
        target = f"{self.budget.bound} {self.budget.target:,g}{unit}"
        if self.value is None:
            return self.budget.what, target, "not measured", ""
        reached = "yes" if self.is_reached else "NO"
        return self.budget.what, target, f"{self.value:,g}{unit}", reached


def _peer(name: str, title: str, ratio: float) -> Budget:
    what = f"2 KB: messages a second, by those of {title}"
    return Budget(what, "throughput", f"ratio_to_{name}", Bound.AT_LEAST, ratio, TIMES)


def _start(role: str) -> Budget:
    figure = f"{role}_start_to_work_ms"
    return Budget(f"{role}: start to first work", "start", figure, Bound.BELOW, 700, "ms")


_LEAST, _MOST, _BELOW = Bound.AT_LEAST, Bound.AT_MOST, Bound.BELOW
_RATE = "messages_per_second"
_OFFERED, _IDLE = "offered_accepted_to_sink", "idle_accepted_to_sink"

BUDGETS = (
    Budget("2 KB: stream to relay", "throughput", _RATE, _LEAST, 4700, "msg/s"),
    Budget("2 KB: CPU for 1,000", "throughput", "cpu_seconds_per_1000", _MOST, 0.40, "s"),
    _peer("postfix", "Postfix", 5),
    _peer("pgqueuer", "pgqueuer", 1.5),
    _peer("post_office", "django-post_office", 3),
    _peer("celery", "Celery", 4),
    _peer("procrastinate", "procrastinate", 8),
    Budget("2 KB: share of the wire's limit", "throughput", "ratio_to_wire", _LEAST, 0.22),
    Budget("template: stream to relay", "template", _RATE, _LEAST, 3500, "msg/s"),
    Budget("100 KB: stream to relay", "large", _RATE, _LEAST, 500, "msg/s"),
    Budget("200 msg/s: accepted to relay, p50", "latency", f"{_OFFERED}_p50_ms", _BELOW, 10, "ms"),
    Budget("200 msg/s: accepted to relay, p99", "latency", f"{_OFFERED}_p99_ms", _BELOW, 40, "ms"),
    Budget("idle: accepted to relay, p99", "latency", f"{_IDLE}_p99_ms", _BELOW, 25, "ms"),
    Budget("auth lane before bulk, p99", "auth", "auth_accepted_to_sink_p99_ms", _BELOW, 100, "ms"),
    Budget("retries at 50/s late, p99", "lateness", "sustained_late_p99_ms", _BELOW, 250, "ms"),
    Budget("retries at 200/s late, p99", "lateness", "burst_late_p99_ms", _BELOW, 250, "ms"),
    Budget("retries at 200/s late, most", "lateness", "burst_late_max_ms", _BELOW, 5000, "ms"),
    Budget(
        "50 ms away, 16 senders",
        "slow-relay",
        "at_50_ms_by_16_senders_per_second",
        _LEAST,
        128,
        "msg/s",
    ),
    Budget("long history, by a short one", "history", "ratio_large", _LEAST, 0.9, TIMES),
    Budget("HTTP: single deliveries", "http", "single_per_second", _LEAST, 1500, "a second"),
    Budget("HTTP: deliveries in batches", "http", "batch_per_second", _LEAST, 5000, "a second"),
    Budget("lists, searches, pages: slowest p95", "reading", "slowest_p95_ms", _BELOW, 50, "ms"),
    Budget("senders, the console open", "reading", "ratio_watched", _LEAST, 0.9, TIMES),
    Budget("snapshot held, by before", "snapshot", "ratio_held", _LEAST, 0.9, TIMES),
    Budget("within 60 s of it, by before", "snapshot", "ratio_after", _LEAST, 0.9, TIMES),
    Budget("while retention deletes", "retention", "ratio_deleting", _LEAST, 0.85, TIMES),
    Budget("senders killed: copies a session", "kill", "copies_per_session", _MOST, 1),
    Budget("senders killed: lost", "kill", "lost", _MOST, 0),
    Budget("senders killed: stuck", "kill", "stuck", _MOST, 0),
    Budget("senders killed: goes on after", "kill", "going_on_after_ms", _BELOW, 3000, "ms"),
    Budget("sender: memory, most", "memory", "sender_rss_mib_most", _BELOW, 60, "MiB"),
    Budget("sender: memory grown", "memory", "sender_rss_mib_growth", _MOST, 2, "MiB"),
    Budget("consumer: memory, most", "memory", "consumer_rss_mib_most", _BELOW, 80, "MiB"),
    Budget("consumer: memory grown", "memory", "consumer_rss_mib_growth", _MOST, 2, "MiB"),
    Budget("sender: files grown", "memory", "sender_open_files_growth", _MOST, 0),
    Budget("consumer: files grown", "memory", "consumer_open_files_growth", _MOST, 0),
    *map(_start, ("consumer", "scheduler", "sender", "retention", "api", "monitor")),
)


def judge(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Line]:
    """Yield a line for each budget; *found* is the JSON object of each measurement by its name.

    Of a measurement in which not every message arrived as it must no figure counts.
    """
    for budget in BUDGETS:
        answer = found.get(budget.measurement, {})
        yield Line(budget, answer.get(budget.figure) if answer.get("as_promised") else None)
