"""Somebody else is busy in the database: a snapshot, a lock, a migration (F-P15, F-P17, F-P18)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from mailworkers.adapters import db
from mailworkers.cli.store_checks import judge_upkeep
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.own import set_option
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow

LOCKED_FOR = 11.5  # seconds; lock_timeout is 10


@pytest.fixture
def running(roles: Roles) -> list[Process]:
    """Start the three roles."""
    started = [roles.start(role) for role in ("consumer", "scheduler", "sender")]
    eventually(lambda: roles.logs().count('"role started"') == 3, within=30)
    return started


def _arrived(relay: Relay) -> list[str]:
    return sorted(message.rcpt_to[0].split("@")[0] for message in relay.accepted)


def test_a_snapshot_that_is_held_stops_nobody(
    servers: Servers, conn: db.Connection, database: str, running: list[Process], relay: Relay
) -> None:
    """A forgotten report, a backup: what is deleted stays on the disk, and mail goes on (F-P15)."""
    with db.connect(database) as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("TABLE deliveries")
        ids = [name for _ in range(5) for name in put_commands(servers, 30)]
        eventually(lambda: _arrived(relay) == sorted(ids), within=30)
        seen = holder.execute("SELECT count(*) FROM deliveries").fetchone()

    assert seen == (0,)
    assert [process.exit_code for process in running] == [None] * 3


def test_a_lock_is_waited_for_and_nobody_piles_up_behind_it(
    servers: Servers,
    conn: db.Connection,
    database: str,
    roles: Roles,
    running: list[Process],
    relay: Relay,
) -> None:
    """A migration of somebody's own: lock_timeout ends each wait, one connection a role (F-P17)."""
    with db.connect(database) as holder:
        holder.execute("SET idle_in_transaction_session_timeout = 0")
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE deliveries IN ACCESS EXCLUSIVE MODE")
        until = time.monotonic() + LOCKED_FOR
        ids = put_commands(servers, 5)
        counts: list[int] = []
        while time.monotonic() < until:
            counts.append(_connections(conn))
            time.sleep(0.1)
        assert relay.accepted == []
    eventually(lambda: _arrived(relay) == sorted(ids), within=30)

    assert max(counts) <= 3
    assert "canceling statement due to lock timeout" in roles.logs()
    assert [process.exit_code for process in running] == [None] * 3


def _connections(conn: db.Connection) -> int:
    """Return how many connections roles have."""
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'mailworkers %-%'"
    ).fetchone()
    return int(row[0]) if row else 0


def test_doctor_tells_of_a_database_that_is_not_cleaned_up(
    servers: Servers, conn: db.Connection, database: str
) -> None:
    """Autovacuum that was turned off, a snapshot that was forgotten (F-P15, F-P16)."""
    assert judge_upkeep(conn).ok
    with db.connect(database) as holder:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("TABLE sources")
        assert judge_upkeep(conn).ok
        assert not judge_upkeep(conn, longest=timedelta(0)).ok
    set_option(servers, "autovacuum", "off")
    try:
        eventually(lambda: judge_upkeep(conn).detail.startswith("autovacuum off"))
        assert not judge_upkeep(conn).ok
    finally:
        set_option(servers, "autovacuum", None)


@contextmanager
def _newer_schema(conn: db.Connection) -> Iterator[None]:
    """Add what a later version may add; take it away again, as an operator who goes back."""
    conn.execute(
        "ALTER TABLE deliveries ADD COLUMN later text;"
        "ALTER TABLE attempts ADD COLUMN later integer NOT NULL DEFAULT 0;"
        "CREATE INDEX deliveries_later ON deliveries (later);"
        "INSERT INTO schema_versions (version, oldest_code)"
        " SELECT 1000, max(oldest_code) FROM schema_versions"
    )
    try:
        yield
    finally:
        conn.execute(
            "ALTER TABLE deliveries DROP COLUMN later;"
            "ALTER TABLE attempts DROP COLUMN later;"
            "DELETE FROM schema_versions WHERE version >= 1000"
        )


def test_roles_go_on_while_the_schema_becomes_newer_and_older_again(
    servers: Servers, conn: db.Connection, roles: Roles, running: list[Process], relay: Relay
) -> None:
    """During an upgrade old code runs on the new schema; only what excludes it stops it (F-P18)."""
    ids = put_commands(servers, 20)
    eventually(lambda: _arrived(relay) == sorted(ids), within=30)
    with _newer_schema(conn):
        ids += put_commands(servers, 20)
        eventually(lambda: _arrived(relay) == sorted(ids), within=30)

        another = roles.start("scheduler")
        eventually(lambda: '"role started"' in another.output.read_text(), within=30)

        conn.execute(
            "INSERT INTO schema_versions (version, oldest_code) VALUES (1001, %s)",
            [db.CODE_LEVEL + 1],
        )
        refused = roles.start("scheduler")
        assert refused.wait() == 78
        assert "upgrade mailworkers on this host" in refused.output.read_text()
    ids += put_commands(servers, 20)
    eventually(lambda: _arrived(relay) == sorted(ids), within=30)

    assert [process.exit_code for process in [*running, another]] == [None] * 4
