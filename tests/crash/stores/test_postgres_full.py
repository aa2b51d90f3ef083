"""The database cannot be written: its disk is full, or it was made read-only (F-P09, F-P14)."""

import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from mailworkers.adapters import db
from mailworkers.adapters.gauges import Stores
from mailworkers.core.errors import StoreUnavailable
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from tests.crash.commands import STREAM, put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.conftest import MakeSettings
from tests.crash.stores.own import own_servers, resize, set_option, small_disk
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow

ROOMY = 700  # MiB
LARGE = secrets.token_hex(100_000)  # nothing makes that small
# A column of each table that roles write, to write it once more.
HOT_TABLES = {
    "deliveries": "locale",
    "delivery_recipients": "canonical",
    "delivery_payloads": "mime",
    "idempotency_reservations": "created_at",
    "attempts": "summary",
    "processes": "version",
}


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    """Return a disk of which the module's PostgreSQL has as much as it needs, at first."""
    with small_disk(ROOMY) as place:
        yield place


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest, disk: Path) -> Iterator[Servers]:
    """Return servers whose database lies on the small disk."""
    with own_servers(request.config, disk) as running:
        yield running


@pytest.fixture
def running(own: Servers, roles: Roles) -> list[Process]:
    """Start the three roles on the module's database and the session's Redis."""
    with db.connect(own.postgres_dsn) as conn:
        conn.execute("TRUNCATE deliveries CASCADE; TRUNCATE idempotency_reservations")
    roles.environ["MAIL_POSTGRES_PRIMARY_DSN"] = own.postgres_dsn
    return [roles.start(role) for role in ("consumer", "scheduler", "sender")]


class Full:
    """Not a page is left on the disk, nor in the tables."""

    said = "No space left on device"
    tables = frozenset(HOT_TABLES)

    def __init__(self, own: Servers, disk: Path) -> None:
        self._own = own
        self._disk = disk
        self._holder = db.connect(own.postgres_dsn)

    def begin(self) -> None:
        """Fill the disk, then every page, and let nothing be cleaned up."""
        self._holder.execute("SET idle_in_transaction_session_timeout = 0")
        self._holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        self._holder.execute("TABLE sources")
        resize(self._disk)
        with db.connect(self._own.postgres_dsn) as conn:
            for table in self.tables:
                column = HOT_TABLES[table]
                again = f"UPDATE {table} SET {column} = {column}".encode()  # noqa: S608
                with suppress(psycopg.errors.DiskFull):
                    while conn.execute(again).rowcount:
                        pass

    def end(self) -> None:
        """Give it room again."""
        resize(self._disk, ROOMY)
        self._holder.close()


class FullForMail(Full):
    """Signs of life find room in half-empty pages, as they mostly do."""

    tables = frozenset(HOT_TABLES) - {"processes"}


class ReadOnly:
    """An operator, or whoever hosts the database, allows no more writes."""

    said = "read-only transaction"

    def __init__(self, own: Servers, _disk: Path) -> None:
        self._own = own

    def begin(self) -> None:
        """Allow no more writes."""
        set_option(self._own, "default_transaction_read_only", "on")

    def end(self) -> None:
        """Allow them again."""
        set_option(self._own, "default_transaction_read_only", None)


@pytest.fixture(params=[Full, ReadOnly])
def trouble(request: pytest.FixtureRequest, own: Servers, disk: Path) -> Iterator[Full | ReadOnly]:
    """Return what keeps the database from being written; over at the end of the test."""
    made: Full | ReadOnly = request.param(own, disk)
    yield made
    made.end()


def _arrived(relay: Relay) -> list[str]:
    return sorted(message.rcpt_to[0].split("@")[0] for message in relay.accepted)


def _held(redis_client: Any) -> int:
    """Return how many entries are not acknowledged, read or not."""
    group = redis_client.xinfo_groups(STREAM)[0]
    return int(group["pending"]) + int(group["lag"])


def _all_sent(own: Servers, count: int) -> bool:
    with db.connect(own.postgres_dsn) as conn:
        rows = conn.execute("SELECT status, count(*) FROM deliveries GROUP BY 1").fetchall()
    return rows == [("sent", count)]


def test_what_cannot_be_written_waits_and_is_taken_up_when_it_can(
    servers: Servers,
    own: Servers,
    trouble: Full | ReadOnly,
    running: list[Process],
    relay: Relay,
    redis_client: Any,
) -> None:
    """No entry is acknowledged, none is sent before its lease; all go on by themselves after."""
    first = put_commands(servers, 20)
    eventually(lambda: _all_sent(own, 20), within=30)

    trouble.begin()
    second = put_commands(servers, 5, text=LARGE)
    eventually(lambda: trouble.said in running[0].output.read_text(), within=30)
    eventually(lambda: _held(redis_client) == 5, within=30)
    meanwhile = _arrived(relay)
    trouble.end()
    eventually(lambda: _all_sent(own, 25), within=30)

    assert meanwhile == sorted(first)
    assert _arrived(relay) == sorted([*first, *second])
    assert _held(redis_client) == 0
    assert [process.exit_code for process in running] == [None] * 3


def test_an_outcome_that_cannot_be_written_is_kept_and_the_copy_is_one(
    servers: Servers,
    own: Servers,
    trouble: Full | ReadOnly,
    running: list[Process],
    roles: Roles,
    relay: Relay,
) -> None:
    """The relay took the message over; journal and memory say so until the table can."""
    eventually(lambda: roles.logs().count("role started") == 3, within=30)
    relay.says(BODY=[lambda _: trouble.begin()])
    ids = put_commands(servers, 1)
    eventually(lambda: _arrived(relay) == ids, within=30)
    eventually(lambda: trouble.said in roles.logs(), within=30)

    trouble.end()
    eventually(lambda: _all_sent(own, 1), within=30)

    assert _arrived(relay) == ids
    assert [process.exit_code for process in running] == [None] * 3


@pytest.mark.parametrize("trouble", [Full, FullForMail], indirect=True)
def test_health_says_that_there_is_no_room(
    servers: Servers, own: Servers, trouble: Full, running: list[Process], roles: Roles
) -> None:
    """Who is to write a command finds out, or the monitor by its own sign of life."""
    port = free_port()
    roles.start("monitor", HTTP_PORT=str(port), PROMETHEUS_PORT=str(free_port()))
    eventually(lambda: _health(port) == (200, "ok"), within=30)

    trouble.begin()
    put_commands(servers, 5, text=LARGE)
    eventually(lambda: trouble.said in running[0].output.read_text(), within=30)
    eventually(lambda: _health(port) == (503, "failed"), within=30)
    trouble.end()
    eventually(lambda: _all_sent(own, 5), within=30)

    assert eventually(lambda: _health(port) == (200, "ok"), within=30)


def _health(port: int) -> tuple[int, str]:
    """Return the status of `/health` and what it says of the database."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False, timeout=10)
    except httpx.TransportError:  # its listener is not open yet
        return 0, ""
    return answer.status_code, answer.json()["checks"]["database"]


def test_health_says_that_no_writes_are_taken(own: Servers, make_settings: MakeSettings) -> None:
    """A read-only database answers every question, and is no less lost for that."""
    settings = make_settings(MAIL_POSTGRES_PRIMARY_DSN=own.postgres_dsn)
    stores = Stores(settings, "test")
    try:
        assert stores.postgres.ask() is True

        set_option(own, "default_transaction_read_only", "on")

        eventually(lambda: _reason(stores) == "it is read-only (default_transaction_read_only)")
        set_option(own, "default_transaction_read_only", None)
        eventually(lambda: _reason(stores) == "")
    finally:
        stores.close()


def _reason(stores: Stores) -> str:
    """Return why the monitor takes Postgres for lost, "" when it does not."""
    try:
        stores.postgres.ask()
    except StoreUnavailable as error:
        return error.reason
    return ""
