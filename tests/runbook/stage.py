"""The host on which the runbook is tried: all roles under supervisord, as they are shipped.

On stores of its own and before a scripted relay that wants TLS and a login, so that each of them
can fail as the pages say.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import redis

from mailworkers.adapters import db
from mailworkers.adapters.catalog import packaged_directory
from mailworkers.embedded.servers import Servers
from tests.certificates import Certificates
from tests.crash.operation.commands import put
from tests.crash.operation.hosts import Host
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles, environ_of
from tests.eventually import eventually
from tests.relay import Relay

_YES = "y\n" * 9  # to every question
MISSING_TEMPLATE = "welcome"  # operators forgot it
_TABLES = b"""
    SELECT string_agg(quote_ident(tablename), ', ') FROM pg_tables
    WHERE schemaname = 'mail' AND tablename NOT LIKE '%yoyo%'
      AND tablename NOT IN ('processes', 'schema_versions', 'sources')
"""
# What else stands in capitals on a page: asked for when it is needed.
_QUERIES = {"PAUSE_ID": "SELECT max(pause_id) FROM pauses HAVING max(pause_id) IS NOT NULL"}


class Stage:
    """The host, its stores and its relay; `names` is what stands in capitals on the pages."""

    def __init__(self, servers: Servers, certificates: Certificates, directory: Path) -> None:
        self.servers = servers
        self.directory = directory
        self.names: dict[str, str] = {}
        self.typed = _YES
        self.password = directory / "relay-password"
        self.relay = Relay(certificates)
        self.relay.users = {"shop": "open sesame"}
        self.relay.start()
        roles = Roles(environ_of(servers, self.relay, directory), directory)
        self.host = Host(roles, directory)
        self.environ = self.host.environ
        self.environ |= _settings(certificates)
        self.environ["MAIL_SMTP_PASSWORD_FILE"] = str(self.password)
        self.password.write_text(self.relay.users["shop"])
        self.password.chmod(0o600)
        self._templates = directory / "templates"
        self.environ["MAIL_TEMPLATE_DIR"] = str(self._templates)
        self._make_programs()
        self._copy_templates()
        self.host.start()

    def close(self) -> None:
        """End everything."""
        self.host.stop()
        self.relay.stop()

    def tidy(self) -> None:
        """Undo whatever there was: no mail, no pauses, two senders; return when all is well."""
        self.relay.forgets()
        self.typed = _YES
        (self.directory / "log_level").unlink(missing_ok=True)
        self._copy_templates()
        self.control("start all")
        for role, processes in (("sender", 2), ("consumer", 1)):
            self.host.supervisor.scale(role, processes, lambda _: None)
        with self.connection() as conn:
            (emptied,) = conn.execute(_TABLES).fetchone() or ("",)
            conn.execute(f"TRUNCATE {emptied}".encode())
        self.wait_until_well()
        self.wait_for("sent")
        self.names.clear()

    def wait_until_well(self) -> None:
        """Return when `status` says so, and nothing is on its way.

        One more mail comes in: without any, no sender finds out that the relay is well again.
        """
        self.put()
        self.wait_for_row(
            "SELECT 1 WHERE NOT EXISTS (SELECT FROM deliveries"
            " WHERE status IN ('queued', 'rendered', 'sending', 'deferred'))"
        )
        eventually(lambda: self.run("mailworkers status").returncode == 0, within=180)

    def connection(self) -> AbstractContextManager[db.Connection]:
        """Return a connection to the database."""
        return db.connect(self.servers.postgres_dsn)

    def put(self, times: int = 1, **changes: str) -> str:
        """Put commands on the stream; return the last one's delivery id."""
        with redis.Redis(unix_socket_path=str(self.servers.places.keyvalue_socket)) as client:
            ids = [put(client, **changes) for _ in range(times)]
        return ids[-1]

    def wait_for(self, status: str, least: int = 1) -> None:
        """Return when there are so many deliveries of *status*."""
        with self.connection() as conn:
            eventually(lambda: count(conn, status) >= least, within=120)

    def wait_for_row(self, statement: str) -> str:
        """Return the first value of *statement* as soon as it finds a row."""
        with self.connection() as conn:
            (found, *_) = eventually(
                lambda: conn.execute(statement.encode()).fetchone() or (), within=180
            )
        return str(found)

    def mend_templates(self) -> None:
        """Add the template that was forgotten; roles see it when they start the next time."""
        shutil.copytree(packaged_directory() / MISSING_TEMPLATE, self._templates / MISSING_TEMPLATE)

    def _copy_templates(self) -> None:
        shutil.rmtree(self._templates, ignore_errors=True)
        forgotten = shutil.ignore_patterns(MISSING_TEMPLATE)
        shutil.copytree(packaged_directory(), self._templates, ignore=forgotten)

    def filled_in(self, text: str) -> str:
        """Return *text* with what its words in capitals stand for here."""
        for name in re.findall(r"\b(?:DELIVERY_ID|NUMBER|PAUSE_ID|PID)\b", text):
            value = self.wait_for_row(_QUERIES[name]) if name in _QUERIES else self.names[name]
            text = text.replace(name, value)
        return text

    def run(self, line: str) -> subprocess.CompletedProcess[str]:
        """Do *line* as somebody would in `mailworkers shell`; what is typed then is `typed`.

        What `mailworkers` does by itself it does without: with a shell around it is twice as slow.
        """
        if not line.startswith(("mailworkers ", "curl ")):
            line = f"mailworkers shell sh -c {shlex.quote(line)}"
        return self._run(["sh", "-c", line], self.typed)

    def ask(self, statements: str) -> subprocess.CompletedProcess[str]:
        """Have psql do *statements* as the first page says."""
        return self._run(["mailworkers", "shell", "psql", "-v", "ON_ERROR_STOP=1"], statements)

    def control(self, words: str) -> str:
        """Do `supervisorctl` *words*; return what it says."""
        return self.run(f'supervisorctl -s "unix://$MAIL_SUPERVISOR_SOCKET" {words}').stdout

    def do_with_unit(self, what: str) -> None:
        """Start, stop or restart the service, as systemd does."""
        if what == "restart":
            self.host.stop()
            self.host.start()
        else:
            self.control(f"{what} all")

    def _run(self, command: Sequence[str], typed: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            executable=shutil.which(command[0], path=self.environ["PATH"]),
            cwd=self.directory,
            env={**os.environ, **self.environ},
            input=typed,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def _make_programs(self) -> None:
        """Put `mailworkers`, and the programs of this database, first on the PATH."""
        programs = self.directory / "programs"
        programs.mkdir()
        command = f"{shlex.quote(sys.executable)} -W error -m mailworkers"
        (programs / "mailworkers").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (programs / "mailworkers").chmod(0o755)
        for name in ("psql", "pg_dump", "pg_restore"):
            path = self.servers.binaries.postgres.path.with_name(name)
            if path.exists():
                (programs / name).symlink_to(path)
        self.environ["PATH"] = f"{programs}{os.pathsep}{os.environ['PATH']}"


def _settings(certificates: Certificates) -> dict[str, str]:
    return {
        "MAIL_SMTP_TLS": "starttls",
        "MAIL_SMTP_CA_FILE": str(certificates.ca),
        "MAIL_SMTP_USERNAME": "shop",
        "MAIL_SMTP_TIMEOUT": "1s",
        "MAIL_SMTP_DOT_TIMEOUT": "20s",
        "MAIL_UNCERTAIN_POLICY_BULK": "park",
        "LOG_LEVEL": "info",
    }
