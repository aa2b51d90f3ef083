"""A real Prometheus beside the roles of a test, with the shipped configuration and rules."""

import http
import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from tests.crash.operation.hosts import free_port
from tests.crash.processes import Roles
from tests.crash.stores.own import lack
from tests.eventually import eventually

CONFIGURATION = Path(__file__).resolve().parents[2] / "ops" / "prometheus"

Series = dict[str, Any]


class Prometheus:
    """Prometheus by the shipped configuration, but for the port of its one target.

    *every* is how often it scrapes and judges, the shipped 10 s where nothing else is wanted.
    """

    def __init__(self, directory: Path, target: int, *, every: str = "10s") -> None:
        for file in CONFIGURATION.glob("*.yml"):
            text = file.read_text().replace("127.0.0.1:9094", f"127.0.0.1:{target}")
            text = text.replace("_interval: 10s", f"_interval: {every}")
            (directory / file.name).write_text(text)
        self._url = f"127.0.0.1:{free_port()}"
        self._log = (directory / "prometheus.log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={directory / 'prometheus.yml'}",
                f"--storage.tsdb.path={directory / 'tsdb'}",
                f"--web.listen-address={self._url}",
                "--enable-feature=exemplar-storage",
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

    def _get(self, path: str, **query: str) -> Any:
        url = f"http://{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]

    def ask(self, question: str) -> list[Series]:
        """Return what the query *question* gives now."""
        found: list[Series] = self._get("query", query=question)["result"]
        return found

    def ask_range(self, question: str, begin: float, end: float, step: float) -> list[Series]:
        """Return what *question* gave from *begin* to *end*, every *step* seconds."""
        found: list[Series] = self._get(
            "query_range", query=question, start=f"{begin}", end=f"{end}", step=f"{step}"
        )["result"]
        return found

    def exemplars(self, question: str, begin: float, end: float) -> list[Series]:
        """Return the examples kept for the series of *question*."""
        found: list[Series] = self._get(
            "query_exemplars", query=question, start=f"{begin}", end=f"{end}"
        )
        return found

    def number(self, question: str) -> float | None:
        """Return the one value *question* gives now, None where there is none."""
        found = self.ask(question)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alarms that fire."""
        found = self.ask('ALERTS{alertstate="firing"}')
        return {series["metric"]["alertname"] for series in found}


@contextmanager
def watching(roles: Roles, directory: Path, *, every: str = "10s") -> Iterator[Prometheus]:
    """Start one process of each role, and Prometheus beside them."""
    if shutil.which("prometheus") is None:
        lack("prometheus: install the package prometheus")
    port = free_port()
    roles.start("monitor", PROMETHEUS_PORT=str(port), HTTP_PORT=str(free_port()))
    for role in ("consumer", "scheduler", "sender", "retention"):
        roles.start(role)
    roles.start("api", MAIL_INTERNAL_HTTP_ADDR=f"127.0.0.1:{free_port()}")
    place = directory / "prometheus"
    place.mkdir()
    with Prometheus(place, port, every=every) as started:
        yield started
