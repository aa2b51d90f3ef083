"""Real servers for every test: one throwaway PostgreSQL and one Valkey or Redis for the session.

Nothing here reads where the machine's own servers are: the variables that would say so are removed
before any test runs.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from psycopg import sql

from mailworkers.adapters import db
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.servers import Servers, start_servers
from tests.relay import certificates, relay, tls_relay

# Fixtures that live beside what they make.
__all__ = ["certificates", "relay", "tls_relay"]

_FOREIGN = ("DATABASE_URL", "REDIS_URL", "HTTP_PORT", "PROMETHEUS_PORT", "LOG_LEVEL")
_FOREIGN_PREFIXES = ("PG", "MAIL_", "OTEL_")
_KEPT = ("PG_BINDIR",)  # says where programs are, not where a server is


def _scrub_environment() -> None:
    for name in list(os.environ):
        if name in _FOREIGN or (name.startswith(_FOREIGN_PREFIXES) and name not in _KEPT):
            del os.environ[name]


_scrub_environment()


def pytest_configure() -> None:
    """Let roles hear every signal, even where whoever started us ignores some (`nohup`, `&`)."""
    for number in (signal.SIGHUP, signal.SIGINT):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the choice of server programs, and of the slow tests."""
    parser.addoption(
        "--servers",
        choices=[source.value for source in Source],
        default=Source.AUTO.value,
        help="programs of the throwaway servers: wheel, system, or auto (wheel, else system)",
    )
    parser.addoption("--all", action="store_true", help="run the slow tests too")
    parser.addoption("--long", action="store_true", help="run those that take minutes, too")


def pytest_report_header(config: pytest.Config) -> str:
    """Say which servers the tests run on."""
    return f"servers: {config.getoption('--servers')}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes long, unless it is wanted or was named on the command line."""
    if any("::" in argument for argument in config.args):
        return
    unwanted = {"slow", "long"}
    if config.getoption("--all"):
        unwanted = {"long"}
    if config.getoption("--long"):
        unwanted = set()
    left_out = [item for item in items if any(map(item.get_closest_marker, unwanted))]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Return running throwaway servers: `postgres_dsn`, `redis_addr`, and each can be restarted."""
    directory = Path(tempfile.mkdtemp(prefix="mail-test-"))
    directory.chmod(0o711)  # their account is another one when we are root
    source = request.config.getoption("--servers")
    try:
        with start_servers(directory, source=source, durable=False) as running:
            yield running
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def _migrated(servers: Servers) -> sql.Composed:
    """Migrate the database once; return what empties it again, but for what migrations put in."""
    db.migrate(servers.postgres_dsn)
    with db.connect(servers.postgres_dsn) as conn:
        names = conn.execute(
            "SELECT tablename FROM pg_tables"
            " WHERE schemaname = 'mail' AND tablename NOT LIKE '%%yoyo%%'"
        ).fetchall()
        emptied = [
            sql.Identifier(name)
            for (name,) in names
            if not conn.execute(sql.SQL("TABLE {} LIMIT 1").format(sql.Identifier(name))).fetchone()
        ]
        seeds = [row[0] for row in conn.execute("SELECT source FROM sources")]
    return sql.SQL("TRUNCATE {tables}; DELETE FROM sources WHERE source <> ALL ({seeds})").format(
        tables=sql.SQL(", ").join(emptied), seeds=sql.Literal(seeds)
    )


@pytest.fixture
def database(servers: Servers, _migrated: sql.Composed) -> str:
    """Return the DSN of a migrated database that holds nothing but what migrations put in."""
    with db.connect(servers.postgres_dsn) as conn:
        conn.execute(_migrated)
    return servers.postgres_dsn


@pytest.fixture
def conn(database: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Return an autocommit connection to `database`, its search_path being `mail`."""
    with db.connect(database) as connection:
        yield connection


@pytest.fixture
def redis_client(servers: Servers) -> Iterator[redis.Redis]:
    """Return a client of an empty Valkey or Redis; values are bytes."""
    with redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client:
        client.flushall()
        yield client
