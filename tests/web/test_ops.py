"""The monitor's routes: health, readiness, metrics, with stores that are there and that are not."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_open_metrics,
)
from prometheus_client.parser import text_string_to_metric_families

from mailworkers.adapters import store
from mailworkers.adapters.gauges import Stores
from mailworkers.adapters.supervisor_files import ROLES, Slots
from mailworkers.adapters.telemetry import METRICS_DIRECTORY, Telemetry
from mailworkers.core.states import Lane, Status
from mailworkers.embedded.servers import Servers
from mailworkers.web.ops import Signs, health_app, metrics_app
from mailworkers.web.serving import Listener, Server
from tests.deliveries import put
from tests.eventually import eventually
from tests.web.conftest import PLAIN, Row, error_of, make_settings, with_status

Connection = psycopg.Connection[Row]


class Ops:
    """Both listeners of the monitor, running."""

    def __init__(self, servers: Servers, state_dir: Path) -> None:
        settings = make_settings(servers, state_dir)
        self.stream = settings.stream
        self.state = state_dir
        self.surprises: list[Exception] = []
        self._stores = Stores(settings, "mailworkers ops test")
        signs = Signs(self._stores, state_dir / METRICS_DIRECTORY)
        apps = [make(signs, report=self.surprises.append) for make in (health_app, metrics_app)]
        listeners = [Listener(app, "127.0.0.1", 0, setting="HTTP_PORT") for app in apps]
        self.health, self.metrics = (f"http://127.0.0.1:{each.port}" for each in listeners)
        self._server = Server(listeners, grace=timedelta(seconds=2))

    def get(self, path: str) -> httpx.Response:
        """Ask the listener of `/health` and `/ready`."""
        return httpx.get(f"{self.health}{path}", timeout=10, **PLAIN)

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return every sample of `/metrics` by name and labels."""
        answer = httpx.get(f"{self.metrics}/metrics", timeout=10, **PLAIN)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def close(self) -> None:
        """Stop listening."""
        self._server.close()
        self._stores.close()


@pytest.fixture
def ops(
    servers: Servers, database: str, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Ops]:
    """Return the monitor's listeners on the test's stores."""
    made = Ops(servers, tmp_path)
    yield made
    made.close()
    assert made.surprises == []


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return the key of one sample in a scrape."""
    return name, frozenset(labels.items())


def live(conn: Connection, *roles: str, **detail: object) -> None:
    """Let a process of each of *roles* give a sign of life, with this *detail*."""
    for role in roles:
        store.beat(conn, process_id=uuid4(), role=role, host="h", pid=1, version="0", detail=detail)


def stores_of(answer: httpx.Response) -> dict[str, str]:
    """Return what `/health` says of the stores."""
    checks: dict[str, str] = answer.json()["checks"]
    return {name: checks.pop(name) for name in ("database", "redis")}


def work_of(answer: httpx.Response) -> dict[str, str]:
    """Return what `/health` says of our own work."""
    checks: dict[str, str] = answer.json()["checks"]
    return {name: told for name, told in checks.items() if name not in ("database", "redis")}


WORK = ("stream_intake", "http_intake", "sending", "retries")


def test_health_is_200_with_checks_and_uptime_when_both_stores_answer(ops: Ops) -> None:
    """RS-52, RS-57: the exact shape."""
    answer = ops.get("/health")

    assert answer.status_code == 200
    body = answer.json()
    assert isinstance(body.pop("uptime_seconds"), int)
    assert body.keys() == {"status", "checks"}
    assert body["status"] == "healthy"
    assert stores_of(answer) == {"database": "ok", "redis": "ok"}


@pytest.mark.parametrize(
    ("lost", "checks"),
    [
        ("postgres", {"database": "failed", "redis": "ok"}),
        ("keyvalue", {"database": "ok", "redis": "failed"}),
    ],
)
def test_health_is_503_while_a_store_is_lost_and_200_again_afterwards(
    servers: Servers, ops: Ops, lost: str, checks: dict[str, str]
) -> None:
    """RS-55, RS-56: each store on its own, and `/ready` with it; the metrics are still there."""
    assert ops.get("/health").status_code == 200
    server = getattr(servers, lost)
    server.stop()
    try:
        answer = eventually(lambda: with_status(ops.get("/health"), 503))
        ready = ops.get("/ready")
        samples = ops.scrape()
    finally:
        server.start()

    assert answer.json()["status"] == "unhealthy"
    assert stores_of(answer) == checks
    assert (ready.status_code, ready.json()["status"]) == (503, "not_ready")
    assert (key("mail_stream_commands_lag") in samples) == (lost == "postgres")
    assert (key("service_up", service="api") in samples) == (lost == "keyvalue")
    assert eventually(lambda: ops.get("/health").status_code == 200)


def test_without_redis_the_checks_name_what_goes_on(
    servers: Servers, ops: Ops, conn: Connection
) -> None:
    """BO-12, BO-13: only intake from the stream stands still; without PostgreSQL all of it does."""
    live(conn, *ROLES)
    assert eventually(lambda: work_of(ops.get("/health")) == dict.fromkeys(WORK, "ok"))
    servers.keyvalue.stop()
    try:
        answer = eventually(lambda: with_status(ops.get("/health"), 503))
    finally:
        servers.keyvalue.start()

    assert work_of(answer) == {**dict.fromkeys(WORK, "ok"), "stream_intake": "failed"}
    assert eventually(lambda: ops.get("/health").status_code == 200)
    servers.postgres.stop()
    try:
        answer = eventually(lambda: with_status(ops.get("/health"), 503))
    finally:
        servers.postgres.start()
    assert work_of(answer) == dict.fromkeys(WORK, "failed")


def test_a_database_that_a_process_found_full_is_lost_until_it_finds_room(
    ops: Ops, conn: Connection
) -> None:
    """It answers every question; the monitor asks, and those who write know better."""
    live(conn, *ROLES)
    assert eventually(lambda: ops.get("/ready").status_code == 200)
    live(conn, "consumer", lacks_room=True)
    answer = eventually(lambda: with_status(ops.get("/health"), 503))
    ready = ops.get("/ready")
    conn.execute("UPDATE processes SET detail = '{}' WHERE detail ? 'lacks_room'")

    assert answer.json()["status"] == "unhealthy"
    assert stores_of(answer) == {"database": "failed", "redis": "ok"}
    assert work_of(answer) == dict.fromkeys(WORK, "failed")
    assert ready.status_code == 503
    assert ready.json()["dependencies"] == {"database": "disconnected", "redis": "connected"}
    assert eventually(lambda: ops.get("/health").status_code == 200)


def test_who_found_the_database_full_and_fell_silent_counts_for_nothing(
    ops: Ops, conn: Connection
) -> None:
    """There may be room again, and nobody left to say so."""
    live(conn, *ROLES)
    live(conn, "consumer", lacks_room=True)
    conn.execute(
        "UPDATE processes SET beat_at = beat_at - interval '1 minute' WHERE detail ? 'lacks_room'"
    )

    assert ops.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("role", "work"),
    [
        ("consumer", "stream_intake"),
        ("api", "http_intake"),
        ("sender", "sending"),
        ("scheduler", "retries"),
    ],
)
def test_without_a_role_its_work_has_failed_and_health_is_200_still(
    ops: Ops, conn: Connection, role: str, work: str
) -> None:
    """Whoever restarts the stores when `/health` is 503 must not do so for a dead role (G-44)."""
    live(conn, *(each for each in ROLES if each != role))

    answer = ops.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
    assert work_of(answer) == {**dict.fromkeys(WORK, "ok"), work: "failed"}


def test_sending_is_degraded_while_a_breaker_is_open_or_a_pause_in_force(
    ops: Ops, conn: Connection
) -> None:
    """Mail is taken in and waits: nobody has to do anything about this service."""
    live(conn, *ROLES)
    conn.execute("INSERT INTO pauses (reason, created_by) VALUES ('r', 'a')")
    paused = ops.get("/health")
    conn.execute("DELETE FROM pauses")
    live(conn, "sender", breaker="open")

    assert work_of(paused)["sending"] == "degraded"
    assert eventually(lambda: work_of(ops.get("/health"))["sending"] == "degraded")
    assert paused.status_code == 200


def timed(ask: Callable[[], Any], within: float = 3) -> Any:
    """Return what *ask* returns, which must come within 2 s and what a busy machine adds."""
    began = time.monotonic()
    answer = ask()
    assert time.monotonic() - began < within
    return answer


def test_a_frozen_redis_is_lost_within_two_seconds(servers: Servers, ops: Ops) -> None:
    """It takes the connection and never answers."""
    assert ops.get("/health").status_code == 200
    pid = servers.keyvalue.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: timed(lambda: ops.get("/health")).status_code == 503)
    finally:
        os.kill(pid, signal.SIGCONT)

    assert eventually(lambda: ops.get("/health").status_code == 200)


@pytest.mark.slow
def test_a_frozen_postgres_is_lost_within_two_seconds(
    servers: Servers, ops: Ops, conn: Connection
) -> None:
    """All of its processes stand still: nothing is refused, nothing is answered."""
    assert ops.get("/ready").status_code == 503
    pids = [row[0] for row in conn.execute("SELECT pid FROM pg_stat_activity").fetchall()]
    assert servers.postgres.pid is not None
    pids.append(servers.postgres.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert eventually(lambda: timed(lambda: ops.get("/health")).status_code == 503)
        ready = timed(lambda: ops.get("/ready"))
        samples = timed(ops.scrape)
    finally:
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)

    assert ready.status_code == 503
    assert key("mail_stream_commands_lag") in samples
    assert eventually(lambda: ops.get("/health").status_code == 200)


def test_ready_when_every_role_lives(ops: Ops, conn: Connection) -> None:
    """RS-53, RS-57; `roles` counts living processes."""
    live(conn, *ROLES, "sender")

    answer = eventually(lambda: with_status(ops.get("/ready"), 200))

    assert answer.json() == {
        "status": "ready",
        "dependencies": {"database": "connected", "redis": "connected"},
        "roles": {**dict.fromkeys(ROLES, 1), "sender": 2},
    }


def test_not_ready_while_a_role_has_no_living_process(ops: Ops, conn: Connection) -> None:
    """A process that fell silent counts as dead; `/health` is no affair of roles."""
    live(conn, *ROLES)
    conn.execute(
        "UPDATE processes SET beat_at = beat_at - interval '1 minute' WHERE role = 'scheduler'"
    )

    answer = ops.get("/ready")

    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert answer.json()["roles"] == {**dict.fromkeys(ROLES, 1), "scheduler": 0}
    assert ops.get("/health").status_code == 200


def test_the_gauges_are_what_the_tables_hold(ops: Ops, conn: Connection) -> None:
    """RS-19, RS-61, MS-79: live deliveries by status and lane, retries that wait, living roles."""
    for status, lane, count in (
        (Status.QUEUED, Lane.NORMAL, 3),
        (Status.RENDERED, Lane.AUTH, 1),
        (Status.DEFERRED, Lane.NORMAL, 2),
        (Status.DEFERRED, Lane.BULK, 1),
        (Status.SENDING, Lane.BULK, 1),
        (Status.SENT, Lane.NORMAL, 4),
    ):
        for _ in range(count):
            put(conn, status, lane=int(lane))
    live(conn, "sender")

    samples = ops.scrape()

    depth = "mail_attempt_schedule_depth"
    found = {labels: n for (name, labels), n in samples.items() if name == depth and n}
    assert {(dict(labels)["status"], dict(labels)["lane"], n) for labels, n in found.items()} == {
        ("queued", "normal", 3),
        ("rendered", "auth", 1),
        ("deferred", "normal", 2),
        ("deferred", "bulk", 1),
        ("sending", "bulk", 1),
    }
    assert samples[key("retry_queue_depth")] == 3
    assert samples[key("service_up", service="sender")] == 1
    assert samples[key("service_up", service="scheduler")] == 0


def test_the_signs_alarms_look_at_are_what_the_tables_hold(ops: Ops, conn: Connection) -> None:
    """Breakers, pauses, leases nobody took back, living processes, both stores."""
    live(conn, "sender", "sender", breaker="closed")
    live(conn, "sender", breaker="open")
    minutes_ago = datetime.now(UTC) - timedelta(minutes=10)
    conn.execute(
        "INSERT INTO pauses (reason, created_by, created_at) VALUES ('r', 'a', %s)", [minutes_ago]
    )
    put(conn, Status.SENDING, next_attempt_at=minutes_ago)
    put(conn, Status.SENDING, next_attempt_at=datetime.now(UTC) + timedelta(minutes=1))
    (ops.state / "journals").mkdir()
    (ops.state / "journals" / "x.journal").touch()
    Slots(ops.state).prepare(3)

    samples = ops.scrape()

    assert samples[key("mail_store_up", store="postgres")] == 1
    assert samples[key("mail_store_up", store="redis")] == 1
    assert samples[key("mail_roles_live", service="sender")] == 3
    assert samples[key("mail_relay_breakers_open")] == 1
    assert samples[key("mail_pauses_active")] == 1
    assert 600_000 <= samples[key("mail_pauses_oldest_age_ms")] < 700_000
    assert samples[key("mail_lease_overdue")] == 1
    assert samples[key("mail_journal_files")] == 1
    assert samples[key("mail_senders_configured")] == 3
    assert samples[key("mail_database_connections")] >= 1
    assert samples[key("mail_database_connections_max")] >= 10


def test_no_gauge_is_told_by_a_dead_process(ops: Ops, conn: Connection) -> None:
    """What a killed process said of itself last is nobody's state any more."""
    live(conn, "sender", breaker="open")
    live(conn, "scheduler")
    conn.execute("UPDATE processes SET beat_at = beat_at - interval '1 minute'")
    live(conn, "sender", breaker="closed")

    samples = ops.scrape()

    assert samples[key("mail_relay_breakers_open")] == 0
    assert samples[key("mail_roles_live", service="sender")] == 1
    assert samples[key("service_up", service="scheduler")] == 0


def test_the_oldest_age_is_that_of_the_oldest_due_delivery_of_the_lane(
    ops: Ops, conn: Connection
) -> None:
    """MS-80: 0 when nothing is due; a retry the scheduler should have woken counts, too."""
    minute = timedelta(minutes=1)
    put(conn, Status.QUEUED, lane=1, source="api")
    put(conn, Status.QUEUED, lane=1)
    conn.execute("UPDATE deliveries SET ready_at = clock_timestamp() - %s", [3 * minute])
    put(conn, Status.QUEUED, lane=1)
    delivery_id = put(conn, Status.DEFERRED, lane=2)
    conn.execute(
        "UPDATE deliveries SET next_attempt_at = clock_timestamp() - %s WHERE delivery_id = %s",
        [5 * minute, delivery_id],
    )
    put(conn, Status.SENDING, lane=0)

    samples = ops.scrape()

    age = {
        lane: samples[key("mail_attempt_schedule_oldest_age_ms", lane=lane)] / 60_000
        for lane in ("auth", "normal", "bulk")
    }
    assert age["auth"] == 0
    assert 3 <= age["normal"] < 4
    assert 5 <= age["bulk"] < 6


def test_the_lag_is_what_no_consumer_was_handed(ops: Ops, redis_client: redis.Redis) -> None:
    """0 without a stream; all of it before there is a group; then what is left."""
    assert ops.scrape()[key("mail_stream_commands_lag")] == 0
    for _ in range(3):
        redis_client.xadd(ops.stream, {"a": "b"})
    assert eventually(lambda: ops.scrape()[key("mail_stream_commands_lag")] == 3)
    redis_client.xgroup_create(ops.stream, "mailworkers", id="0")
    redis_client.xreadgroup("mailworkers", "c", {ops.stream: ">"}, count=2)

    assert eventually(lambda: ops.scrape()[key("mail_stream_commands_lag")] == 1)


def test_the_counters_of_every_process_are_added_up(ops: Ops, tmp_path: Path) -> None:
    """RS-54: what two processes counted is one number."""
    for name in ("sender-1", "sender-2"):
        telemetry = Telemetry(
            "sender", name, state_dir=tmp_path, fd=os.open(os.devnull, os.O_WRONLY)
        )
        telemetry.command_accepted("api", Status.QUEUED, 2)
        telemetry.close()

    assert ops.scrape()[key("mail_delivery_accepted_total", source="api")] == 4


def test_who_takes_openmetrics_gets_it(ops: Ops) -> None:
    """OpenMetrics 1.0: the type says so, the end is marked; the numbers have the same names."""
    accepted = {"accept": "application/openmetrics-text;version=1.0.0,text/plain;q=0.5"}

    answer = httpx.get(f"{ops.metrics}/metrics", headers=accepted, timeout=10, **PLAIN)

    kind = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    assert answer.headers["content-type"] == kind
    assert answer.text.endswith("# EOF\n")
    assert {name for name, _ in ops.scrape()} == {
        sample.name
        for family in read_open_metrics(answer.text)  # type: ignore[no-untyped-call]
        for sample in family.samples
    }


def test_many_askers_are_one_question(ops: Ops, conn: Connection) -> None:
    """A load balancer that asks every instant does not become the main load."""

    def statements() -> int:
        (found,) = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE '%ops test%'"
        ).fetchall()
        count: Any = found[0]
        return int(count)

    for _ in range(30):
        assert ops.get("/health").status_code == 200
        ops.scrape()

    assert statements() <= 3


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", "/deliveries", "/health/x"])
def test_everything_else_is_404_with_the_envelope(ops: Ops, path: str) -> None:
    """Each listener has its own routes and no other."""
    assert error_of(ops.get(path))["code"] == "not_found"
    answer = httpx.get(f"{ops.metrics}/health", **PLAIN)
    assert error_of(answer)["code"] == "not_found"
