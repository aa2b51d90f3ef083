"""A real Prometheus by the shipped configuration and rules, beside monitors of our own."""

import http
import json
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from mailworkers.adapters.shipped_files import find_shipped
from mailworkers.core.errors import ConfigError, MailworkersError
from mailworkers.embedded.server_commands import ends_with_parent, tail

_SHIPPED_TARGET = "127.0.0.1:9094"
_STARTING, _STOPPING = 60.0, 30.0  # seconds


class PrometheusFailed(MailworkersError):  # noqa: N818  it names the condition
    """Prometheus did not start."""


def find_rules() -> Path:
    """Return the directory of the shipped rules and configuration, of checkout or installation."""
    rules = find_shipped("ops/prometheus/alerts.yml")
    if rules is None:
        raise ConfigError("the rules of the alarms are missing: install mailworkers again")
    return rules.parent


class Prometheus:
    """Prometheus by the shipped configuration, but for the *target* it scrapes.

    A context manager; *address* is where it listens, *inside* stands before its command, such as
    what enters a network namespace. It ends when this process is killed.
    """

    def __init__(
        self, directory: Path, target: int, address: str, inside: Sequence[str] = ()
    ) -> None:
        directory.mkdir(exist_ok=True)
        for file in find_rules().glob("*.yml"):
            text = file.read_text().replace(_SHIPPED_TARGET, f"127.0.0.1:{target}")
            (directory / file.name).write_text(text)
        self._address = address
        self._log = directory / "prometheus.log"
        self._command = [
            *inside,
            *ends_with_parent(
                [
                    shutil.which("prometheus") or "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address={address}",
                ],
                signal.SIGTERM,
            ),
        ]
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + _STARTING
        while not self._is_ready():
            if time.monotonic() > deadline or self._process.poll() is not None:
                self.__exit__()
                raise PrometheusFailed(f"Prometheus did not start:\n{tail(self._log)}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(_STOPPING)

    def _is_ready(self) -> bool:
        try:
            with self._opener.open(f"http://{self._address}/-/ready", timeout=5) as answer:
                return int(answer.status) == http.HTTPStatus.OK
        except OSError:
            return False

    def ask(self, question: str) -> list[dict[str, Any]]:
        """Return what the query *question* gives now; OSError when it does not answer."""
        query = urllib.parse.urlencode({"query": question})
        with self._opener.open(f"http://{self._address}/api/v1/query?{query}", timeout=10) as said:
            found: list[dict[str, Any]] = json.load(said)["data"]["result"]
        return found

    def number(self, question: str) -> float | None:
        """Return the one value *question* gives now, None where there is none."""
        found = self.ask(question)
        return float(found[0]["value"][1]) if found else None

    def firing(self) -> set[str]:
        """Return the names of the alarms that fire."""
        found = self.ask('ALERTS{alertstate="firing"}')
        return {series["metric"]["alertname"] for series in found}
