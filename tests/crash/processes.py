"""Roles as real processes, started and ended by process id."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import pytest
import redis

from mailworkers.embedded.servers import Servers
from tests.relay import Relay


class Process:
    """One role. Its output goes to a file, shown when a test fails."""

    def __init__(self, role: str, environ: Mapping[str, str], output: Path) -> None:
        self.output = output
        with output.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "mailworkers", role],
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def wait(self, within: float = 20) -> int:
        """Wait for the end and return the exit code, negative when it was killed."""
        return self._process.wait(within)

    def kill(self) -> None:
        """End it at once, if it runs still."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


class Roles:
    """Starts roles on the test's stores and relay; ends all of them."""

    def __init__(self, environ: Mapping[str, str], directory: Path) -> None:
        self.environ = dict(environ)
        self._directory = directory
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            process.kill()

    def start(self, role: str, **environ: str) -> Process:
        """Start *role* with more variables."""
        number = len(self._started)
        output = self._directory / f"{role}-{number}.log"
        process = Process(role, {**self.environ, **environ}, output)
        self._started.append(process)
        return process

    def logs(self) -> str:
        """Return everything the roles have said."""
        return "".join(process.output.read_text() for process in self._started)


@pytest.fixture
def roles(
    servers: Servers, database: str, redis_client: redis.Redis, relay: Relay, tmp_path: Path
) -> Iterator[Roles]:
    """Return what starts roles of the test; short times, so that faults show quickly."""
    with Roles(environ_of(servers, relay, tmp_path), tmp_path) as started:
        yield started


def environ_of(servers: Servers, relay: Relay, directory: Path) -> dict[str, str]:
    """Return the settings of roles on these stores and this relay, with their state there."""
    return {
        "MAIL_POSTGRES_PRIMARY_DSN": servers.postgres_dsn,
        "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
        "MAIL_STATE_DIR": str(directory),
        "MAIL_SMTP_MODE": "smtp",
        "MAIL_SMTP_ADDR": relay.addr,
        "MAIL_SMTP_TLS": "none",
        "MAIL_SMTP_FROM_EMAIL": "shop@example.org",
        "MAIL_SMTP_HELO": "localhost",
        "MAIL_POLL_INTERVAL": "100ms",
        "MAIL_RETRY_LADDER": "200ms,200ms,200ms,200ms",
        "MAIL_RETRY_JITTER": "0",
        "LOG_LEVEL": "debug",
    }
