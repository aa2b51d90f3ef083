"""Traces: from the producer's span through intake and every attempt, to a real collector."""

import json
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from mailworkers.adapters import db
from mailworkers.adapters.otlp_traces import sampler
from mailworkers.adapters.settings import load
from mailworkers.core.errors import ConfigError
from tests.crash.operation.commands import put
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles
from tests.eventually import eventually
from tests.relay import Relay
from tests.telemetry.collector import Collector, attributes

TRACE, PRODUCER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PRODUCER}-01", f"00-{TRACE}-{PRODUCER}-00"


def _lines(roles: Roles, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in roles.logs().splitlines()]
    return [line for line in lines if line["event"] == event]


def _named(collector: Collector, name: str) -> list[Span]:
    return sorted(
        (s for s in collector.spans if s.name == name), key=lambda s: s.start_time_unix_nano
    )


def test_a_trace_runs_from_the_producer_through_intake_to_every_attempt(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis, collector: Collector
) -> None:
    """Contract section 6; the log lines name the span of their attempt."""
    roles.environ |= collector.environ
    relay.says(DOT=["451 4.3.0 later"])
    for role in ("consumer", "scheduler", "sender"):
        roles.start(role)
    delivery_id = put(redis_client, traceparent=SAMPLED)

    eventually(lambda: len(_named(collector, "mail attempt")) == 2, within=30)

    (intake,) = _named(collector, "mail intake")
    first, second = _named(collector, "mail attempt")
    assert {span.trace_id.hex() for span in (intake, first, second)} == {TRACE}
    assert intake.parent_span_id.hex() == PRODUCER
    assert first.parent_span_id == second.parent_span_id == intake.span_id
    told = attributes(first.attributes)
    assert told["mail.delivery_id"] == delivery_id
    assert (told["mail.attempt_no"], told["smtp.reply_code"]) == (1, 451)
    assert (told["mail.stage"], told["smtp.enhanced_code"]) == ("end_of_data", "4.3.0")
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert second.status.code == Status.STATUS_CODE_UNSET
    assert first.start_time_unix_nano < first.end_time_unix_nano < second.start_time_unix_nano
    (retry,) = _lines(roles, "mail delivery retry scheduled")
    (sent,) = _lines(roles, "mail delivery sent")
    assert (retry["otel_trace_id"], retry["otel_span_id"]) == (TRACE, first.span_id.hex())
    assert (sent["otel_trace_id"], sent["otel_span_id"]) == (TRACE, second.span_id.hex())
    assert {r["service.name"] for r in collector.resources} == {"mailworkers"}
    assert "@" not in str(collector.spans)


def test_what_the_producer_does_not_sample_is_not_sampled_here(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, collector: Collector
) -> None:
    """W3C Trace Context section 3.2.2.5; a command without a trace begins one."""
    roles.environ |= collector.environ
    roles.start("consumer")
    roles.start("sender")
    put(redis_client, traceparent=UNSAMPLED)
    put(redis_client)

    eventually(lambda: count(conn, "sent") == 2 and len(collector.spans) == 2, within=30)

    intake, attempt = sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    assert intake.parent_span_id == b""
    assert intake.trace_id == attempt.trace_id != bytes.fromhex(TRACE)
    assert attempt.parent_span_id == intake.span_id
    unsampled = [s for s in _lines(roles, "mail delivery sent") if s["otel_trace_id"] == TRACE]
    assert [line["otel_span_id"] for line in unsampled] == [PRODUCER]


def test_a_refused_command_ends_its_span_with_the_failure_code(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, collector: Collector
) -> None:
    """Whoever looks at the trace sees why nothing follows."""
    roles.start("consumer", **collector.environ)
    put(
        redis_client,
        traceparent=SAMPLED,
        payload_mode="template",
        payload_json='{"to":["a@b.example"],"template_id":"none","locale":"en","variables":{}}',
    )

    eventually(lambda: len(collector.spans) == 1, within=30)

    (intake,) = collector.spans
    assert (intake.status.code, intake.status.message) == (
        Status.STATUS_CODE_ERROR,
        "unknown_template",
    )


@pytest.mark.parametrize("trouble", ["hangs", "refuses", "is away"])
def test_a_collector_in_trouble_costs_no_mail_and_no_time_to_stop(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, collector: Collector, trouble: str
) -> None:
    """It is said in one line, and the end of a role waits 2 s for it at most."""
    environ = collector.environ | {"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    if trouble == "hangs":
        collector.hangs.set()
    elif trouble == "refuses":
        collector.answer = 403
    else:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = "http://127.0.0.1:9"
    roles.environ |= environ
    processes = [roles.start("consumer"), roles.start("sender")]
    for _ in range(20):
        put(redis_client, traceparent=SAMPLED)

    eventually(lambda: count(conn, "sent") == 20, within=30)
    eventually(lambda: len(_lines(roles, "telemetry not exported")) == 2, within=30)
    put(redis_client, traceparent=SAMPLED)
    eventually(lambda: count(conn, "sent") == 21, within=30)
    asked = time.monotonic()
    for process in processes:
        process.signal(signal.SIGTERM)
    assert [process.wait() for process in processes] == [0, 0]

    assert time.monotonic() - asked < 10
    assert len(_lines(roles, "telemetry not exported")) == 2


def test_a_collector_that_is_back_is_told_of_once(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, collector: Collector
) -> None:
    """One line at its loss, one at its return with how long it was away."""
    collector.answer = 403
    roles.environ |= collector.environ
    roles.start("consumer")
    put(redis_client, traceparent=SAMPLED)
    eventually(lambda: _lines(roles, "telemetry not exported"), within=30)

    collector.answer = 200
    for number in (1, 2):
        put(redis_client, traceparent=SAMPLED)
        eventually(partial(_has_come, collector, number), within=30)

    (back,) = eventually(lambda: _lines(roles, "telemetry exported again"), within=30)
    assert back["dependency"] == "collector"
    assert back["away_seconds"] > 0


def _has_come(collector: Collector, number: int) -> bool:
    return len(collector.spans) == number


@pytest.mark.parametrize(
    "environ", [{"OTEL_TRACES_EXPORTER": "none"}, {"OTEL_SDK_DISABLED": "true"}]
)
def test_none_sends_nothing(
    roles: Roles,
    conn: db.Connection,
    redis_client: redis.Redis,
    collector: Collector,
    environ: dict[str, str],
) -> None:
    """Contract section 5."""
    roles.environ |= collector.environ | environ
    processes = [roles.start("consumer"), roles.start("sender")]
    put(redis_client, traceparent=SAMPLED)
    eventually(lambda: count(conn, "sent") == 1, within=30)
    for process in processes:
        process.signal(signal.SIGTERM)
        assert process.wait() == 0

    assert collector.requests == 0


def test_without_a_collector_no_role_imports_the_exporter() -> None:
    """What is not used costs neither time nor memory."""
    code = (
        "import sys\n"
        "from mailworkers.roles import api, consumer, monitor, retention, scheduler, sender\n"
        "assert 'opentelemetry.exporter' not in sys.modules\n"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


_WITHOUT_EXPORTER = """
import sys

class Gone:
    def find_spec(self, name, path, target=None):
        if name.startswith("opentelemetry.exporter"):
            raise ModuleNotFoundError(name=name)

sys.meta_path.insert(0, Gone())
"""


def test_a_collector_without_the_packages_to_reach_it_is_a_wrong_setting(
    roles: Roles, collector: Collector, tmp_path: Path
) -> None:
    """Exit 78 with the line to type, rather than traces that silently never come."""
    (tmp_path / "sitecustomize.py").write_text(_WITHOUT_EXPORTER)
    sender = roles.start("sender", PYTHONPATH=f"{tmp_path}:{Path.cwd()}", **collector.environ)

    assert sender.wait() == 78
    assert "pip install 'mailworkers[otlp]'" in roles.logs()


LEAST = {
    "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:6379",
    "MAIL_POSTGRES_PRIMARY_DSN": "postgresql:///x",
    "MAIL_SMTP_MODE": "stub",
}


@pytest.mark.parametrize(
    ("environ", "described"),
    [
        ({}, "ParentBased{root:TraceIdRatioBased{0.01}"),
        ({"OTEL_TRACES_SAMPLER_ARG": "0.5"}, "ParentBased{root:TraceIdRatioBased{0.5}"),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, "AlwaysOnSampler"),
        ({"OTEL_TRACES_SAMPLER": "parentbased_always_off"}, "ParentBased{root:AlwaysOffSampler"),
    ],
)
def test_the_sampler_is_the_one_that_settings_name(environ: dict[str, str], described: str) -> None:
    """One in a hundred traces unless the producer or the operator says otherwise."""
    assert sampler(load(LEAST | environ)).get_description().startswith(described)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.5"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
    ],
)
def test_what_cannot_be_done_is_refused_at_the_start(name: str, value: str) -> None:
    """Exit 78 with the variable, as for any other setting."""
    with pytest.raises(ConfigError, match=name):
        load(LEAST | {name: value})
