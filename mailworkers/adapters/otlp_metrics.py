"""The numbers of this host to a collector: what `/metrics` shows, under their dotted names.

One process a host sends them, the monitor: counters and histograms are added up over all processes
from their files, and go on counting through restarts (cumulative temporality).
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.samples import Sample

from mailworkers import __version__
from mailworkers.adapters.exposition import Readings, families
from mailworkers.adapters.instruments import INSTRUMENTS, Instrument, Kind
from mailworkers.adapters.otlp import give_time, report_to, resource
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.tracing import Hearer

_CUMULATIVE = AggregationTemporality.CUMULATIVE
_BY_FAMILY = {instrument.family: instrument for instrument in INSTRUMENTS}
_LONGEST_EXPORT = 10_000.0  # milliseconds


class MetricsExport:
    """Sends every number of this host once an interval, from a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        process: str,
        directory: Path,
        readings: Callable[[], Readings],
        hearer: Hearer,
    ) -> None:
        self._reporter = report_to(hearer)
        self._directory = directory
        self._readings = readings
        self._resource = resource(settings, process)
        self._exporter = _exporter(settings)
        self._began = time.time_ns()
        self._every = settings.metric_export_interval / 1000
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="export metrics", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._is_over.wait(self._every):
            self._send()
        self._send()  # what was counted since

    def _send(self) -> None:
        try:
            result = self._exporter.export(self._data(), timeout_millis=_LONGEST_EXPORT)
        except Exception as error:
            self._reporter.note_failure(f"{type(error).__name__}: {error}")
        else:
            if result is MetricExportResult.SUCCESS:
                self._reporter.note_success()

    def _data(self) -> MetricsData:
        points = _Points(self._began, time.time_ns())
        metrics = [
            points.metric(_BY_FAMILY[family.name], family)
            for family in families(self._directory, self._readings())
            if family.name in _BY_FAMILY
        ]
        scope = ScopeMetrics(InstrumentationScope("mailworkers", __version__), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def close(self) -> None:
        """Send the last numbers, for 2 s at most."""
        self._is_over.set()
        give_time(self._end)

    def _end(self) -> None:
        self._thread.join()
        self._exporter.shutdown()


class _Points:
    """Turns families of the exposition into metrics of OTLP, all of one moment."""

    def __init__(self, began: int, now: int) -> None:
        self._began = began
        self._now = now

    def metric(self, instrument: Instrument, family: Family) -> Metric:
        """Return *family* under the dotted name of *instrument*."""
        data: Sum | Gauge | Histogram
        match instrument.kind:
            case Kind.COUNTER:
                data = Sum(self._numbers(family.samples), _CUMULATIVE, is_monotonic=True)
            case Kind.GAUGE:
                data = Gauge(self._numbers(family.samples))
            case Kind.HISTOGRAM:
                data = Histogram([self._histogram(instrument, family.samples)], _CUMULATIVE)
        unit = "ms" if instrument.name.endswith("_ms") else "1"
        return Metric(instrument.name, instrument.means, unit, data)

    def _numbers(self, samples: Iterable[Sample]) -> list[NumberDataPoint]:
        return [
            NumberDataPoint(dict(sample.labels), self._began, self._now, sample.value)
            for sample in samples
        ]

    def _histogram(self, instrument: Instrument, samples: Sequence[Sample]) -> HistogramDataPoint:
        """Return the one series of a histogram; its buckets come accumulated, and go out alone."""
        most = {float(s.labels["le"]): int(s.value) for s in samples if "le" in s.labels}
        up_to = [most.get(bound, 0) for bound in (*instrument.bounds, float("inf"))]
        counts = [n - before for n, before in zip(up_to, [0, *up_to], strict=False)]
        total = sum(s.value for s in samples if s.name.endswith("_sum"))
        return HistogramDataPoint(
            attributes={},
            start_time_unix_nano=self._began,
            time_unix_nano=self._now,
            count=up_to[-1],
            sum=total,
            bucket_counts=counts,
            explicit_bounds=instrument.bounds,
            # Optional on the wire, and nobody keeps them; the SDK's type says otherwise.
            min=None,  # type: ignore[arg-type]
            max=None,  # type: ignore[arg-type]
        )


def _exporter(settings: Settings) -> MetricExporter:
    if settings.otlp_protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc import metric_exporter as by_grpc

        return by_grpc.OTLPMetricExporter()
    from opentelemetry.exporter.otlp.proto.http import metric_exporter as by_http

    return by_http.OTLPMetricExporter()
