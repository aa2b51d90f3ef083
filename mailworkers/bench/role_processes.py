"""The roles as real processes, with the environment that supervisord would give them."""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mailworkers.core.errors import ConfigError, MailworkersError
from mailworkers.embedded.server_commands import tail

_STOPPING = 30  # seconds, as supervisord's stopwaitsecs


class RoleEnded(MailworkersError):  # noqa: N818  it names the condition
    """A role is not running any more; the message carries the end of its log."""


class RoleProcess:
    """One running role; *name* is that of supervisord's program, its log lies in *directory*.

    *command* runs something else in its place, to compare with.
    """

    def __init__(
        self,
        role: str,
        name: str,
        environment: Mapping[str, str],
        directory: Path,
        command: Sequence[str] | None = None,
    ) -> None:
        self.role = role
        self.name = name
        self._log = directory / f"{name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command or [_program(), role],
                env={
                    **environment,
                    # The role then ends when we are killed, as it does with supervisord.
                    "SUPERVISOR_ENABLED": "1",
                    "SUPERVISOR_PROCESS_NAME": name,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C at the terminal is for us, we stop it in order
            )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    def check_alive(self) -> None:
        """Raise RoleEnded when it is not running."""
        if (code := self._process.poll()) is not None:
            raise RoleEnded(f"{self.name} ended with exit code {code}:\n{tail(self._log)}")

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def kill(self) -> None:
        """End it as the out-of-memory killer does (SIGKILL)."""
        self._process.kill()
        self._process.wait()

    def wait(self) -> None:
        """Wait until it has stopped; kill it when that takes too long."""
        try:
            self._process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Roles:
    """All running roles; new ones get *environment* and write their logs into *directory*."""

    def __init__(self, environment: Mapping[str, str], directory: Path) -> None:
        self._environment = environment
        self._directory = directory
        self._running: list[RoleProcess] = []

    def __iter__(self) -> Iterator[RoleProcess]:
        return iter(self._running)

    def __len__(self) -> int:
        return len(self._running)

    def of(self, role: str) -> list[RoleProcess]:
        """Return the running processes of *role*."""
        return [process for process in self._running if process.role == role]

    def start(
        self,
        role: str,
        count: int,
        *,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start *count* more of *role*, by *command* unless that is None."""
        first = len(self.of(role)) + 1
        for number in range(first, first + count):
            name = f"{role}-{number:02d}"
            settings = {**self._environment, **(environment or {})}
            started = RoleProcess(role, name, settings, self._directory, command)
            self._running.append(started)

    def stop(self, *names: str) -> None:
        """Stop all processes of the roles *names* in order, of every role without one."""
        ending = [process for process in self._running if not names or process.role in names]
        for process in ending:
            process.terminate()
        for process in ending:
            process.wait()
            self._running.remove(process)

    def kill(self, role: str) -> None:
        """Kill all processes of *role* at once."""
        for process in self.of(role):
            process.kill()
            self._running.remove(process)

    def check_alive(self) -> None:
        """Raise RoleEnded when one is not running any more."""
        for process in self._running:
            process.check_alive()


def _program() -> str:
    """Return the `mailworkers` command that was installed with this interpreter."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("mailworkers", path=beside) or shutil.which("mailworkers")
    if found is None:
        raise ConfigError(f"there is no `mailworkers` in {beside}: install the package there")
    return found
