"""A real Prometheus, with the shipped rules, looks at a real monitor: what it sees and tells."""

import http
import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from tests.crash.operation.commands import put
from tests.crash.operation.hosts import free_port
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles
from tests.crash.stores.own import lack
from tests.eventually import eventually

CONFIGURATION = Path(__file__).resolve().parents[2] / "ops" / "prometheus"


class Prometheus:
    """Prometheus by the shipped configuration, but for the port of its one target."""

    def __init__(self, directory: Path, target: int) -> None:
        for file in CONFIGURATION.glob("*.yml"):
            text = file.read_text().replace("127.0.0.1:9094", f"127.0.0.1:{target}")
            (directory / file.name).write_text(text)
        self._url = f"127.0.0.1:{free_port()}"
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={self._url}",
            ],
            stdout=self._log,
            stderr=self._log,
        )

    def __enter__(self) -> Self:
        eventually(self._is_ready, within=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        self._log.close()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._url}/-/ready", timeout=5) as answer:
                return int(answer.status) == http.HTTPStatus.OK
        except OSError:
            return False

    def ask(self, question: str) -> list[dict[str, Any]]:
        """Return what the query *question* gives now."""
        query = urllib.parse.urlencode({"query": question})
        url = f"http://{self._url}/api/v1/query?{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found

    def number(self, question: str) -> float | None:
        """Return the one value *question* gives now, None where there is none."""
        found = self.ask(question)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alarms that fire."""
        found = self.ask('ALERTS{alertstate="firing"}')
        return {series["metric"]["alertname"] for series in found}


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
    directory = tmp_path / "prometheus"
    directory.mkdir()
    with Prometheus(directory, port) as started:
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
