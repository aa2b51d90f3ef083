"""What `/metrics` adds up is what the tables hold, whoever was restarted, scaled or killed."""

import os
import signal
import urllib.request
from collections import Counter
from functools import partial

import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families

from mailworkers.adapters import db
from mailworkers.roles.sender import LONGEST_BATCH
from tests.crash.operation.commands import put
from tests.crash.operation.hosts import Host, host
from tests.crash.processes import Roles
from tests.eventually import eventually
from tests.relay import Relay, Step, late

__all__ = ["host"]

_ANSWER = 0.02  # seconds; what a sender can have sent and not counted is what it sends in a batch
_LATER, _NEVER = late(_ANSWER, "451 4.3.0 later"), late(_ANSWER, "550 5.1.1 nobody")
_TAKEN = late(_ANSWER, "250 ok")

_TABLES = {
    "mail_delivery_accepted_total": "SELECT source, count(*) FROM deliveries GROUP BY 1",
    "mail_delivery_sent_total": (
        "SELECT source, count(*) FROM deliveries WHERE status = 'sent' GROUP BY 1"
    ),
    "mail_delivery_failed_total": (
        "SELECT source, count(*) FROM deliveries WHERE status = 'failed' GROUP BY 1"
    ),
    "mail_delivery_dead_letters_total": (
        "SELECT source, count(*) FROM dead_letters JOIN deliveries USING (delivery_id) GROUP BY 1"
    ),
    "mail_stream_commands_malformed_total": (
        "SELECT failure_code, count(*) FROM malformed_commands GROUP BY 1"
    ),
    "mail_attempt_outcomes_total": "SELECT status, count(*) FROM attempts GROUP BY 1",
    "retries_executed_total": (
        "SELECT CASE outcome WHEN 'success' THEN 'success' ELSE 'failed' END, count(*)"
        " FROM attempts WHERE attempt_no > 1 GROUP BY 1"
    ),
    "mail_provider_send_duration_ms_count": "SELECT '', count(*) FROM attempts",
    "mail_delivery_end_to_end_ms_count": (
        "SELECT '', count(*) FROM deliveries WHERE status = 'sent'"
    ),
}


def _counted(port: int) -> dict[str, Counter[str]]:
    """Return what `/metrics` says, by metric and label, what is 0 left out."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, Counter[str]] = {name: Counter() for name in _TABLES}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found and sample.value:
                found[sample.name][next(iter(sample.labels.values()), "")] += int(sample.value)
    return found


def _happened(conn: db.Connection) -> dict[str, Counter[str]]:
    """Return what the tables say of the same."""
    return {
        name: Counter(dict(conn.execute(query.encode()).fetchall()))
        for name, query in _TABLES.items()
    }


def _feed(client: redis.Redis, relay: Relay, number: int) -> None:
    """Put commands, some of which are refused at once, by the relay, or for now."""
    answers: list[Step] = [_TAKEN, _TAKEN, _LATER, _TAKEN, _NEVER] * (number // 5)
    relay.says(DOT=answers)
    for place in range(number):
        put(client, source="authsession" if place % 3 else "notification")
        if place % 50 == 0:
            put(client, payload_mode="shouted")


def _is_over(conn: db.Connection, number: int) -> bool:
    row = conn.execute(
        "SELECT count(*), count(*) FILTER (WHERE finished_at IS NULL) FROM deliveries"
    ).fetchone()
    return row == (number, 0)


@pytest.mark.slow
def test_the_sums_are_those_of_the_tables_through_restarts_and_kills(
    host: Host, roles: Roles, conn: db.Connection, redis_client: redis.Redis, relay: Relay
) -> None:
    """I-19. Stopped in order nobody forgets anything, also who is there no more: scaled down.

    Killed, a sender may not have counted what it had just settled: a batch, never more.
    """
    host.start()
    host.wait_until_all_work(conn)
    _feed(redis_client, relay, 200)
    host.supervisor.scale("sender", 4, print)
    eventually(lambda: len(host.pids()) == 9, within=60)
    for name, pid in host.pids().items():
        if name.startswith(("sender", "consumer")):
            os.kill(pid, signal.SIGTERM)
    host.supervisor.scale("sender", 2, print)
    _feed(redis_client, relay, 200)
    eventually(partial(_is_over, conn, 400), within=90)
    eventually(partial(_agree, host, conn, doubt=0), within=30)

    host.wait_until_all_work(conn)
    _feed(redis_client, relay, 400)
    for kills in (1, 2):
        enough = 400 + 100 * kills
        eventually(partial(_has_sent, conn, enough), within=90)
        for name in ("sender-01", "sender-02"):
            os.kill(host.wait_until_all_work(conn)[name], signal.SIGKILL)
    eventually(partial(_is_over, conn, 800), within=90)

    batch = int(LONGEST_BATCH / _ANSWER)
    eventually(partial(_agree, host, conn, doubt=4 * batch), within=30)
    assert sum(_counted(host.metrics_port)["mail_delivery_accepted_total"].values()) == 800


def _has_sent(conn: db.Connection, number: int) -> bool:
    row = conn.execute("SELECT count(*) FROM attempts WHERE finished_at IS NOT NULL").fetchone()
    assert row is not None
    done: int = row[0]
    return done > number


def _agree(host: Host, conn: db.Connection, *, doubt: int) -> bool:
    """Whether no number is further than *doubt* from its table's, and none above it."""
    counted, happened = _counted(host.metrics_port), _happened(conn)
    for name, table in happened.items():
        missing = table - counted[name]
        assert counted[name] - table == Counter(), name
        assert sum(missing.values()) <= doubt, (name, missing)
    return True


def test_roles_started_by_hand_leave_no_file_for_each_start(
    roles: Roles,
    conn: db.Connection,
    redis_client: redis.Redis,
    relay: Relay,
    tmp_path: os.PathLike[str],
) -> None:
    """A file bears the role's name, not the process id: the next start goes on counting in it."""
    roles.start("consumer")
    for number in (1, 2, 3):
        sender = roles.start("sender")
        put(redis_client)
        eventually(partial(_is_over, conn, number), within=30)
        sender.signal(signal.SIGTERM)
        assert sender.wait() == 0

    names = {name for name in os.listdir(f"{tmp_path}/metrics") if name.startswith("counter")}
    assert names == {"counter_consumer.db", "counter_sender.db"}
