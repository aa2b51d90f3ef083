"""Spans to a collector, by OpenTelemetry's SDK: sampled, batched, sent by a thread of its own.

A queue of 2,048 spans (`OTEL_BSP_MAX_QUEUE_SIZE`) is all that a collector can hold up; what has no
room is dropped.
"""

import time
from collections.abc import Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from mailworkers import __version__
from mailworkers.adapters.otlp import Reporter, give_time, report_to, resource
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.tracing import Attempt, Hearer
from mailworkers.core.commands import Command

_PROPAGATOR = TraceContextTextMapPropagator()


class OtlpTracer:
    """The tracer of one process; see `tracing.Tracer`."""

    def __init__(self, settings: Settings, process: str, hearer: Hearer) -> None:
        reporter = report_to(hearer)
        self._provider = TracerProvider(
            sampler=sampler(settings),
            resource=resource(settings, process),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(_Watched(_exporter(settings), reporter))
        )
        self._tracer = self._provider.get_tracer("mailworkers", __version__)

    def begin_intake(self, command: Command) -> "_Intake | None":
        """Begin the span of *command*; None when its trace is not sampled."""
        span = self._tracer.start_span(
            "mail intake",
            context=_parent(command.traceparent),
            kind=SpanKind.CONSUMER,
            attributes={"mail.source": command.source, "mail.lane": command.lane.label},
        )
        return _Intake(span) if span.is_recording() else None

    def record_attempt(self, attempt: Attempt) -> str | None:
        """Record a span; return its traceparent, that of the delivery when it is not sampled."""
        ended = time.time_ns() - int(attempt.ended_ago * 1e9)
        span = self._tracer.start_span(
            "mail attempt",
            context=_parent(attempt.traceparent),
            kind=SpanKind.CLIENT,
            start_time=ended - int(attempt.duration_ms * 1e6),
        )
        if not span.is_recording():
            return attempt.traceparent
        span.set_attributes(_attributes(attempt))
        if not attempt.is_accepted:
            span.set_status(Status(StatusCode.ERROR, attempt.status))
        span.end(ended)
        return _traceparent(span)

    def close(self) -> None:
        """Send what waits, for 2 s at most."""
        give_time(self._provider.shutdown)


class _Watched(SpanExporter):
    """An exporter whose successes are noted; its failures it tells by log lines."""

    def __init__(self, inner: SpanExporter, reporter: Reporter) -> None:
        self._inner = inner
        self._reporter = reporter

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self._reporter.note_success()
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Intake:
    """A command that is being taken in."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self.traceparent = _traceparent(span)

    def end(self, *, refused: str) -> None:
        if refused:
            self._span.set_status(Status(StatusCode.ERROR, refused))
        self._span.end()


def _parent(traceparent: str | None) -> Context:
    """Return the context *traceparent* names; without one the beginning of a trace."""
    if traceparent is None:
        return Context()
    return _PROPAGATOR.extract({"traceparent": traceparent}, Context())


def _traceparent(span: Span) -> str:
    """Return the name of *span* for its children (W3C Trace Context section 3.2); it is sampled."""
    context = span.get_span_context()
    trace_id, span_id = (
        trace.format_trace_id(context.trace_id),
        trace.format_span_id(context.span_id),
    )
    return f"00-{trace_id}-{span_id}-01"


def _attributes(attempt: Attempt) -> dict[str, Any]:
    found = {
        "mail.delivery_id": str(attempt.delivery_id),
        "mail.source": attempt.source,
        "mail.attempt_no": attempt.attempt_no,
        "mail.attempt_status": attempt.status,
        "mail.stage": attempt.stage,
        "smtp.reply_code": attempt.reply_code,
        "smtp.enhanced_code": attempt.enhanced_code,
        "server.address": attempt.relay,
    }
    return {name: value for name, value in found.items() if value}


def sampler(settings: Settings) -> sampling.Sampler:
    """Return the sampler that `OTEL_TRACES_SAMPLER` names."""
    kind = settings.traces_sampler
    root = {
        "always_on": sampling.ALWAYS_ON,
        "always_off": sampling.ALWAYS_OFF,
        "traceidratio": sampling.TraceIdRatioBased(settings.traces_sampler_arg),
    }[kind.removeprefix("parentbased_")]
    return sampling.ParentBased(root) if kind.startswith("parentbased_") else root


def _exporter(settings: Settings) -> SpanExporter:
    if settings.otlp_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as by_grpc

        return by_grpc.OTLPSpanExporter()
    from opentelemetry.exporter.otlp.proto.http import trace_exporter as by_http

    return by_http.OTLPSpanExporter()
