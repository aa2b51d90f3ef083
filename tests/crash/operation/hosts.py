"""A host: every role under a real supervisord with the shipped configuration."""

import os
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.settings import load
from mailworkers.adapters.supervisor import Program, Supervisor, SupervisorUnavailable
from mailworkers.adapters.supervisor_files import (
    Slots,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.embedded.ports import free_port
from tests.crash.processes import Roles
from tests.eventually import eventually

ROLES = ("api", "consumer", "monitor", "retention", "scheduler", "sender-01", "sender-02")


class Host:
    """One installation under supervisord, which may be killed, frozen and started again."""

    def __init__(self, roles: Roles, directory: Path) -> None:
        self.metrics_port = free_port()
        self.environ = {
            **roles.environ,
            "MAIL_ATTEMPT_WORKER_CONCURRENCY": "2",
            "MAIL_SUPERVISOR_SOCKET": str(directory / "s.sock"),
            "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{free_port()}",
            "HTTP_PORT": str(free_port()),
            "PROMETHEUS_PORT": str(self.metrics_port),
            "MAIL_SHUTDOWN_TIMEOUT": "8s",
            "MAIL_STOP_WAIT": "10s",
        }
        self._directory = directory
        self.log = directory / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._pids: set[int] = set()

    def start(self) -> None:
        """Start supervisord as `mailworkers supervise` does, and return when it answers."""
        settings = load(self.environ)
        slots = Slots(settings.state_dir)
        slots.prepare(settings.sender_concurrency)
        self.supervisor = Supervisor(
            settings.supervisor_socket,
            slots,
            settings.stop_wait,
            started_for=timedelta(seconds=0.5),
        )
        environment = supervisord_environment(settings, {**os.environ, **self.environ})
        with (self._directory / "supervisord.out").open("ab") as out:
            self._process = subprocess.Popen(
                supervisord_command(), env=environment, stdout=out, stderr=out
            )
        eventually(self.supervisor.is_up, within=30)

    def signal(self, number: signal.Signals) -> None:
        """Send supervisord a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """End supervisord as the out-of-memory killer does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def programs(self) -> dict[str, Program]:
        """Return all roles by name, the event listener left out."""
        return {p.name: p for p in self.supervisor.programs() if p.name != "listener"}

    def pids(self) -> dict[str, int]:
        """Return the process ids of the roles that run."""
        found = {name: p.pid for name, p in self.programs().items() if p.is_running}
        self._pids |= set(found.values())
        return found

    def wait_until_all_work(self, conn: db.Connection) -> dict[str, int]:
        """Return the process ids once every role of ours has given a sign of life."""

        def all_beat() -> dict[str, int]:
            try:
                pids = self.pids()
            except SupervisorUnavailable:  # it starts itself anew
                return {}
            rows = conn.execute("SELECT pid FROM processes").fetchall()
            beating = {row[0] for row in rows}
            return pids if set(pids) == {*ROLES} and {*pids.values()} <= beating else {}

        return eventually(all_beat, within=60)

    def said(self, name: str) -> str:
        """Return what supervisord has kept of the output of program *name*."""
        path = self.log / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def stop(self) -> None:
        """Stop everything in good order; whatever is left of it is killed by its process id."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.terminate()
            self._process.wait(60)
        for pid in self._pids:
            if is_role(pid):
                os.kill(pid, signal.SIGKILL)


def is_role(pid: int) -> bool:
    """Whether process *pid* lives and is one of ours."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"mailworkers" in command


@pytest.fixture
def host(roles: Roles, tmp_path: Path) -> Iterator[Host]:
    """Return a host on which nothing runs yet."""
    made = Host(roles, tmp_path)
    yield made
    made.stop()
