"""Traces: one span for the intake of a command, one for each attempt, in the producer's trace.

Here is what the roles call; nothing of OpenTelemetry is imported until settings name a collector
(`otlp_traces.py`). A span never holds content or an address.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

import msgspec

from mailworkers.adapters.settings import Settings
from mailworkers.core.commands import Command
from mailworkers.core.errors import ConfigError


class Attempt(msgspec.Struct, frozen=True):
    """An attempt that was settled; `ended_ago` and `duration_ms` say when it was.

    `traceparent` is that of its delivery (W3C Trace Context): the parent of the span.
    """

    delivery_id: UUID
    source: str
    attempt_no: int
    status: str
    is_accepted: bool
    stage: str
    reply_code: int | None
    enhanced_code: str
    relay: str
    traceparent: str | None
    ended_ago: float
    duration_ms: float


class Hearer(Protocol):
    """Who is told how the collector does: `Telemetry`."""

    def export_failed(self, reason: str) -> None: ...
    def export_returned(self, away_seconds: float) -> None: ...


class IntakeSpan(Protocol):
    """The span of a command that is being taken in."""

    traceparent: str

    def end(self, *, refused: str) -> None:
        """End it; *refused* is the failure code, "" for a command that was accepted."""


class Tracer(Protocol):
    """Records spans and sends them in the background; never raises, never waits."""

    def begin_intake(self, command: Command) -> IntakeSpan | None:
        """Begin the span of *command*; None when its trace is not sampled."""

    def record_attempt(self, attempt: Attempt) -> str | None:
        """Record a span; return its traceparent, that of the delivery when it is not sampled."""

    def close(self) -> None:
        """Send what waits, for 2 s at most."""


def open_tracer(settings: Settings, process: str, hearer: Hearer) -> Tracer | None:
    """Return what records the spans of *process*, None where settings name no collector.

    *hearer* is told of trouble with it. Raises ConfigError where its packages are missing.
    """
    if settings.traces_exporter != "otlp":
        return None
    with exporter_installed():
        from mailworkers.adapters.otlp_traces import OtlpTracer

        return OtlpTracer(settings, process, hearer)


@contextmanager
def exporter_installed() -> Iterator[None]:
    """Import and make the exporter; ConfigError says what to do where it is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise ConfigError(
            "OTEL_* names a collector, and OpenTelemetry is not installed: "
            "pip install 'mailworkers[otlp]', or set OTEL_TRACES_EXPORTER=none and "
            "OTEL_METRICS_EXPORTER=none"
        ) from error
