"""A running installation: what it is made of, whether it is well, and what its logs say."""

import subprocess
from collections import defaultdict

import msgspec

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.supervisor import Program, Supervisor, SupervisorUnavailable
from mailworkers.adapters.supervisor_files import role_of
from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.installation import Installation
from mailworkers.embedded.ports import Ports
from mailworkers.embedded.server_commands import Places, tail

_MOST_STARTS = 6  # of one process while everything starts
_SHOWN_LINES = 6
_SHOWN_COLUMNS = 600


class UpFailed(MailworkersError):  # noqa: N818  it names the condition
    """Something did not start or did not arrive; the message ends with what says why."""


class Running(msgspec.Struct, frozen=True):
    """What was prepared, and how to talk to it; *environment* is what its processes get."""

    installation: Installation
    places: Places
    ports: Ports
    settings: Settings
    environment: dict[str, str]
    supervisor: Supervisor

    @property
    def mailbox(self) -> str:
        """Return the address of the mailbox page."""
        return f"http://127.0.0.1:{self.ports.mailbox}"

    @property
    def health(self) -> str:
        """Return the address of the monitor's health and readiness."""
        return f"http://127.0.0.1:{self.ports.health}"

    @property
    def metrics(self) -> str:
        """Return the address of the metrics."""
        return f"http://127.0.0.1:{self.ports.metrics}/metrics"


class Watch:
    """Looks after what runs: notices in time what waiting would not cure."""

    def __init__(self, running: Running, process: subprocess.Popen[bytes]) -> None:
        self._running = running
        self._process = process
        self._pids: dict[str, set[int]] = defaultdict(set)

    def programs(self) -> list[Program]:
        """Return what runs, nothing while supervisord is busy; UpFailed when it is gone."""
        if self._process.poll() is not None:
            log = self._running.installation.log / "supervisord.out"
            raise UpFailed(
                f"the end of {log}:\n{tail(log)}\n"
                f"supervisord ended with code {self._process.returncode}"
            )
        try:
            return self._running.supervisor.programs()
        except SupervisorUnavailable:
            return []

    def check_start(self) -> None:
        """Raise UpFailed when a role refuses to start, or dies again and again."""
        for program in self.programs():
            self._pids[program.name].add(program.pid)
            if program.is_misconfigured and role_of(program.name):
                raise UpFailed(f"{program.name} refuses to start{_end_of_log(program)}")
            if len(self._pids[program.name]) > _MOST_STARTS:
                raise UpFailed(f"{program.name} keeps dying{_end_of_log(program)}")


def ends_of_logs(running: Running) -> str:
    """Return the ends of the logs worth reading: of what does not run, else of all roles."""
    try:
        programs = running.supervisor.programs()
    except SupervisorUnavailable:
        return ""
    down = [program for program in programs if not program.is_running]
    worth = down or [program for program in programs if role_of(program.name)]
    return "".join(_end_of_log(program) for program in worth)


def _end_of_log(program: Program) -> str:
    lines = tail(program.log, _SHOWN_LINES).splitlines()
    shown = "\n".join(line[:_SHOWN_COLUMNS] for line in lines)
    return f"\n--- {program.name} ({program.state.lower()}), the end of {program.log}:\n{shown}"
