"""supervisord's remote control: list, start, stop, restart one by one, scale.

Spoken over its Unix socket (XML-RPC). Each call gets a proxy of its own: supervisor's transport
keeps a broken connection and would fail every later call.
"""

import http.client
import time
import xmlrpc.client
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from supervisor.xmlrpc import Faults, SupervisorTransport  # type: ignore[import-untyped]

from mailworkers.adapters.supervisor_files import SCALABLE, Slots, role_of
from mailworkers.core.errors import MailworkersError

_PAUSE = 0.1  # between two looks at what supervisord does
STARTED_FOR = timedelta(seconds=3)  # a role that lives this long got past settings and schema
_STARTING = timedelta(seconds=60)
_AT_ONCE = False  # the argument `wait` of supervisord's calls
_DOWN = frozenset({"STOPPED", "EXITED", "FATAL", "UNKNOWN"})

Say = Callable[[str], None]
Probe = Callable[["Program"], bool]


class SupervisorUnavailable(MailworkersError):  # noqa: N818  it names the condition
    """supervisord does not answer at its socket."""


class ProcessFailed(MailworkersError):  # noqa: N818
    """A process did not come up, or did not stop; what was to follow was left undone."""


class Program(msgspec.Struct, frozen=True):
    """One process as supervisord sees it; `state` is its word for it, such as RUNNING."""

    name: str
    state: str
    pid: int
    started_at: datetime | None
    exit_status: int
    log: Path

    @property
    def is_running(self) -> bool:
        """Whether there is a process."""
        return self.state == "RUNNING"

    @property
    def is_misconfigured(self) -> bool:
        """Whether it ended by itself and will not come back until its settings are corrected."""
        return self.state == "EXITED" and self.exit_status == 78


def _is_there(_: Program) -> bool:
    return True


class Supervisor:
    """A running supervisord.

    *stop_wait* is how long it waits before it kills a process, *started_for* how long a process
    must live to count as started.
    """

    def __init__(
        self,
        socket: Path,
        slots: Slots,
        stop_wait: timedelta,
        started_for: timedelta = STARTED_FOR,
    ) -> None:
        self._socket = socket
        self._slots = slots
        self._started_for = started_for.total_seconds()
        self._stopping = stop_wait + timedelta(seconds=10)

    def call(self, method: str, *arguments: Any) -> Any:
        """Return what supervisord's *method* answers, such as `supervisor.getState`."""
        transport = SupervisorTransport(None, None, serverurl=f"unix://{self._socket}")
        try:
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy, method)(*arguments)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == Faults.SHUTDOWN_STATE:
                raise SupervisorUnavailable("supervisord is shutting down") from fault
            raise
        except (OSError, http.client.HTTPException, xmlrpc.client.ProtocolError) as error:
            raise SupervisorUnavailable(
                f"supervisord does not answer at {self._socket} ({error}); "
                "start it with: mailworkers supervise"
            ) from error
        finally:
            transport.close()

    def is_up(self) -> bool:
        """Whether supervisord runs and takes calls."""
        try:
            state = self.call("supervisor.getState")
        except SupervisorUnavailable:
            return False
        return bool(state["statename"] == "RUNNING")

    def programs(self, role: str | None = None) -> list[Program]:
        """Return every process, or those of *role*, by name."""
        found = [_program(info) for info in self.call("supervisor.getAllProcessInfo")]
        return sorted(
            (program for program in found if role in (None, role_of(program.name))),
            key=lambda program: program.name,
        )

    def start(self, name: str) -> None:
        """Start *name*; nothing happens when it runs already."""
        self._call_for(name, "supervisor.startProcess", but=Faults.ALREADY_STARTED)

    def stop(self, names: Iterable[str]) -> None:
        """Stop *names* together and return when all are down."""
        wanted = set(names)
        for name in wanted:
            self._call_for(name, "supervisor.stopProcess", but=Faults.NOT_RUNNING)
        deadline = time.monotonic() + self._stopping.total_seconds()
        while still := {p.name for p in self.programs() if p.state not in _DOWN} & wanted:
            if time.monotonic() > deadline:
                raise ProcessFailed(f"{', '.join(sorted(still))} did not stop; look at its log")
            time.sleep(_PAUSE)

    def _call_for(self, name: str, method: str, *, but: int) -> None:
        """Call *method* for the process *name* without waiting; the fault *but* is fine."""
        try:
            self.call(method, name, _AT_ONCE)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != but:
                raise ProcessFailed(f"{name}: {fault.faultString}") from fault

    def restart(self, role: str, say: Say) -> None:
        """Stop all processes of *role* together, then start them together."""
        names = self._names(role)
        self.stop(names)
        say(f"{', '.join(names)} stopped")
        for name in names:
            self.start(name)
        for name in names:
            self.wait_started(name)
            say(f"{name} started")

    def restart_rolling(self, role: str, say: Say, is_healthy: Probe = _is_there) -> None:
        """Restart the processes of *role* one by one, each only after the one before is healthy.

        The first that does not come up ends it: those after it keep running as they are.
        """
        for name in self._names(role):
            self.stop([name])
            self.start(name)
            program = self.wait_started(name, is_healthy)
            say(f"{name} restarted, pid {program.pid}")

    def _names(self, role: str) -> list[str]:
        names = [program.name for program in self.programs(role)]
        if not names:
            raise ProcessFailed(f"supervisord has no process of role {role}")
        return names

    def wait_started(self, name: str, is_healthy: Probe = _is_there) -> Program:
        """Return *name* when one and the same process ran for a few seconds and *is_healthy*."""
        deadline = time.monotonic() + _STARTING.total_seconds()
        pid, since = 0, time.monotonic()
        while time.monotonic() < deadline:
            program = self._find(name)
            if program.is_misconfigured or program.state == "FATAL":
                raise ProcessFailed(f"{name} refuses to start; its log says why: {program.log}")
            if program.pid != pid:
                pid, since = program.pid, time.monotonic()
            alive = time.monotonic() - since
            if pid and alive >= self._started_for and is_healthy(program):
                return program
            time.sleep(_PAUSE)
        raise ProcessFailed(f"{name} is not healthy after {_STARTING.seconds} s; look at its log")

    def _find(self, name: str) -> Program:
        return _program(self.call("supervisor.getProcessInfo", name))

    def scale(self, role: str, processes: int, say: Say) -> None:
        """Give *role* that many processes; those that stay are not touched.

        Written to the slot files first, so it holds after supervisord's restart too. Interrupted,
        it is completed by the next call: what runs is always brought to what the files say.
        """
        if role not in SCALABLE:
            raise ProcessFailed(f"{role} cannot be scaled; {', '.join(SCALABLE)} can")
        if processes < SCALABLE[role]:
            raise ProcessFailed(f"{role} needs at least {SCALABLE[role]} process")
        before = {p.name for p in self.programs(role)}
        wanted = set(self._slots.resize(role, processes))
        self._reread()
        self._remove(sorted(before - wanted - {role}, reverse=True), say)
        for name in sorted(wanted - before):
            self.call("supervisor.addProcessGroup", name)
            say(f"{name} added")

    def _reread(self) -> None:
        try:
            self.call("supervisor.reloadConfig")
        except xmlrpc.client.Fault as fault:
            raise ProcessFailed(
                f"supervisord cannot read its files: {fault.faultString}"
            ) from fault

    def _remove(self, names: list[str], say: Say) -> None:
        self.stop(names)
        for name in names:
            self.call("supervisor.removeProcessGroup", name)
            say(f"{name} removed")


def _program(info: dict[str, Any]) -> Program:
    running = info["statename"] == "RUNNING"
    return Program(
        name=info["name"],
        state=info["statename"],
        pid=info["pid"],
        started_at=datetime.fromtimestamp(info["start"], UTC) if running else None,
        exit_status=info["exitstatus"],
        log=Path(info["stdout_logfile"]),
    )
