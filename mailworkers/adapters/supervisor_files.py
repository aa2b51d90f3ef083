"""What supervisord reads: its configuration, the environment that fills it, one file a slot.

A slot is one process of a role that can be scaled. Its program is a file of its own in the state
directory, so that supervisord adds or removes it without touching the others, and finds it again
after its own restart. `supervisord.conf` holds the first process of every role but the senders.
"""

import fcntl
import glob
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mailworkers.adapters.setting_rules import socket_complaint
from mailworkers.adapters.shipped_files import find_shipped
from mailworkers.core.errors import ConfigError

if TYPE_CHECKING:  # supervisord imports this module for its plugin: keep it light
    from mailworkers.adapters.settings import Settings

# How many processes of a role stand in supervisord.conf itself; the rest are slots.
SCALABLE = {"sender": 0, "consumer": 1, "scheduler": 1, "api": 1}
ROLES = ("consumer", "scheduler", "sender", "retention", "api", "monitor")
_PROGRAM = re.compile(rf"({'|'.join(ROLES)})(?:-(\d\d+))?", re.ASCII)

_SLOT = """\
; Written by `mailworkers scale {role} N`, which also removes it.
[program:{name}]
command=mailworkers {role}
priority=300
startsecs=0
autorestart=unexpected
exitcodes=78
stopsignal=TERM
stopwaitsecs=%(ENV_SUPERVISOR_STOP_WAIT)s
redirect_stderr=true
stdout_logfile=%(ENV_SUPERVISOR_LOG_DIR)s/%(program_name)s.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=5
"""


def role_of(program: str) -> str | None:
    """Return the role that *program* runs (`sender-03` -> `sender`), None for foreign ones."""
    found = _PROGRAM.fullmatch(program)
    return found[1] if found else None


def find_configuration() -> Path:
    """Return `supervisord.conf`: of the checkout this package lies in, or as it was installed."""
    found = find_shipped("supervisord.conf")
    if found is None:
        raise ConfigError("supervisord.conf is missing: install mailworkers again")
    return found


class Slots:
    """The slot files in one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self.directory = state_dir / "supervisor"
        self._seeded = self.directory / "seeded"

    def names(self, role: str) -> list[str]:
        """Return the slots of *role*, lowest number first."""
        return sorted(path.stem for path in self.directory.glob(f"{role}-*.conf"))

    def prepare(self, senders: int) -> None:
        """Write *senders* sender slots at the very first start; bring older files up to date."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.locked():
            if not self._seeded.exists():
                self._resize("sender", senders)
                self._seeded.touch()
            for role in SCALABLE:
                for name in self.names(role):
                    self._write(role, name)

    def resize(self, role: str, processes: int) -> list[str]:
        """Write or remove files until *role* has *processes*; return its slots then."""
        with self.locked():
            self._resize(role, processes)
            self._seeded.touch()
            return self.names(role)

    def _resize(self, role: str, processes: int) -> None:
        first = SCALABLE[role] + 1
        wanted = [f"{role}-{number:02d}" for number in range(first, processes + 1)]
        for name in self.names(role):
            if name not in wanted:
                self._path(name).unlink()
        for name in wanted:
            self._write(role, name)

    def _write(self, role: str, name: str) -> None:
        """Write a slot file whole or not at all: supervisord may read it at any time."""
        unfinished = self.directory / f"{name}.new"
        unfinished.write_text(_SLOT.format(role=role, name=name), encoding="ascii")
        unfinished.rename(self._path(name))

    def _path(self, name: str) -> Path:
        return self.directory / f"{name}.conf"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other writers of slots out."""
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def supervisord_environment(settings: "Settings", environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* with everything `supervisord.conf` expands; make the directories it names.

    `SUPERVISOR_LOG_DIR` may be given; without it logs go to `log` in the state directory. Raises
    ConfigError for a control socket whose path is too long for the system.
    """
    socket = settings.supervisor_socket
    if complaint := socket_complaint(socket):
        raise ConfigError(complaint)
    log = Path(environ.get("SUPERVISOR_LOG_DIR") or settings.state_dir / "log")
    for directory in (settings.state_dir, socket.parent, log):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    # This installation's programs come first: `mailworkers` must be the one that is running now.
    programs = str(Path(sys.executable).parent)
    return {
        **environ,
        "PATH": os.pathsep.join([programs, environ.get("PATH", os.defpath)]),
        "MAIL_STATE_DIR": str(settings.state_dir),
        "MAIL_SUPERVISOR_SOCKET": str(socket),
        "SUPERVISOR_INCLUDES": _pattern(Slots(settings.state_dir).directory),
        "SUPERVISOR_LOG_DIR": str(log),
        "SUPERVISOR_PYTHON": sys.executable,
        "SUPERVISOR_STOP_WAIT": str(max(1, round(settings.stop_wait.total_seconds()))),
    }


def _pattern(directory: Path) -> str:
    """Return a pattern for the files in *directory*, without blanks: supervisord splits there."""
    return re.sub(r"\s", "?", glob.escape(str(directory))) + "/*.conf"


def supervisord_command() -> list[str]:
    """Return the command that runs supervisord in the foreground, of this Python installation."""
    configuration = find_configuration()
    return [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(configuration)]
