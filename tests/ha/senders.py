"""A host that runs mailworkers: every role under the shipped supervisord.conf, by `sender.env`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from mailworkers.gameday.service import LADDER
from tests.ha.machines import Machine, Program
from tests.ha.stores import configure

# What a budget of 12 s leaves room for: 3 x 2 s + 4 s, and a second of margin.
LEASE = 12.0
SENDERS = 2
_ADDRESSES = {"sender1": 21, "sender2": 22}
_FASTER = {
    "MAIL_LEASE": f"{LEASE:g}s",
    "MAIL_SMTP_TIMEOUT": "2s",
    "MAIL_SMTP_DOT_TIMEOUT": "4s",
    "MAIL_SMTP_HELO": "localhost",
    # The sink speaks no TLS, and without TLS no password is sent.
    "MAIL_SMTP_TLS": "none",
    "MAIL_SMTP_USERNAME": "",
    "MAIL_SMTP_PASSWORD": "",
    "MAIL_RETRY_LADDER": LADDER,
    "MAIL_AUTH_RETRY_LADDER": LADDER,
    "MAIL_UNCERTAIN_POLICY_BULK": "park",
    "MAIL_ATTEMPT_WORKER_CONCURRENCY": str(SENDERS),
}
_FOREIGN = ("PG", "MAIL_", "OTEL_", "DATABASE_URL", "REDIS_URL", "HTTP_PORT", "PROMETHEUS_PORT")


class SenderHost(Machine):
    """One of the hosts that send."""

    def __init__(self, name: str, directory: Path) -> None:
        super().__init__(name)
        self.directory = directory / name
        number = _ADDRESSES[name]
        self.address, self.address_outside = f"10.0.0.{number}", f"10.0.1.{number}"
        self.environ: dict[str, str] = {}
        self._supervisord: Program | None = None

    def install(self, hosts: Path) -> None:
        """Write its settings: `sender.env` and what makes a test short."""
        self.directory.mkdir()
        configure(hosts, "sender", self.directory)
        lines = (self.directory / "sender.env").read_text().splitlines()
        settings = dict(line.split("=", 1) for line in lines if line.startswith("MAIL_"))
        ours = {name: text for name, text in os.environ.items() if not name.startswith(_FOREIGN)}
        state = {"MAIL_STATE_DIR": str(self.directory / "state")}
        self.environ = {**ours, **settings, **_FASTER, **state}

    def start_roles(self) -> None:
        """Start supervisord, which starts every role."""
        self._supervisord = self.start(
            self.directory / "supervise.out", *_MAILWORKERS, "supervise", env=self.environ
        )

    def call(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `mailworkers` there, as an operator of the host does."""
        command = self.inside(*_MAILWORKERS, *arguments)
        return subprocess.run(
            command, env=self.environ, capture_output=True, text=True, check=False, timeout=60
        )

    def start_here(self, log: Path, *command: str, **options: Any) -> Program:
        """Start a program of ours there."""
        return self.start(log, sys.executable, *command, env=self.environ, **options)

    def journals(self) -> list[str]:
        """Return the holders of this host's leases: its journals."""
        return [path.stem for path in (self.directory / "state" / "journals").glob("*.journal")]

    def metrics(self) -> str:
        """Return what its monitor shows."""
        return self.run(sys.executable, "-c", _SHOW)

    def lives(self) -> list[str]:
        """Return the lines of supervisord's log that tell of an end nobody ordered."""
        log = (self.directory / "state" / "log" / "supervisord.log").read_text()
        return [line for line in log.splitlines() if "exited:" in line or "FATAL" in line]


_SHOW = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9094/metrics").read().decode())
"""
_MAILWORKERS = (sys.executable, "-m", "mailworkers")
