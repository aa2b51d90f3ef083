"""What is tested: the real roles under the shipped supervisord.conf, on durable stores."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from mailworkers.adapters import db
from mailworkers.adapters.supervisor import Supervisor
from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import start_servers
from mailworkers.gameday.commands import LISTED
from mailworkers.gameday.history import statements
from mailworkers.gameday.host import Host
from mailworkers.gameday.sink_process import SinkProcess

LEASE = 6.0
# Where the budgets of an attempt fit into the lease by the rules: 3 x 1 s + 2 s + 1 s margin.
SMTP_TIMEOUT, DOT_TIMEOUT = 1.0, 2.0
# As in production: a role that runs into it leaves its leases, which a slow machine must not cause.
SHUTDOWN_TIMEOUT, STOP_WAIT = 20.0, 30.0
STREAM = "mail:delivery_commands"
GROUP = "mailworkers"
PASSWORD = "secret-canary-4f1c2a9e"  # noqa: S105  looked for afterwards, wherever something was written
LADDER = "300ms,500ms,1s,1s,1s,2s,2s,2s,2s,2s,2s,2s"
_LOOK_EVERY = 0.05


class ServiceFailed(MailworkersError):  # noqa: N818  it names the condition
    """What is to be tested did not start."""


def wait_until(condition: Callable[[], bool], within: float, what: str) -> None:
    """Return when *condition* holds; ServiceFailed naming *what* after so many seconds."""
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise ServiceFailed(f"{what} after {within:g} s")
        time.sleep(_LOOK_EVERY)


class Service:
    """Stores, roles and sink in one directory; a context manager that ends all of them.

    *more* settings win over ours; *postgres* are PostgreSQL's own, each `name=value`; the sink
    listens at *sink_address*.
    """

    def __init__(
        self,
        directory: Path,
        *,
        senders: int,
        source: str,
        more: Mapping[str, str] | None = None,
        postgres: Sequence[str] = (),
        sink_address: str = "127.0.0.1",
    ) -> None:
        self.directory = directory
        self.senders = senders
        directory.chmod(0o711)  # the servers' account is another one when we are root
        self.servers = start_servers(
            directory / "stores", source=source, durable=True, postgres_settings=postgres
        )
        self.state_dir = directory / "state"
        self.sink = SinkProcess(directory / "sink.jsonl", PASSWORD, DOT_TIMEOUT + 0.5, sink_address)
        self.port = free_port()
        self.metrics_port = free_port()
        self.environ: Mapping[str, str] = {**self._settings(senders), **(more or {})}
        self.host = Host(self.environ, directory / "supervisord.out", senders=senders)

    def _settings(self, senders: int) -> Mapping[str, str]:
        return {
            "MAIL_POSTGRES_PRIMARY_DSN": self.servers.postgres_dsn,
            "MAIL_REDIS_MASTER_ADDR": self.servers.redis_addr,
            "MAIL_REDIS_COMMAND_STREAM": STREAM,
            "MAIL_STATE_DIR": str(self.state_dir),
            "MAIL_SUPERVISOR_SOCKET": str(self.servers.places.sockets.parent / "v.sock"),
            "MAIL_SMTP_MODE": "smtp",
            "MAIL_SMTP_ADDR": f"127.0.0.1:{self.sink.port}",
            "MAIL_SMTP_TLS": "none",
            "MAIL_SMTP_USERNAME": "chaos",
            "MAIL_SMTP_PASSWORD": PASSWORD,
            "MAIL_SMTP_FROM_EMAIL": "shop@example.org",
            "MAIL_SMTP_HELO": "localhost",
            "MAIL_SMTP_TIMEOUT": f"{SMTP_TIMEOUT:g}s",
            "MAIL_SMTP_DOT_TIMEOUT": f"{DOT_TIMEOUT:g}s",
            "MAIL_LEASE": f"{LEASE:g}s",
            "MAIL_POLL_INTERVAL": "200ms",
            "MAIL_RETRY_LADDER": LADDER,
            "MAIL_AUTH_RETRY_LADDER": LADDER,
            "MAIL_UNCERTAIN_POLICY_BULK": "park",
            "MAIL_SHUTDOWN_TIMEOUT": f"{SHUTDOWN_TIMEOUT:g}s",
            "MAIL_STOP_WAIT": f"{STOP_WAIT:g}s",
            "MAIL_ATTEMPT_WORKER_CONCURRENCY": str(senders),
            "MAIL_CLEANUP_INTERVAL": "1s",
            "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{self.port}",
            "HTTP_PORT": str(free_port()),
            "PROMETHEUS_PORT": str(self.metrics_port),
        }

    def start(self) -> None:
        """Migrate, start every role, return when all of them work."""
        db.migrate(self.servers.postgres_dsn)
        with self.connect() as conn:
            for statement in statements():
                conn.execute(statement.encode())
            conn.execute(
                "INSERT INTO mail.suppressed_addresses (canonical, reason, created_by)"
                " SELECT unnest(%s::text[]), 'game day', 'chaos'",
                [list(LISTED)],
            )
        self.host.start()
        wait_until(self.supervisor.is_up, 30, "supervisord does not answer")
        wait_until(self._are_all_alive, 60, "some role gives no sign of life")

    @property
    def supervisor(self) -> Supervisor:
        """Return what talks to supervisord."""
        return self.host.supervisor

    def _are_all_alive(self) -> bool:
        """Whether every program has made its sign of life."""
        programs = {p.name for p in self.supervisor.programs() if p.name != "listener"}
        with self.connect() as conn:
            rows = conn.execute("SELECT detail->>'process' FROM mail.processes").fetchall()
        return programs <= {row[0] for row in rows}

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection that no fault of ours cuts."""
        return psycopg.connect(
            self.servers.postgres_dsn, autocommit=True, application_name="chaos", connect_timeout=5
        )

    def load_command(self, **plan: object) -> list[str]:
        """Return the command of producers that send to this service, by *plan*."""
        settings = {
            **plan,
            "ledger": str(self.directory / "load.jsonl"),
            "redis": self.redis_socket,
            "dsn": self.servers.postgres_dsn,
            "stream": STREAM,
            "port": self.port,
        }
        return [sys.executable, "-m", "mailworkers.gameday.load", json.dumps(settings)]

    @property
    def redis_socket(self) -> str:
        """Return the socket of Valkey or Redis."""
        return str(self.servers.places.keyvalue_socket)

    def pids(self) -> dict[str, int]:
        """Return the process id of every program that runs."""
        return self.host.pids()

    def roles(self) -> dict[str, int]:
        """Return the process id of every role that runs."""
        return self.host.roles()

    def pid(self, program: str) -> int:
        """Return the process id of *program*, 0 while it does not run or nobody can tell."""
        return self.host.pid(program)

    def is_at_work(self, program: str, pid: int) -> bool:
        """Whether the process *pid* of *program* has said that it started."""
        return self.host.is_at_work(program, pid)

    def stop(self) -> None:
        """End the roles in good order, then the rest."""
        self.host.stop()
        self.sink.stop()
        self.servers.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
