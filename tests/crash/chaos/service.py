"""What is tested: the real roles under the shipped supervisord.conf, on durable stores."""

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from mailworkers.adapters import db
from mailworkers.adapters.settings import load
from mailworkers.adapters.supervisor import Supervisor
from mailworkers.adapters.supervisor_files import (
    Slots,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.embedded.servers import start_servers
from tests.eventually import eventually

LEASE = 6.0
# Where the budgets of an attempt fit into the lease by the rules: 3 x 1 s + 2 s + 1 s margin.
SMTP_TIMEOUT, DOT_TIMEOUT = 1.0, 2.0
STREAM = "mail:delivery_commands"
GROUP = "mailworkers"
PASSWORD = "secret-canary-4f1c2a9e"  # looked for afterwards, wherever something was written

# Every change of a status, in the transaction that makes it: what the verdict knows of the past.
_HISTORY = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.moves (
    move_id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, delivery_id uuid NOT NULL,
    before text, after text NOT NULL, attempt_no integer NOT NULL, by text NOT NULL);
CREATE FUNCTION chaos.note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.moves (at, delivery_id, before, after, attempt_no, by)
    VALUES (clock_timestamp(), NEW.delivery_id, CASE TG_OP WHEN 'UPDATE' THEN OLD.status END,
            NEW.status, NEW.attempt_no, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_new AFTER INSERT ON mail.deliveries
    FOR EACH ROW EXECUTE FUNCTION chaos.note_move();
CREATE TRIGGER chaos_move AFTER UPDATE ON mail.deliveries
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION chaos.note_move();
"""


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Sink:
    """The sink's process, and the orders it takes."""

    def __init__(self, ledger: Path) -> None:
        stall = DOT_TIMEOUT + 0.5
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.chaos.sink", ledger, PASSWORD, str(stall)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(self._read())

    def _read(self) -> str:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], 20)[0]:
            raise TimeoutError("the sink does not answer")
        return self._process.stdout.readline()

    def order(self, **order: Any) -> Any:
        """Give an order and return the answer."""
        assert self._process.stdin is not None
        with self._lock:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return json.loads(self._read())

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()


class Service:
    """Stores, roles and sink in one directory; a context manager that ends all of them."""

    def __init__(self, directory: Path, *, senders: int, source: str) -> None:
        self.directory = directory
        directory.chmod(0o711)  # the servers' account is another one when we are root
        self.servers = start_servers(directory / "stores", source=source, durable=True)
        self.state_dir = directory / "state"
        self.sink = Sink(directory / "sink.jsonl")
        self.port = _free_port()
        self.metrics_port = _free_port()
        self._environ = self._settings(senders)
        settings = load(self._environ)
        slots = Slots(settings.state_dir)
        slots.prepare(senders)
        self.supervisor = Supervisor(
            settings.supervisor_socket, slots, settings.stop_wait, started_for=timedelta(seconds=1)
        )
        self._environment = supervisord_environment(settings, {**os.environ, **self._environ})
        self._process: subprocess.Popen[bytes] | None = None

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
            "MAIL_RETRY_LADDER": "300ms,500ms,1s,1s,1s,2s,2s,2s,2s,2s,2s,2s",
            "MAIL_AUTH_RETRY_LADDER": "300ms,500ms,1s,1s,1s,2s,2s,2s,2s,2s,2s,2s",
            "MAIL_SHUTDOWN_TIMEOUT": "5s",
            "MAIL_STOP_WAIT": "8s",
            "MAIL_ATTEMPT_WORKER_CONCURRENCY": str(senders),
            "MAIL_CLEANUP_INTERVAL": "1s",
            "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{self.port}",
            "HTTP_PORT": str(_free_port()),
            "PROMETHEUS_PORT": str(self.metrics_port),
        }

    def start(self) -> None:
        """Migrate, start every role, return when all of them work."""
        db.migrate(self.servers.postgres_dsn)
        with self.connect() as conn:
            conn.execute(_HISTORY)
        with (self.directory / "supervisord.out").open("ab") as out:
            self._process = subprocess.Popen(
                supervisord_command(), env=self._environment, stdout=out, stderr=out
            )
        eventually(self.supervisor.is_up, within=30)
        eventually(self._are_all_alive, within=60)

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

    @property
    def redis_socket(self) -> str:
        """Return the socket of Valkey or Redis."""
        return str(self.servers.places.keyvalue_socket)

    def pid(self, program: str) -> int:
        """Return the process id of *program*, 0 while it does not run."""
        info = self.supervisor.call("supervisor.getProcessInfo", program)
        return int(info["pid"]) if info["statename"] == "RUNNING" else 0

    def is_at_work(self, program: str, pid: int) -> bool:
        """Whether the process *pid* of *program* has said that it started."""
        found = re.compile(rb'"role started".*"pid":%d\b' % pid)
        try:
            return (
                found.search((self.state_dir / "log" / f"{program}.log").read_bytes()) is not None
            )
        except OSError:
            return False

    def stop(self) -> None:
        """End the roles in good order, then the rest."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(60)
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
