"""A host: the real roles under the shipped supervisord.conf, with journals and logs of its own."""

import http.client
import os
import signal
import subprocess
import xmlrpc.client
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from mailworkers.adapters.settings import load
from mailworkers.adapters.supervisor import Supervisor, SupervisorUnavailable
from mailworkers.adapters.supervisor_files import (
    Slots,
    role_of,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.embedded.installation import without_foreign_servers
from mailworkers.embedded.server_commands import ends_with_parent
from mailworkers.gameday.starts import Starts

_LONGEST_STOP = 60.0  # seconds


class Programs:
    """What a running supervisord runs, and which of it is at work by its own log."""

    def __init__(self, supervisor: Supervisor, log_dir: Path) -> None:
        self.supervisor = supervisor
        self._starts = Starts(log_dir)

    def pids(self) -> dict[str, int]:
        """Return the process id of every program that runs; none while supervisord is busy."""
        try:
            programs = self.supervisor.programs()
        except (SupervisorUnavailable, xmlrpc.client.Fault, http.client.HTTPException):
            return {}
        return {program.name: program.pid for program in programs if program.is_running}

    def roles(self) -> dict[str, int]:
        """Return those of `pids` that are roles: not the listener, nor stores of `up`."""
        return {program: pid for program, pid in self.pids().items() if role_of(program)}

    def pid(self, program: str) -> int:
        """Return the process id of *program*, 0 while it does not run or nobody can tell."""
        try:
            info = self.supervisor.call("supervisor.getProcessInfo", program)
        except (SupervisorUnavailable, xmlrpc.client.Fault):
            return 0
        return int(info["pid"]) if info["statename"] == "RUNNING" else 0

    def is_at_work(self, program: str, pid: int) -> bool:
        """Whether the process *pid* of *program* has said that it started."""
        return self._starts.has_started(program, pid)


class Host(Programs):
    """All roles of one host by *environ*, supervisord's own words in *out*.

    *inside* stands before its command, such as what enters a network namespace. Nothing that our
    own environment says of servers reaches it.
    """

    def __init__(
        self, environ: Mapping[str, str], out: Path, *, senders: int, inside: Sequence[str] = ()
    ) -> None:
        settings = load(environ)
        self.state_dir = settings.state_dir
        self._out = out
        self._inside = list(inside)
        slots = Slots(settings.state_dir)
        slots.prepare(senders)
        surroundings = {**without_foreign_servers(os.environ), **environ}
        self._environment = supervisord_environment(settings, surroundings)
        self._process: subprocess.Popen[bytes] | None = None
        super().__init__(
            Supervisor(
                settings.supervisor_socket,
                slots,
                settings.stop_wait,
                started_for=timedelta(seconds=1),
            ),
            Path(self._environment["SUPERVISOR_LOG_DIR"]),
        )

    def start(self) -> None:
        """Start supervisord, as systemd does; call it from a thread that lives on."""
        command = [*self._inside, *ends_with_parent(supervisord_command(), signal.SIGTERM)]
        with self._out.open("ab") as out:
            self._process = subprocess.Popen(
                command,
                env=self._environment,
                stdout=out,
                stderr=out,
                start_new_session=True,  # Ctrl-C at the terminal is for us, we stop it in order
            )

    def kill(self) -> int:
        """End supervisord by SIGKILL; return its process id, 0 when it did not run."""
        if self._process is None or self._process.poll() is not None:
            return 0
        self._process.kill()
        self._process.wait()
        return self._process.pid

    def stop(self) -> None:
        """End supervisord and its roles in good order."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(_LONGEST_STOP)
