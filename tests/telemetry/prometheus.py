"""The Prometheus of game days beside the roles of a test, and more to ask it."""

import json
import shutil
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mailworkers.embedded.ports import free_port
from mailworkers.gameday import prometheus
from tests.crash.processes import Roles
from tests.crash.stores.own import lack

Series = dict[str, Any]


class Prometheus(prometheus.Prometheus):
    """Scrapes and judges *every* so often, and keeps exemplars."""

    def __init__(self, directory: Path, target: int, *, every: str = "10s") -> None:
        super().__init__(directory, target, f"127.0.0.1:{free_port()}")
        self._command.append("--enable-feature=exemplar-storage")
        for file in directory.glob("*.yml"):
            file.write_text(file.read_text().replace("_interval: 10s", f"_interval: {every}"))

    def _get(self, path: str, **query: str) -> Any:
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with self._opener.open(url, timeout=10) as answer:
            return json.load(answer)["data"]

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
    with Prometheus(directory / "prometheus", port, every=every) as started:
        yield started
