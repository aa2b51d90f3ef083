"""What a role does about each error of PostgreSQL: wait, repeat, or say it aloud (F-P07, P-12)."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from mailworkers.adapters import db, store
from mailworkers.adapters.sqlstates import Meaning, meaning, translated
from mailworkers.core.errors import StoreUnavailable
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from mailworkers.roles.scheduler import Scheduler
from mailworkers.roles.sender import Sender
from tests.crash.commands import put_commands
from tests.crash.stores.conftest import MakeSettings
from tests.crash.stores.turning import Build, running
from tests.deliveries import accept, new_delivery, put
from tests.eventually import eventually
from tests.relay import Relay

AWAY, REPEAT, SURPRISE = Meaning.AWAY, Meaning.REPEAT, Meaning.SURPRISE

STATES = {
    "08006": (AWAY, "connection failure"),
    "08007": (AWAY, "transaction resolution unknown: a COMMIT whose answer was lost"),
    "22021": (SURPRISE, "bytes that are no text"),
    "23503": (SURPRISE, "foreign key"),
    "23505": (REPEAT, "somebody was first with this key"),
    "23514": (SURPRISE, "CHECK: a move that must not be"),
    "25006": (AWAY, "read-only: after a failover"),
    "25P03": (AWAY, "idle in a transaction for too long"),
    "28000": (AWAY, "no entry in pg_hba.conf"),
    "28P01": (AWAY, "wrong password"),
    "3D000": (AWAY, "no such database"),
    "40001": (REPEAT, "serialization failure"),
    "40P01": (REPEAT, "deadlock"),
    "42501": (AWAY, "missing privilege"),
    "42703": (SURPRISE, "no such column"),
    "42P01": (SURPRISE, "no such table"),
    "53100": (AWAY, "disk full"),
    "53200": (AWAY, "out of memory"),
    "53300": (AWAY, "too many connections"),
    "53400": (AWAY, "a configured limit"),
    "55P03": (AWAY, "lock timeout"),
    "57014": (AWAY, "statement timeout, or cancelled by an operator"),
    "57P01": (AWAY, "administrator shut the server down or ended the backend"),
    "57P02": (AWAY, "another backend crashed"),
    "57P03": (AWAY, "starting up"),
    "58030": (AWAY, "I/O error"),
    "F0000": (AWAY, "configuration file"),
    "XX000": (AWAY, "internal error"),
    "XX001": (AWAY, "damaged page"),
    "XX002": (AWAY, "damaged index"),
}


@pytest.mark.parametrize("state", STATES)
def test_each_error_means_one_thing(conn: db.Connection, state: str) -> None:
    """The table is the whole of it; what is not known is said aloud."""
    wanted, _ = STATES[state]
    expected = StoreUnavailable if wanted is AWAY else psycopg.Error
    raising = f"DO $$ BEGIN RAISE EXCEPTION 'as ordered' USING ERRCODE = '{state}'; END $$"

    with pytest.raises(expected, match="as ordered") as caught, translated():
        conn.execute(raising.encode())

    error = caught.value if wanted is not AWAY else caught.value.__cause__
    assert isinstance(error, psycopg.Error)
    assert meaning(error) is wanted


def test_a_lost_connection_has_no_code_and_means_to_wait(database: str) -> None:
    """The driver's own errors: refused, reset, closed under our hands."""
    with pytest.raises(StoreUnavailable, match="refused"):
        db.connect("postgresql://127.0.0.1:1/none")
    closed = db.connect(database)
    closed.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        db.run(closed, "database_time")


@pytest.mark.parametrize(
    ("setting", "statement"),
    [("statement_timeout", "SELECT pg_sleep(20)"), ("lock_timeout", "TABLE pauses")],
)
def test_a_timeout_of_the_server_means_to_wait(
    conn: db.Connection, database: str, setting: str, statement: str
) -> None:
    """However it comes about that somebody holds us up."""
    with db.connect(database) as holder, holder.transaction():
        holder.execute("LOCK TABLE pauses IN ACCESS EXCLUSIVE MODE")
        conn.execute(f"SET {setting} = '50ms'".encode())

        with pytest.raises(StoreUnavailable, match="timeout"), translated():
            conn.execute(statement.encode())


def test_a_statement_that_loses_against_another_transaction_is_repeated(
    conn: db.Connection, database: str
) -> None:
    """A real 40001: a stricter isolation level was set for the whole database."""
    process_id = uuid4()
    beat: dict[str, Any] = {"role": "sender", "host": "h", "pid": 1, "version": "1", "detail": {}}
    store.beat(conn, process_id=process_id, **beat)
    conn.execute("SET default_transaction_isolation = 'repeatable read'")
    beating = threading.Thread(target=lambda: store.beat(conn, process_id=process_id, **beat))

    with db.connect(database) as other:
        with other.transaction():
            other.execute("UPDATE processes SET version = '2'")
            beating.start()
            eventually(lambda: _waiting(database) == 1)
        beating.join(10)

        row = other.execute("SELECT version, beat_at > started_at FROM processes").fetchone()
    assert not beating.is_alive()
    assert row is not None
    assert row[1] is True


def _waiting(dsn: str) -> int:
    with db.connect(dsn) as conn:
        query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        row = conn.execute(query).fetchone()
    return int(row[0]) if row else 0


@contextmanager
def _failing(conn: db.Connection, state: str, times: int) -> Iterator[None]:
    """Let the next *times* writes to `deliveries` fail with *state*, whoever makes them."""
    conn.execute(
        f"""
        CREATE SEQUENCE failures;
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF nextval('mail.failures') <= {times} THEN
                RAISE EXCEPTION 'as ordered' USING ERRCODE = '{state}';
            END IF;
            RETURN NULL;
        END $$;
        CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON deliveries EXECUTE FUNCTION fail()
        """.encode()
    )
    try:
        yield
    finally:
        conn.execute("DROP FUNCTION fail CASCADE; DROP SEQUENCE failures")


ROLES: dict[str, Build] = {"consumer": Consumer, "scheduler": Scheduler, "sender": Sender}


@pytest.mark.parametrize("times", [3, 20], ids=["for a moment", "for long"])
@pytest.mark.parametrize("state", ["40001", "40P01"])
@pytest.mark.parametrize("role", ROLES)
def test_contention_costs_time_and_nothing_else(
    servers: Servers,
    conn: db.Connection,
    redis_client: redis.Redis,
    make_settings: MakeSettings,
    relay: Relay,
    role: str,
    state: str,
    times: int,
) -> None:
    """Deadlock, serialization failure, at every write: repeated, later waited for; never lost."""
    expected = {"consumer": "queued", "scheduler": "queued", "sender": "sent"}[role]
    if role == "consumer":
        put_commands(servers, 1)
    elif role == "scheduler":
        put(conn, "deferred")
    else:
        accept(conn, new_delivery())

    with running(ROLES[role], make_settings()) as turn, _failing(conn, state, times):
        eventually(lambda: turn() or _statuses(conn) == [expected], within=30)

    assert len(relay.accepted) == (role == "sender")


def _statuses(conn: db.Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT status FROM deliveries")]


def test_an_outcome_outlives_contention_and_the_copy_is_one(
    conn: db.Connection, make_settings: MakeSettings, relay: Relay
) -> None:
    """What the relay answered is kept until it can be written, however often that fails."""
    accept(conn, new_delivery())
    with ExitStack() as stack:
        relay.says(BODY=[lambda _: stack.enter_context(_failing(conn, "40P01", 20))])
        turn = stack.enter_context(running(Sender, make_settings()))
        eventually(lambda: turn() or _statuses(conn) == ["sent"], within=30)

    assert len(relay.accepted) == 1


@pytest.fixture
def few(conn: db.Connection, database: str) -> Iterator[str]:
    """Return the address of the database for an account that may connect twice."""
    conn.execute(
        "CREATE ROLE few LOGIN CONNECTION LIMIT 2;"
        "GRANT USAGE ON SCHEMA mail TO few;"
        "GRANT ALL ON ALL TABLES IN SCHEMA mail TO few"
    )
    try:
        yield database.replace("mailworkers@", "few@", 1)
    finally:
        conn.execute("DROP OWNED BY few; DROP ROLE few")


def test_whoever_finds_no_connection_left_waits_and_takes_none_from_others(few: str) -> None:
    """F-P08: roles hold the one they have; the third waits until there is room."""
    first, second, third = (db.Database(few, f"role {n}") for n in range(3))
    try:
        pids = {first.conn.info.backend_pid, second.conn.info.backend_pid}
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="too many connections"):
                assert third.conn
        assert {first.conn.info.backend_pid, second.conn.info.backend_pid} == pids
        store.database_time(first.conn)

        second.drop()

        assert eventually(lambda: _can_ask(third))
    finally:
        for database in (first, second, third):
            database.drop()


def _can_ask(database: db.Database) -> bool:
    try:
        return store.database_time(database.conn) is not None
    except StoreUnavailable:
        return False


def test_a_server_that_takes_the_question_and_never_answers_is_left(database: str) -> None:
    """A frozen machine, a hanging disk: no timeout of the server or of the kernel sees that."""
    impatient = db.Database(database, "impatient", patience=timedelta(milliseconds=300))
    try:
        with pytest.raises(StoreUnavailable), translated():
            impatient.conn.execute("SELECT pg_sleep(30)")
        store.database_time(impatient.conn)
    finally:
        impatient.drop()
