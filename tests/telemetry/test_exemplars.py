"""Traces beside the numbers: which value they belong to, and what of them Prometheus is shown."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from mailworkers.adapters.exemplars import newest
from mailworkers.adapters.exposition import Readings, exposition, open_exposition
from mailworkers.adapters.instruments import INSTRUMENTS
from mailworkers.adapters.metrics import Metrics

NAME = "mail.delivery.end_to_end_ms"
OLD, NEW = "0af7651916cd43dd8448eb211c80319c", "11111111111111112222222222222222"


def sampled(trace_id: str) -> str:
    """Return the traceparent of a span of a sampled trace."""
    return f"00-{trace_id}-b7ad6b7169203331-01"


@pytest.fixture
def metrics(tmp_path: Path) -> Iterator[Metrics]:
    """Return the numbers of one process."""
    made = Metrics(tmp_path, "sender-01")
    yield made
    made.close()


def examples(directory: Path) -> dict[tuple[str, float], str]:
    """Return the trace of each bucket that has one."""
    found = newest(sorted(directory.glob("*.examples")))
    return {bucket: example.trace_id for bucket, example in found.items()}


def buckets(directory: Path) -> list[Sample]:
    """Return the samples with an example, as a reader of OpenMetrics finds them."""
    text = open_exposition(directory).decode()
    assert text.endswith("# EOF\n")
    return [
        sample
        for family in text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    ]


def test_a_bucket_shows_the_trace_of_its_last_value(tmp_path: Path, metrics: Metrics) -> None:
    """Of all processes the newest; a value belongs to the bucket it is counted in."""
    metrics.observe(NAME, 7, sampled(OLD))
    metrics.observe(NAME, 1e12, sampled(OLD))
    other = Metrics(tmp_path, "sender-02")
    other.observe(NAME, 9, sampled(NEW))
    other.close()

    assert examples(tmp_path) == {(NAME, 10.0): NEW, (NAME, math.inf): OLD}
    (ten, most) = buckets(tmp_path)
    assert (ten.name, ten.labels) == ("mail_delivery_end_to_end_ms_bucket", {"le": "10.0"})
    assert ten.exemplar is not None
    assert (ten.exemplar.labels, ten.exemplar.value) == ({"trace_id": NEW}, 9)
    assert (ten.value, most.value) == (2, 3)


@pytest.mark.parametrize(
    "traceparent", [None, "", f"00-{OLD}-b7ad6b7169203331-00", "00-x-y-01", "x" * 80]
)
def test_a_trace_that_nobody_keeps_is_no_example(
    tmp_path: Path, metrics: Metrics, traceparent: str | None
) -> None:
    """W3C Trace Context section 3.2.2.5: without the flag a link would lead nowhere."""
    metrics.observe(NAME, 7, traceparent)

    assert examples(tmp_path) == {}
    assert buckets(tmp_path) == []


def test_a_restarted_process_keeps_its_examples(tmp_path: Path, metrics: Metrics) -> None:
    """As its numbers, and the file does not grow."""
    metrics.observe(NAME, 7, sampled(OLD))
    metrics.close()
    size = (tmp_path / "sender-01.examples").stat().st_size
    again = Metrics(tmp_path, "sender-01")
    again.observe(NAME, 700, sampled(NEW))
    again.close()

    assert examples(tmp_path) == {(NAME, 10.0): OLD, (NAME, 1000.0): NEW}
    assert (tmp_path / "sender-01.examples").stat().st_size == size


def test_what_is_half_written_is_left_out(tmp_path: Path, metrics: Metrics) -> None:
    """The monitor reads while others write; a sum over the record tells."""
    metrics.observe(NAME, 7, sampled(OLD))
    metrics.observe(NAME, 700, sampled(NEW))
    path = tmp_path / "sender-01.examples"
    torn = path.read_bytes().replace(OLD.encode(), NEW.encode())

    (tmp_path / "sender-01.examples").write_bytes(torn)
    (tmp_path / "short.examples").write_bytes(torn[:7])

    assert examples(tmp_path) == {(NAME, 1000.0): NEW}


def test_both_expositions_tell_the_same_numbers(tmp_path: Path, metrics: Metrics) -> None:
    """Which one a scraper takes must change no series: they are the ones alarms ask for."""
    metrics.count("mail.delivery.sent", "api", amount=3)
    metrics.observe(NAME, 7, sampled(OLD))
    readings: Readings = {"retry_queue_depth": {(): 5.0}}

    plain = exposition(tmp_path, readings).decode()
    opened = open_exposition(tmp_path, readings).decode()

    def series(text: str) -> set[str]:
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return {line.partition(" # ")[0] for line in lines}

    assert series(plain) == series(opened)
    assert OLD not in plain
    assert all(f"# TYPE {each.family} " in opened for each in INSTRUMENTS if each.bounds)
