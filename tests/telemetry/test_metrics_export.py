"""Metrics by OTLP: the numbers of `/metrics` under their dotted names, sent by the monitor."""

import signal
import urllib.request
from functools import partial
from typing import Any

import redis
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

from mailworkers.adapters import db
from mailworkers.adapters.instruments import INSTRUMENTS
from mailworkers.embedded.ports import free_port
from tests.crash.operation.commands import put
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles
from tests.eventually import eventually
from tests.telemetry.collector import Collector, attributes


def _sums(collector: Collector, name: str) -> dict[str, Any]:
    metric = collector.metric(name)
    points = metric.sum.data_points if metric else ()
    return {str(attributes(p.attributes)): p.as_double for p in points}


def _has_sent(conn: db.Connection, number: int) -> bool:
    return count(conn, "sent") == number


def test_the_collector_gets_the_sums_of_all_processes_under_dotted_names(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, collector: Collector
) -> None:
    """Contract section 6: the data of `/metrics`, through restarts, to the last one counted."""
    port = free_port()
    roles.environ |= collector.environ | {"OTEL_TRACES_EXPORTER": "none"}
    monitor = roles.start("monitor", PROMETHEUS_PORT=str(port), HTTP_PORT=str(free_port()))
    roles.start("consumer")
    for number in range(2):
        sender = roles.start("sender")
        put(redis_client)
        eventually(partial(_has_sent, conn, number + 1), within=30)
        sender.signal(signal.SIGTERM)
        assert sender.wait() == 0

    sent = "{'source': 'notification'}"
    eventually(lambda: _sums(collector, "mail.delivery.sent").get(sent) == 2, within=30)

    shown = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    for instrument in INSTRUMENTS:
        if f"\n{instrument.prometheus_name}" in shown.replace("_bucket", ""):
            assert collector.metric(instrument.name), instrument.name
    duration = collector.metric("mail.provider.send.duration_ms")
    assert duration is not None
    assert duration.unit == "ms"
    assert duration.histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    (point,) = duration.histogram.data_points
    bounds = next(i.bounds for i in INSTRUMENTS if i.name == duration.name)
    assert (point.count, sum(point.bucket_counts)) == (2, 2)
    assert tuple(point.explicit_bounds) == bounds
    assert f"mail_provider_send_duration_ms_sum {point.sum}" in shown
    depth = collector.metric("mail.attempt_schedule.depth")
    assert depth is not None
    assert depth.WhichOneof("data") == "gauge"
    put(redis_client)
    eventually(lambda: count(conn, "queued") == 1, within=30)
    monitor.signal(signal.SIGTERM)
    assert monitor.wait() == 0
    accepted = _sums(collector, "mail.delivery.accepted")
    assert accepted[sent] == 3
