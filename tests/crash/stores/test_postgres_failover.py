"""Failover: what a standby that lags costs, that a synchronous one costs nothing, and who is asked.

F-P11, F-P12, F-P13. The address names both servers, as an operator's would.
"""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from mailworkers.adapters import db
from mailworkers.core.errors import StoreUnavailable
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.own import own_servers, set_option
from tests.crash.stores.standby import Standby, following
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow


@pytest.fixture
def own(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Return servers of this test alone."""
    with own_servers(request.config) as running:
        yield running


@pytest.fixture
def standby(own: Servers) -> Iterator[Standby]:
    """Return a standby of the test's PostgreSQL."""
    with following(own) as running:
        yield running


@pytest.fixture
def running(own: Servers, standby: Standby, roles: Roles) -> list[Process]:
    """Start the three roles; they know both servers."""
    roles.environ["MAIL_POSTGRES_PRIMARY_DSN"] = standby.both_dsn
    roles.environ["MAIL_REDIS_MASTER_ADDR"] = own.redis_addr
    return [roles.start(role) for role in ("consumer", "scheduler", "sender")]


def _copies(relay: Relay) -> Counter[str]:
    return Counter(message.rcpt_to[0].split("@")[0] for message in relay.accepted)


def _are_sent(dsn: str, count: int) -> bool:
    try:
        with db.connect(dsn) as conn:
            rows = conn.execute("SELECT status, count(*) FROM deliveries GROUP BY 1").fetchall()
    except StoreUnavailable:
        return False
    return rows == [("sent", count)]


def test_a_settle_that_a_failover_lost_is_repeated_and_not_the_mail(
    own: Servers, standby: Standby, running: list[Process], relay: Relay, roles: Roles
) -> None:
    """The standby has the lease and not what came of it; the sender remembers (F-P11)."""

    def part() -> None:
        standby.wait_until_it_has_all()
        standby.server.kill()

    relay.says(BODY=[lambda _: part()])
    ids = put_commands(own, 1)
    eventually(lambda: _are_sent(own.postgres_dsn, 1), within=30)

    own.postgres.kill()
    standby.server.start()
    standby.promote()
    eventually(lambda: _are_sent(standby.postgres_dsn, 1), within=30)

    assert _copies(relay) == dict.fromkeys(ids, 1)
    assert '"outcome corrected"' in roles.logs()
    assert [process.exit_code for process in running] == [None] * 3


def test_a_synchronous_standby_loses_nothing_and_the_old_primary_is_not_asked_again(
    own: Servers, standby: Standby, running: list[Process], relay: Relay
) -> None:
    """Killed under load and promoted: each mail once (F-P12); the one that was replaced (F-P13)."""
    set_option(own, "synchronous_standby_names", "*")
    ids = put_commands(own, 60)
    eventually(lambda: len(relay.accepted) > 10, within=30)

    own.postgres.kill()
    standby.promote()
    eventually(lambda: _are_sent(standby.postgres_dsn, 60), within=40)
    assert _copies(relay) == dict.fromkeys(ids, 1)

    # It comes back as if nothing had happened, and stands first in the address.
    own.postgres.start()
    with db.connect(standby.postgres_dsn) as conn:
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'mailworkers %-%'"
        )
    ids += put_commands(own, 10)
    eventually(lambda: _are_sent(standby.postgres_dsn, 70), within=30)

    assert _copies(relay) == dict.fromkeys(ids, 1)
    with db.connect(own.postgres_dsn) as conn:
        row = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    assert row is not None
    assert row[0] <= 60
    assert [process.exit_code for process in running] == [None] * 3


def test_a_primary_that_was_replaced_is_refused_by_its_timeline(
    own: Servers, standby: Standby
) -> None:
    """Also where it is the only one in the address: roles wait and say why (F-P13)."""
    followed = db.Database(standby.postgres_dsn, "test")
    replaced = db.Database(own.postgres_dsn, "test")
    try:
        assert replaced.conn
        with pytest.raises(StoreUnavailable, match="standby"):
            assert followed.conn
        replaced.drop()

        standby.promote()
        assert eventually(lambda: followed.conn)

        with pytest.raises(StoreUnavailable, match="timeline 1, older than 2"):
            assert replaced.conn
    finally:
        followed.drop()
        replaced.drop()


def test_without_its_synchronous_standby_everything_waits_and_nothing_is_lost(
    own: Servers, standby: Standby, running: list[Process], relay: Relay
) -> None:
    """A commit that is only local is none: no role takes it for one (P-03)."""
    first = put_commands(own, 3)
    eventually(lambda: _are_sent(own.postgres_dsn, 3), within=30)
    standby.wait_until_it_has_all()
    set_option(own, "synchronous_standby_names", "*")
    standby.server.stop()

    second = put_commands(own, 3)
    quiet_until = time.monotonic() + 2
    eventually(lambda: time.monotonic() > quiet_until, within=10)
    meanwhile = _copies(relay)
    set_option(own, "synchronous_standby_names", None)
    eventually(lambda: _are_sent(own.postgres_dsn, 6), within=30)

    assert meanwhile == dict.fromkeys(first, 1)
    assert _copies(relay) == dict.fromkeys([*first, *second], 1)
    assert [process.exit_code for process in running] == [None] * 3
