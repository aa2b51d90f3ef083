"""The roles as real processes, with the environment that supervisord would give them."""

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
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

    def wait(self) -> None:
        """Wait until it has stopped; kill it when that takes too long."""
        try:
            self._process.wait(_STOPPING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _program() -> str:
    """Return the `mailworkers` command that was installed with this interpreter."""
    beside = str(Path(sys.executable).parent)
    found = shutil.which("mailworkers", path=beside) or shutil.which("mailworkers")
    if found is None:
        raise ConfigError(f"there is no `mailworkers` in {beside}: install the package there")
    return found
