"""Postgres or Redis goes away under running roles: nothing is lost, nobody exits, all heals."""

import signal
import time
from collections.abc import Iterator

import pytest

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.own import own_servers
from tests.deliveries import accept, new_delivery
from tests.eventually import eventually
from tests.relay import Relay, accepting, reset

ROLES = ("consumer", "scheduler", "sender")


pytestmark = pytest.mark.slow


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Return durable servers of this test alone, which may be stopped and killed."""
    with own_servers(request.config) as running:
        yield running


@pytest.fixture
def running(own: Servers, roles: Roles, relay: Relay) -> list[Process]:
    """Start consumer, scheduler and sender on the test's own servers."""
    roles.environ["MAIL_POSTGRES_PRIMARY_DSN"] = own.postgres_dsn
    roles.environ["MAIL_REDIS_MASTER_ADDR"] = own.redis_addr
    return [roles.start(role) for role in ROLES]


def _arrived(relay: Relay) -> list[str]:
    return [message.rcpt_to[0].split("@")[0] for message in relay.accepted]


def _all_sent(own: Servers) -> bool:
    with db.connect(own.postgres_dsn) as conn:
        rows = conn.execute("SELECT count(*) FROM deliveries WHERE status <> 'sent'").fetchone()
    return rows == (0,)


def _assert_alive(running: list[Process]) -> None:
    assert [process.exit_code for process in running] == [None] * len(running)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
def test_postgres_restarted_under_load_loses_and_doubles_nothing(
    own: Servers, running: list[Process], relay: Relay, how: signal.Signals
) -> None:
    """Stopped fast, stopped at once, killed: every command arrives once, and no role exits."""
    ids = put_commands(own, 150)
    eventually(lambda: len(relay.accepted) > 10, within=20)

    own.postgres.stop(how)
    ids += put_commands(own, 50)
    own.postgres.start()
    back = time.monotonic()
    eventually(lambda: set(_arrived(relay)) == set(ids), within=30)
    healed = time.monotonic() - back

    assert len(relay.accepted) == len(ids)
    eventually(lambda: _all_sent(own), within=10)
    _assert_alive(running)
    assert healed < 15


def test_an_outcome_read_while_postgres_was_away_is_settled_on_its_return(
    own: Servers, running: list[Process], relay: Relay
) -> None:
    """The answer waits in memory and journal; the message is not sent again."""

    def stop_postgres(_: object) -> None:
        own.postgres.stop(signal.SIGQUIT)

    relay.says(MAIL=["250 ok"], BODY=[stop_postgres])
    (delivery_id,) = put_commands(own, 1)
    eventually(lambda: _arrived(relay) == [delivery_id], within=20)

    own.postgres.start()
    eventually(lambda: _all_sent(own), within=20)

    assert _arrived(relay) == [delivery_id]
    _assert_alive(running)


def test_an_empty_redis_heals_by_itself(own: Servers, running: list[Process], relay: Relay) -> None:
    """Stream and group are gone: made again at 0, and what comes then arrives (N-09)."""
    first = put_commands(own, 5)
    eventually(lambda: set(_arrived(relay)) == set(first), within=20)

    own.keyvalue.stop(signal.SIGKILL)
    for file in own.places.keyvalue.rglob("*"):
        if file.is_file():
            file.unlink()
    own.keyvalue.start()
    second = put_commands(own, 5)
    eventually(lambda: set(_arrived(relay)) == {*first, *second}, within=20)

    assert len(relay.accepted) == 10
    _assert_alive(running)


def test_without_redis_what_is_accepted_is_still_sent(
    own: Servers, running: list[Process], relay: Relay
) -> None:
    """Only the consumer waits: retries, scheduled mail and HTTP intake need no Redis."""
    first = put_commands(own, 3)
    eventually(lambda: set(_arrived(relay)) == set(first), within=20)
    own.keyvalue.stop(signal.SIGTERM)

    relay.says(DOT=["451 later", "250 ok"])
    with db.connect(own.postgres_dsn) as conn:
        accept(conn, new_delivery("alone@example.com"))
    eventually(lambda: "alone" in _arrived(relay), within=20)

    _assert_alive(running)
    own.keyvalue.start()
    second = put_commands(own, 3)
    eventually(lambda: set(second) <= set(_arrived(relay)), within=20)


def test_a_doubt_while_postgres_is_away_is_still_a_doubt_on_its_return(
    own: Servers, running: list[Process], relay: Relay
) -> None:
    """The relay took it over and cut the line: tried again once, and the attempt says why."""
    relay.says(DOT=[accepting(reset), "250 ok"])
    (delivery_id,) = put_commands(own, 1)
    eventually(lambda: _arrived(relay) == [delivery_id] * 2, within=20)

    eventually(lambda: _all_sent(own), within=10)

    with db.connect(own.postgres_dsn) as conn:
        rows = conn.execute("SELECT outcome FROM attempts ORDER BY attempt_no").fetchall()
    assert rows == [("unknown",), ("success",)]
