"""One embedded installation: its directory, its ports, and what supervisord needs to run it.

Everything lies in one data directory and stays there between runs. Nothing of the environment that
names a server gets in: an installation only ever talks to servers of its own.
"""

import fcntl
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Self

from mailworkers.adapters.usable_places import usable_places
from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.account import Account
from mailworkers.embedded.binaries import Binaries
from mailworkers.embedded.ports import Ports
from mailworkers.embedded.server_commands import (
    Places,
    ends_with_parent,
    keyvalue_command,
    postgres_command,
    socket_directory,
)

# Where servers of root go when their account cannot enter the data directory (a checkout in /root).
_REFUGE = Path("/var/lib/mailworkers-demo")
# Settings that may be tried out; every other one of the environment is left out.
_TRYABLE = (
    "MAIL_ATTEMPT_WORKER_CONCURRENCY",
    "MAIL_RETRY_LADDER",
    "MAIL_RETRY_JITTER",
    "MAIL_AUTH_RETRY_LADDER",
    "MAIL_UNCERTAIN_POLICY",
    "MAIL_TEMPLATE_DIR",
)
_FOREIGN = ("DATABASE_URL", "REDIS_URL", "HTTP_PORT", "PROMETHEUS_PORT")
_FOREIGN_PREFIXES = ("MAIL_", "PG", "OTEL_", "SUPERVISOR_")

# One group, so that they start before the roles and stop together after them.
_SERVERS = """\
; Written by `mailworkers up`.
[group:servers]
programs={names}
priority=10
"""
_SERVER = """
[program:{name}]
command={command}
{user}directory=/
startsecs=0
autorestart=true
stopsignal={signal}
stopwaitsecs=30
redirect_stderr=true
stdout_logfile=%(ENV_SUPERVISOR_LOG_DIR)s/%(program_name)s.log
stdout_logfile_maxbytes=20MB
stdout_logfile_backups=2
"""


class AlreadyRunning(MailworkersError):  # noqa: N818  it names the condition
    """Somebody else runs the installation in this directory."""


class Installation:
    """The files of one installation in *data*; the account of its servers is *account*."""

    def __init__(self, data: Path, account: Account) -> None:
        self.data = data.absolute()
        self.account = account
        self.state = self.data / "state"
        self.log = self.state / "log"
        self.mailbox = self.data / "mailbox"
        self.ports_memory = self.data / "ports.json"
        self.environment_file = self.data / "env"

    def make(self) -> Self:
        """Make the directory; the servers' account may walk through it, nobody may list it."""
        with self.usable():
            self.data.mkdir(parents=True, exist_ok=True)
            self.data.chmod(0o711 if self.account.is_other else 0o700)
            self.state.mkdir(mode=0o700, exist_ok=True)
        return self

    def usable(self) -> AbstractContextManager[None]:
        """Return what makes ConfigError, which names --data, of a directory that cannot be used."""
        return usable_places({"--data": self.data})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the installation, so that nobody else runs or resets it meanwhile."""
        with self.usable():
            lock = (self.data / "lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunning(
                    f"{self.data} is in use by another `mailworkers up`; stop that one first, "
                    "or choose another directory with --data"
                ) from None
            yield

    def servers_home(self) -> Path:
        """Return where the servers' data lies: with the rest, if their account can enter."""
        if self.account.can_enter(self.data):
            return self.data
        _REFUGE.mkdir(mode=0o755, parents=True, exist_ok=True)
        home = self._refuge()
        home.mkdir(mode=0o711, exist_ok=True)
        home.chmod(0o711)
        return home

    def _refuge(self) -> Path:
        return _REFUGE / hashlib.sha256(os.fsencode(self.data)).hexdigest()[:12]

    def reset(self) -> None:
        """Remove everything that was made here, and nothing else that may lie there."""
        for home in (self.data, self._refuge()):
            for pattern in ("pg*", "kv-*", "s"):
                for directory in home.glob(pattern):
                    shutil.rmtree(directory, ignore_errors=True)
            shutil.rmtree(socket_directory(home, "s"), ignore_errors=True)
        for directory in (self.mailbox, self.state, self._control()):
            shutil.rmtree(directory, ignore_errors=True)
        for file in (self.ports_memory, self.environment_file):
            file.unlink(missing_ok=True)
        self.make()

    def _control(self) -> Path:
        """Return the directory of supervisord's socket: not the servers', which is not ours."""
        return socket_directory(self.data, "run")

    def settings(self, places: Places, ports: Ports, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the MAIL_* settings of this installation, with what *environ* may try out."""
        control = self._control()
        control.mkdir(mode=0o700, exist_ok=True)
        return {
            "MAIL_ATTEMPT_WORKER_CONCURRENCY": "2",
            **{name: environ[name] for name in _TRYABLE if environ.get(name)},
            "MAIL_POSTGRES_PRIMARY_DSN": places.postgres_dsn,
            "MAIL_REDIS_MASTER_ADDR": places.redis_addr,
            "MAIL_SMTP_ADDR": f"127.0.0.1:{ports.smtp}",
            "MAIL_SMTP_TLS": "none",
            "MAIL_SMTP_FROM_EMAIL": "hello@mailworkers.example",
            "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{ports.api}",
            "HTTP_PORT": str(ports.health),
            "PROMETHEUS_PORT": str(ports.metrics),
            "MAIL_STATE_DIR": str(self.state),
            "MAIL_SUPERVISOR_SOCKET": str(control / "supervisor.sock"),
        }

    def write_environment(self, settings: Mapping[str, str]) -> None:
        """Write the settings as shell commands: then every command works on this installation."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
        self.environment_file.touch(mode=0o600)
        self.environment_file.write_text("".join(lines))

    def write_servers(self, binaries: Binaries, places: Places, ports: Ports) -> None:
        """Write the include file of the servers that supervisord runs beside the roles."""
        mailbox = [sys.executable, "-m", "mailworkers.embedded.mailbox"]
        mailbox += ["--store", str(self.mailbox)]
        mailbox += ["--smtp-port", str(ports.smtp), "--http-port", str(ports.mailbox)]
        other = self.account.name if self.account.is_other else ""
        servers = {
            "postgres": (postgres_command(binaries, places), other, SIGINT),
            "keyvalue": (keyvalue_command(binaries, places), other, SIGTERM),
            "mailbox": (ends_with_parent(mailbox, SIGTERM), "", SIGTERM),
        }
        text = _SERVERS.format(names=",".join(servers))
        for name, (command, user, ending) in servers.items():
            text += _SERVER.format(
                name=name,
                # supervisord expands percent signs, then splits like a shell.
                command=shlex.join(command).replace("%", "%%"),
                user=f"user={user}\n" if user else "",
                signal=ending.name.removeprefix("SIG"),
            )
        directory = self.state / "supervisor"
        directory.mkdir(mode=0o700, exist_ok=True)
        (directory / "servers.conf").write_text(text)


def without_foreign_servers(environ: Mapping[str, str]) -> dict[str, str]:
    """Return *environ* without anything that could name a server which is not ours."""
    return {
        name: value
        for name, value in environ.items()
        if name not in _FOREIGN and not name.startswith(_FOREIGN_PREFIXES)
    }
