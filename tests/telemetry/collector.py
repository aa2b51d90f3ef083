"""An OpenTelemetry collector on a real socket: OTLP over HTTP, kept in memory."""

import http.server
import threading
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """Takes spans and metrics; *answer* may be another status, `hangs` holds all requests."""

    def __init__(self) -> None:
        self.answer = 200
        self.hangs = threading.Event()
        self.released = threading.Event()
        self.requests = 0
        self._traces: list[ExportTraceServiceRequest] = []
        self._metrics: list[ExportMetricsServiceRequest] = []
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def environ(self) -> dict[str, str]:
        """Return the variables that name this collector; every trace is recorded."""
        port = self._server.server_address[1]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_TRACES_SAMPLER": "parentbased_always_on",
        }

    @property
    def spans(self) -> list[Span]:
        """Return every span that came, in the order of their arrival."""
        return [
            span
            for request in list(self._traces)
            for of_resource in request.resource_spans
            for of_scope in of_resource.scope_spans
            for span in of_scope.spans
        ]

    @property
    def resources(self) -> list[dict[str, Any]]:
        """Return who sent: the attributes of each resource."""
        return [
            attributes(of_resource.resource.attributes)
            for request in list(self._traces)
            for of_resource in request.resource_spans
        ]

    def metric(self, name: str) -> Metric | None:
        """Return the newest metric *name*."""
        found: list[Metric] = [
            metric
            for request in list(self._metrics)
            for of_resource in request.resource_metrics
            for of_scope in of_resource.scope_metrics
            for metric in of_scope.metrics
            if metric.name == name
        ]
        return found[-1] if found else None

    def take(self, path: str, body: bytes) -> None:
        """Keep one export."""
        if path == "/v1/traces":
            self._traces.append(ExportTraceServiceRequest.FromString(body))
        else:
            self._metrics.append(ExportMetricsServiceRequest.FromString(body))

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                collector.requests += 1
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if collector.hangs.is_set():
                    collector.released.wait(60)
                if collector.answer == http.HTTPStatus.OK:
                    collector.take(self.path, body)
                self.send_response(collector.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


def attributes(pairs: Any) -> dict[str, Any]:
    """Return OTLP's list of keys and values as a mapping."""

    def value(pair: KeyValue) -> Any:
        kind = pair.value.WhichOneof("value")
        return getattr(pair.value, kind) if kind else None

    return {pair.key: value(pair) for pair in pairs}
