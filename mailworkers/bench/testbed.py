"""What is measured: throwaway stores, a sink, and every role a delivery passes, all as processes.

The stores are durable ones (fsync and synchronous_commit on): a figure without them says nothing.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import msgspec

from mailworkers.adapters import db
from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.stream import GROUP, SENDER_WAKE, connect
from mailworkers.bench.commands import FROM, Batch
from mailworkers.bench.cpu import Meter
from mailworkers.bench.postfix_tools import PostfixMissing, find_tools
from mailworkers.bench.producer import Producer
from mailworkers.bench.progress import Advance, Progress
from mailworkers.bench.role_processes import Roles
from mailworkers.bench.sinks import LeanSink, PostfixSink, Sink, SinkKind
from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.installation import without_foreign_servers
from mailworkers.embedded.servers import Servers, start_servers

_LOOK_EVERY = 0.01  # seconds
_STARTING = 60.0
_SILENCE = 20.0  # without any progress for so long, what is missing counts as lost
_STATISTICS = (
    b"shared_preload_libraries = 'pg_stat_statements'",
    b"pg_stat_statements.track_planning = on",
    b"pg_stat_statements.track = 'all'",
)
# By index, each of them; what is due in an hour or later is not part of any measurement.
_LIVE = b"""
SELECT count(*) FROM deliveries WHERE status IN ('queued', 'rendered')
UNION ALL
SELECT count(*) FROM deliveries WHERE status = 'sending'
UNION ALL
SELECT count(*) FROM deliveries
WHERE status IN ('scheduled', 'deferred') AND next_attempt_at < now() + interval '1 hour'
"""


def advised_settings() -> tuple[str, ...]:
    """Return what `ops/install` gives a PostgreSQL of its own; but lz4, which not every one has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    buffers = min(memory // 4, 2048)
    return f"shared_buffers={buffers}MB", "max_wal_size=4GB", "checkpoint_timeout=15min"


class BenchFailed(MailworkersError):  # noqa: N818  it names the condition
    """A measurement could not be made."""


class Setup(msgspec.Struct, frozen=True):
    """What the testbed is made of. *directory* is where the stores' data lies for the time.

    *postgres_settings* are PostgreSQL's own, each `name=value`; *dot_delay* is how many seconds our
    sink takes to answer a message, *environment* what roles get besides the testbed's settings.
    """

    senders: int = 2
    consumers: int = 1
    servers: Source = Source.AUTO
    sink: SinkKind = SinkKind.LEAN
    directory: Path | None = None
    statistics: bool = False
    postgres_settings: tuple[str, ...] = ()
    dot_delay: float = 0.0
    environment: Mapping[str, str] = msgspec.field(default_factory=dict)


class Testbed:
    """Running stores, sink and roles; a context manager that stops and removes them all."""

    __test__ = False  # pytest would take it for tests by its name

    servers: Servers
    settings: Settings
    sink: Sink
    conn: db.Connection
    producer: Producer
    roles: Roles

    def __init__(self, setup: Setup, progress: Progress) -> None:
        self.setup = setup
        self.progress = progress
        self._exits = ExitStack()

    def __enter__(self) -> Self:
        with self._exits:
            with self.progress.step("starting stores, sink and roles"):
                self._start()
            self._exits = self._exits.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    # Starting and stopping.

    def _start(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mail-bench-", dir=self.setup.directory))
        self._exits.callback(shutil.rmtree, self.directory, ignore_errors=True)
        self.directory.chmod(0o711)  # the servers' account is another one when we are root
        servers = start_servers(
            self.directory,
            source=self.setup.servers,
            durable=True,
            postgres_settings=(*advised_settings(), *self.setup.postgres_settings),
        )
        self.servers = self._exits.enter_context(servers)
        if self.setup.statistics:
            self._enable_statistics()
        self.sink = self._exits.enter_context(self._open_sink())
        self._role_environment = self._environment()
        self.settings = load(self._role_environment)
        db.migrate(self.servers.postgres_dsn)
        self.conn = self._exits.enter_context(db.connect(self.servers.postgres_dsn))
        self.producer = Producer(self.servers.redis_addr)
        self._exits.callback(self.producer.close)
        # Any: redis-py's types mix both kinds of client.
        self._redis: Any = connect(self.settings)
        self._exits.callback(self._redis.close)
        self._start_roles()

    def _enable_statistics(self) -> None:
        """Load pg_stat_statements, for which the server must start anew."""
        with db.connect(self.servers.postgres_dsn) as conn:
            for change in _STATISTICS:
                conn.execute(b"ALTER SYSTEM SET " + change)
        self.servers.postgres.restart()
        with db.connect(self.servers.postgres_dsn) as conn:
            conn.execute("CREATE EXTENSION pg_stat_statements SCHEMA public")

    def _open_sink(self) -> Sink:
        if self.setup.sink is SinkKind.LEAN:
            return LeanSink(self.setup.dot_delay)
        tools = find_tools(may_download=True)
        if tools is None:
            raise PostfixMissing("smtp-sink was not found: install Debian's postfix, or leave it")
        dump = self.directory / "dump"
        dump.mkdir()
        dump.chmod(0o777)  # smtp-sink gives up root
        return PostfixSink(tools, dump)

    def _environment(self) -> dict[str, str]:
        state = self.directory / "state"
        state.mkdir(mode=0o700)
        return {
            **without_foreign_servers(os.environ),
            "MAIL_POSTGRES_PRIMARY_DSN": self.servers.postgres_dsn,
            "MAIL_REDIS_MASTER_ADDR": self.servers.redis_addr,
            "MAIL_SMTP_ADDR": self.sink.address,
            "MAIL_SMTP_TLS": "none",
            "MAIL_SMTP_FROM_EMAIL": FROM,
            "MAIL_SMTP_HELO": "localhost",
            "MAIL_STATE_DIR": str(state),
            "LOG_LEVEL": "info",
            "PYTHONDONTWRITEBYTECODE": "",  # as installed: no role compiles its modules
            **self.setup.environment,
        }

    def _start_roles(self) -> None:
        self.roles = Roles(self._role_environment, self.directory)
        self._exits.callback(self.roles.stop)
        self.start_all_roles()

    def start_all_roles(self, *, without: str = "") -> None:
        """Start as many of each role as the setup says, and return when all live."""
        counts = {
            "consumer": self.setup.consumers,
            "sender": self.setup.senders,
            "scheduler": 1,
            "retention": 1,
        }
        for role, count in counts.items():
            if role != without:
                self.roles.start(role, count)
        self.await_roles()

    def replace_senders(
        self,
        command: Sequence[str] | None = None,
        *,
        count: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Stop all senders in order and start *count*, or as many, anew by *command*."""
        count = count or len(self.roles.of("sender"))
        self.roles.stop("sender")
        self.roles.start("sender", count, command=command, environment=environment)
        self.await_roles()

    def await_roles(self) -> None:
        """Return when all roles have made their first sign of life."""
        count = len(self.roles)
        deadline = time.monotonic() + _STARTING
        while self.ask(b"SELECT count(*) FROM processes") < count:
            self.check_alive()
            if time.monotonic() > deadline:
                raise BenchFailed("the roles did not start in time")
            time.sleep(_LOOK_EVERY)

    def check_alive(self) -> None:
        """Raise RoleEnded when a role is not running any more."""
        self.roles.check_alive()

    # Observing.

    def ask(self, statement: bytes) -> Any:
        """Return the first column of the first row of *statement*, None without one."""
        row = self.conn.execute(statement).fetchone()
        return row[0] if row else None

    def meter(self) -> Meter:
        """Return a meter of the CPU time of everything here, by kind of process."""
        groups = self.store_groups()
        for role in self.roles:
            groups.setdefault(role.role, []).append(role.pid)
        return Meter(groups)

    def store_groups(self) -> dict[str, list[int]]:
        """Return the process ids of what everything needs: the stores and the sink."""
        return {
            "postgres": [self.servers.postgres.pid or 0],
            "redis": [self.servers.keyvalue.pid or 0],
            "sink": [self.sink.pid],
        }

    def entries_waiting(self) -> int:
        """Return how many entries of the stream are not acknowledged yet."""
        for group in self._redis.xinfo_groups(self.settings.stream):
            if group["name"] == GROUP.encode():
                return int(group["pending"]) + int(group["lag"] or 0)
        return 0

    # Acting and waiting.

    def put(self, batch: Batch) -> int:
        """Put *batch* on the stream; return when that began, in ns since the epoch."""
        return self.producer.put(batch.commands)

    def hold_senders(self) -> None:
        """Pause all sending, as an operator does."""
        self.conn.execute("INSERT INTO pauses (reason, created_by) VALUES ('bench', 'bench')")

    def release_senders(self) -> None:
        """End the pause and wake the senders."""
        self.conn.execute("DELETE FROM pauses")
        self.wake_senders()

    def wake_senders(self) -> None:
        """Tell every sender that there is work."""
        self._redis.lpush(SENDER_WAKE, *[b"1"] * max(1, len(self.roles.of("sender"))))

    def await_acknowledged(self) -> None:
        """Return when the consumers have done with every entry."""
        self.await_count(lambda: -self.entries_waiting(), 0)

    def await_arrivals(self, count: int, advance: Advance | None = None) -> bool:
        """Wait until *count* messages have arrived since the start; False when no more come."""
        return self.await_count(self.sink.count, count, advance)

    def await_settled(self) -> None:
        """Return when no delivery lives any more."""
        self.await_count(lambda: -self.live(), 0)

    def live(self) -> int:
        """Return how many deliveries are not final, but for those of a later hour."""
        return sum(row[0] for row in self.conn.execute(_LIVE))

    def await_count(
        self, look: Callable[[], int], wanted: int, advance: Advance | None = None
    ) -> bool:
        """Look until there is as much as *wanted*; False when nothing moves for long."""
        seen, since = look(), time.monotonic()
        while seen < wanted:
            time.sleep(_LOOK_EVERY)
            now = look()
            if now != seen:
                if advance is not None:
                    advance(now - seen)
                seen, since = now, time.monotonic()
            elif time.monotonic() - since > _SILENCE:
                self.check_alive()
                return False
        return True
