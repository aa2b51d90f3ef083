"""What `/metrics` shows: the numbers of all processes of the host added up, and gauges read now.

The files are those that `metrics` writes.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_open_metrics

from mailworkers.adapters.exemplars import Bucket, Example, newest
from mailworkers.adapters.instruments import BY_NAME, INSTRUMENTS, Instrument, Kind
from mailworkers.adapters.metrics import EXAMPLES, is_readable

Readings = Mapping[str, Mapping[tuple[str, ...], float]]

_NAMES = {instrument.family: instrument.name for instrument in INSTRUMENTS}


class _Exposition:
    """What `/metrics` shows: the files of every process, and gauges read just now."""

    def __init__(self, directory: Path, readings: Readings, *, has_examples: bool = False) -> None:
        self._directory = directory
        self._readings = readings
        self._has_examples = has_examples

    def collect(self) -> Iterator[Metric]:
        """Yield each metric once; files being made or damaged are left out."""
        files = [str(path) for path in sorted(self._directory.glob("*.db")) if is_readable(path)]
        examples = self._examples()
        for metric in MultiProcessCollector.merge(files):  # type: ignore[no-untyped-call]
            yield _exemplified(metric, examples) if examples else metric
        for name, series in self._readings.items():
            yield _gauge(BY_NAME[name], series)

    def _examples(self) -> dict[Bucket, Example]:
        if not self._has_examples:
            return {}
        return newest(sorted(self._directory.glob(f"*{EXAMPLES}")))


def _exemplified(metric: Metric, examples: Mapping[Bucket, Example]) -> Metric:
    """Return *metric*, each bucket with its example where there is one."""
    name = _NAMES.get(metric.name)
    if name is not None and metric.type == Kind.HISTOGRAM:
        metric.samples = [
            sample._replace(exemplar=found.exposed())
            if (found := examples.get((name, float(sample.labels.get("le", "nan")))))
            else sample
            for sample in metric.samples
        ]
    return metric


def _gauge(instrument: Instrument, series: Mapping[tuple[str, ...], float]) -> Metric:
    """Return *series* as a gauge; those of a closed set that were not read are 0."""
    family = GaugeMetricFamily(instrument.family, instrument.means, labels=list(instrument.labels))
    known: Iterable[tuple[str, ...]] = instrument.known_series()
    for values, number in {**dict.fromkeys(known, 0.0), **series}.items():
        family.add_metric([str(value) for value in values], number)
    return family


def families(directory: Path, readings: Readings) -> list[Metric]:
    """Return every metric of all processes that count in *directory*, and *readings*."""
    return list(_Exposition(directory, readings).collect())


def exposition(directory: Path, readings: Readings | None = None) -> bytes:
    """Return the text exposition of all processes that count in *directory*, and of *readings*.

    *readings*: gauge by OTLP name -> label values in the table's order -> number, for example
    `{"mail.attempt_schedule.depth": {("queued", "auth"): 3}, "retry_queue_depth": {(): 0}}`.
    """
    return generate_latest(_registry(directory, readings or {}, has_examples=False))


def open_exposition(directory: Path, readings: Readings | None = None) -> bytes:
    """Return the same by OpenMetrics 1.0, which has an example for buckets of histograms."""
    registry = _registry(directory, readings or {}, has_examples=True)
    text: bytes = generate_open_metrics(registry)  # type: ignore[no-untyped-call]
    return text


def _registry(directory: Path, readings: Readings, *, has_examples: bool) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Exposition(directory, readings, has_examples=has_examples))
    return registry
