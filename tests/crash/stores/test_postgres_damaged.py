"""Pages and indexes of the database: whole after a crash, told of when they are not (F-P20)."""

import signal
from collections.abc import Iterator

import pytest

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.own import own_servers
from tests.deliveries import accept, new_delivery
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Return servers of this module alone."""
    with own_servers(request.config) as running:
        yield running


def _start(roles: Roles, own: Servers, *names: str) -> list[Process]:
    roles.environ["MAIL_POSTGRES_PRIMARY_DSN"] = own.postgres_dsn
    roles.environ["MAIL_REDIS_MASTER_ADDR"] = own.redis_addr
    return [roles.start(name) for name in names]


def test_after_a_crash_under_load_tables_and_indexes_agree(
    own: Servers, roles: Roles, relay: Relay
) -> None:
    """What the server's own check says (amcheck), with every row looked up in every index."""
    _start(roles, own, "consumer", "scheduler", "sender")
    ids = put_commands(own, 120)
    eventually(lambda: len(relay.accepted) > 20, within=30)
    own.postgres.stop(signal.SIGKILL)
    own.postgres.start()
    eventually(lambda: len({m.rcpt_to for m in relay.accepted}) == len(ids), within=30)

    with db.connect(own.postgres_dsn) as conn:
        conn.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        conn.execute(
            "SELECT bt_index_check(c.oid, true) FROM pg_class c"
            " JOIN pg_am a ON a.oid = c.relam AND a.amname = 'btree'"
            " WHERE c.relnamespace = 'mail'::regnamespace AND c.relkind = 'i'"
        )
        damaged = conn.execute(
            "SELECT c.relname, f.msg FROM pg_class c, LATERAL verify_heapam(c.oid) f"
            " WHERE c.relnamespace = 'mail'::regnamespace AND c.relkind = 'r'"
        ).fetchall()
    assert damaged == []


def test_a_damaged_page_is_told_of_and_no_row_is_passed_over(
    own: Servers, roles: Roles, relay: Relay
) -> None:
    """Whoever meets it says where it is and waits; nothing is sent past the damage."""
    with db.connect(own.postgres_dsn) as conn:
        conn.execute("TRUNCATE deliveries CASCADE")
        accept(conn, *[new_delivery() for _ in range(5)])
        row = conn.execute("SELECT pg_relation_filepath('deliveries')").fetchone()
    assert row is not None
    own.postgres.stop()
    table = own.places.postgres / row[0]
    whole = table.read_bytes()
    table.write_bytes(b"\xa5" * 64 + whole[64:])
    own.postgres.start()

    (sender,) = _start(roles, own, "sender")
    eventually(lambda: "invalid page in block 0" in sender.output.read_text(), within=30)
    assert relay.accepted == []
    own.postgres.stop()
    table.write_bytes(whole)
    own.postgres.start()
    eventually(lambda: len(relay.accepted) == 5, within=30)

    assert sender.exit_code is None
