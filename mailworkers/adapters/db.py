"""Postgres: connections, the named statements of `sql/`, migrations, and what its errors mean.

Connections are autocommit; a transaction is always a visible `with conn.transaction():`. Only the
store and the start of a role use this module.
"""

import random
import re
import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mailworkers.adapters.arrays import as_column
from mailworkers.adapters.primaries import Watched, connect_primary, each_host
from mailworkers.adapters.sqlstates import (
    Meaning,
    is_contention,
    is_over,
    meaning,
    translated,
)
from mailworkers.adapters.watchdog import Watchdog
from mailworkers.core.errors import ConfigError, SchemaTooNew, StoreUnavailable, reason_of

T = TypeVar("T")
Connection = psycopg.Connection[tuple[Any, ...]]

# What this code is: it needs migrations up to SCHEMA_VERSION and can run on any newer schema whose
# migrations name a code level up to CODE_LEVEL as still good.
SCHEMA_VERSION = 1
CODE_LEVEL = 1
# One lock for all migrations of all installations in a database; the number is arbitrary.
_MIGRATION_LOCK = 0x6D61696C

_PACKAGE = Path(__file__).resolve().parent.parent
SQL_DIRECTORY = next(d for d in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if d.is_dir())

# Silent peers: a dead server is noticed within 15 s (P-04), a hung lock within 10 s (F-P17). With a
# tcp_user_timeout Linux does not count probes: the first one after that time ends the connection.
# 12 s of silence are thus noticed by the probe at 5 + 3 x 3 s, 15 s would be only by the next one.
_CONNECTION_DEFAULTS = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 12000,
}
# Of several hosts one is the primary. One that is dead must not keep us from it for long.
_SEVERAL_HOSTS_DEFAULTS = {"connect_timeout": 3, "target_session_attrs": "read-write"}
_SESSION_SETTINGS = (
    "-c search_path=mail -c timezone=UTC -c statement_timeout=60s -c lock_timeout=10s"
    " -c idle_in_transaction_session_timeout=30s"
)
# What roles say all day looks rows up by index, a batch at a time. So it is planned once, without
# its values, which saves half a millisecond a statement; and never by reading a whole table or
# index, which looks cheap while a table is small: the plan stays when the table has grown.
_LOOKUP_SETTINGS = (
    " -c plan_cache_mode=force_generic_plan -c jit=off"
    " -c enable_seqscan=off -c enable_bitmapscan=off"
)


def read_statements(directory: Path = SQL_DIRECTORY) -> dict[str, str]:
    """Return each `-- name:` block of `sql/*.sql`, whole, by its name."""
    statements: dict[str, str] = {}
    for path in sorted(directory.glob("*.sql")):
        for block in re.split(r"^-- name: ", path.read_text(encoding="utf-8"), flags=re.M)[1:]:
            name, body = block.split("\n", 1)
            if name in statements:
                raise ConfigError(f"{path.name}: statement {name} is defined twice")
            statements[name] = body
    return statements


def _bare(statement: str) -> bytes:
    """Return *statement* without comments and layout.

    The driver remembers how it has read a statement only up to 4,096 bytes.
    """
    lines = (line.strip() for line in statement.splitlines())
    return " ".join(line for line in lines if line and not line.startswith("--")).encode()


SQL: Mapping[str, bytes] = {name: _bare(body) for name, body in read_statements().items()}


def connect(dsn: str, *, application: str = "mailworkers") -> Connection:
    """Open an autocommit connection with our session settings; StoreUnavailable when it is away."""
    with translated():
        return psycopg.connect(**connection_parameters(dsn, application), autocommit=True)


def connection_parameters(dsn: str, application: str) -> dict[str, Any]:
    """Return *dsn* as libpq parameters, with our defaults below it and our session settings."""
    given = _parameters_in(dsn)
    options = f"{given.pop('options', '') or ''} {_SESSION_SETTINGS}".strip()
    has_several_hosts = len(each_host(given)) > 1
    return {
        **_CONNECTION_DEFAULTS,
        **(_SEVERAL_HOSTS_DEFAULTS if has_several_hosts else {}),
        "application_name": application,
        **given,
        "client_encoding": "UTF8",  # arrays.py writes it; a database in another one converts
        "options": options,
    }


def _parameters_in(dsn: str) -> dict[str, Any]:
    try:
        # Some drivers take search_path in the DSN; libpq does not, and ours is fixed.
        given = conninfo_to_dict(re.sub(r"(?<=[?&])search_path=[^&]*&?", "", dsn))
        for host in str(given.get("host") or "").split(","):
            if not host.startswith(("/", "@")):  # a directory or name of sockets
                host.encode("idna")  # as the driver does it, which lets this error through
    except psycopg.ProgrammingError:
        # The driver's text would repeat the DSN, password included.
        raise ConfigError("MAIL_POSTGRES_PRIMARY_DSN is not a libpq connection string") from None
    except UnicodeError:
        raise ConfigError("MAIL_POSTGRES_PRIMARY_DSN names a host that cannot be one") from None
    return given


def libpq_variables(dsn: str) -> dict[str, str]:
    """Return the environment variables by which PostgreSQL's own programs connect as *dsn* says.

    A DSN in a command line could be read by everybody on the host, password included.
    """
    options = psycopg.pq.Conninfo.parse(make_conninfo(**_parameters_in(dsn)).encode())
    return {
        option.envvar.decode(): option.val.decode()
        for option in options
        if option.envvar and option.val is not None
    }


def run(conn: Connection, name: str, **parameters: object) -> list[tuple[Any, ...]]:
    """Execute the statement *name* of `sql/` and return its rows, [] when it has none.

    Outside a transaction it is one, and is repeated when it met another one.
    """

    values = {parameter: as_column(value) for parameter, value in parameters.items()}

    def work() -> list[tuple[Any, ...]]:
        cursor = conn.execute(SQL[name], values, binary=True)
        return cursor.fetchall() if cursor.description else []

    return _repeated(work, lambda error: is_contention(error) and is_over(conn))


def run_transaction(conn: Connection, work: Callable[[], T]) -> T:
    """Run *work* in one transaction and return its result; again from its start after a deadlock,
    a serialization failure or a unique violation by a concurrent winner."""

    def transaction() -> T:
        with conn.transaction():
            return work()

    return _repeated(transaction, lambda error: meaning(error) is Meaning.REPEAT)


_REPEATS = 8
_LONGEST_PAUSE = 0.1  # seconds, by chance: whoever met must not meet again


def _repeated(work: Callable[[], T], is_worth_it: Callable[[psycopg.Error], bool]) -> T:
    """Return what *work* returns, doing it again while that may help.

    Two that stand in each other's way all the time: StoreUnavailable, to be tried again later.
    """
    for _ in range(_REPEATS):
        try:
            with translated():
                return work()
        except psycopg.Error as error:
            if not is_worth_it(error):
                raise
            last = error
            time.sleep(random.uniform(0, _LONGEST_PAUSE))  # noqa: S311
    if is_contention(last):
        raise StoreUnavailable("postgres", reason_of(last)) from last
    raise last


@translated()
def check_schema(conn: Connection) -> bool:
    """Return whether every migration this code needs was applied; SchemaTooNew for old code."""
    found = conn.execute(b"SELECT to_regclass('mail.schema_versions') IS NOT NULL").fetchone()
    if found is None or not found[0]:
        return False
    row = conn.execute(SQL["schema_version"]).fetchone()
    version, oldest_code = row if row is not None else (None, None)
    if oldest_code is not None and oldest_code > CODE_LEVEL:
        raise SchemaTooNew(
            f"the database schema (version {version}) needs code level {oldest_code} or newer, "
            f"this is level {CODE_LEVEL}: upgrade mailworkers on this host"
        )
    return version is not None and version >= SCHEMA_VERSION


def migrate(dsn: str) -> list[str]:
    """Bring the schema up to date under an advisory lock; return the migrations applied now.

    Safe when ten roles start at once: the others wait for the lock and find nothing to do.
    """
    with translated(), connect(dsn, application="mailworkers migrate") as conn:
        conn.execute("SET statement_timeout = 0")
        conn.execute("SET lock_timeout = 0")
        conn.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        if check_schema(conn):
            return []
        _create_schema(conn)
        from mailworkers.adapters.migrations import apply

        return apply(conn, SQL_DIRECTORY / "migrations")


def _create_schema(conn: Connection) -> None:
    """Make schema `mail` unless it is there: a role that may not make one can still migrate."""
    found = conn.execute("SELECT to_regnamespace('mail') IS NOT NULL").fetchone()
    if found is not None and not found[0]:
        conn.execute("CREATE SCHEMA mail")


# The server's own statement_timeout comes first, where the server still runs.
LONGEST_ANSWER = timedelta(seconds=65)
_WATCH_EVERY = timedelta(seconds=1)


class Database:
    """The one connection of a role: opened when it is needed, dropped when it fails.

    An answer that takes longer than *patience* is not waited for.
    """

    def __init__(self, dsn: str, application: str, patience: timedelta = LONGEST_ANSWER) -> None:
        self._dsn = dsn
        self._application = application
        self._patience = patience
        self._conn: Watched | None = None

    @property
    def conn(self) -> Connection:
        """Return the connection, a new one after a failure; StoreUnavailable when there is none."""
        if self._conn is None or self._conn.closed:
            self.drop()
            parameters = connection_parameters(self._dsn, self._application)
            parameters["options"] += _LOOKUP_SETTINGS
            self._conn = connect_primary(parameters, asks_all=True)
            self._conn.watchdog = Watchdog(self._patience, tick=min(_WATCH_EVERY, self._patience))
        return self._conn

    def drop(self) -> None:
        """Close the connection: after a failure nothing is known about its state."""
        conn, self._conn = self._conn, None
        if conn is not None:
            conn.close()
