"""A real Prometheus, with the shipped rules, looks at a real monitor: what it sees and tells."""

import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from mailworkers.gameday.prometheus import Prometheus
from tests.crash.operation.commands import put
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles
from tests.crash.stores.own import lack
from tests.eventually import eventually


@pytest.fixture
def prometheus(roles: Roles, tmp_path: Path) -> Iterator[Prometheus]:
    """Return Prometheus beside a monitor and the roles that mail takes."""
    if shutil.which("prometheus") is None:
        lack("prometheus: install the package prometheus")
    port = free_port()
    roles.start("monitor", PROMETHEUS_PORT=str(port), HTTP_PORT=str(free_port()))
    for role in ("consumer", "scheduler", "sender", "retention"):
        roles.start(role)
    roles.start("api", MAIL_INTERNAL_HTTP_ADDR=f"127.0.0.1:{free_port()}")
    address = f"127.0.0.1:{free_port()}"
    with Prometheus(tmp_path / "prometheus", port, address) as started:
        yield started


@pytest.mark.slow
def test_prometheus_sees_the_mail_and_a_lost_store_is_told_within_a_minute(
    roles: Roles,
    servers: Servers,
    prometheus: Prometheus,
    conn: db.Connection,
    redis_client: redis.Redis,
) -> None:
    """No alarm while all is well; each store's own when it goes, and quiet when it is back."""
    for _ in range(5):
        put(redis_client)
    eventually(lambda: count(conn, "sent") == 5, within=30)
    eventually(lambda: prometheus.number("sum(mail_delivery_sent_total)") == 5, within=60)
    eventually(lambda: prometheus.number("mail:available") == 1, within=60)
    eventually(lambda: not prometheus.firing(), within=60)

    for server, alarm in (
        (servers.keyvalue, "RedisUnreachable"),
        (servers.postgres, "PostgresUnreachable"),
    ):
        server.stop()
        try:
            lost_at = time.monotonic()
            eventually(partial(_fires, prometheus, alarm), within=90)
            assert time.monotonic() - lost_at < 60
        finally:
            server.start()
        eventually(partial(_is_silent, prometheus, alarm), within=60)


def _fires(prometheus: Prometheus, alarm: str) -> bool:
    return alarm in prometheus.firing()


def _is_silent(prometheus: Prometheus, alarm: str) -> bool:
    return alarm not in prometheus.firing()
