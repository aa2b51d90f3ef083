"""A host that loses the network for a while (F-V09); two installations on one database (F-V13)."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mailworkers.adapters import db, store
from mailworkers.adapters.settings import load
from mailworkers.cli.store_checks import check_postgres
from mailworkers.core.states import Status
from mailworkers.embedded.servers import Servers
from tests.conversation import Step, accepting
from tests.crash.commands import put_commands
from tests.crash.operation.network import Network
from tests.crash.operation.sessions import meanwhile
from tests.crash.operation.test_leases import SHORT
from tests.crash.operation.verdicts import assert_each_arrived, copies, count, make_due
from tests.crash.processes import Roles
from tests.deliveries import accept, new_delivery, status
from tests.eventually import eventually
from tests.relay import Relay


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Return the network of one host."""
    directory = tmp_path / "n"
    directory.mkdir()
    with Network(directory) as made:
        yield made


def _behind(network: Network, servers: Servers, relay: Relay, state_dir: Path) -> dict[str, str]:
    """Return the settings of a host that reaches everything over *network* only."""
    given: dict[str, Any] = conninfo_to_dict(servers.postgres_dsn)
    port = given.get("port") or "5432"
    near = network.to(Path(given["host"]) / f".s.PGSQL.{port}")
    redis = network.to(Path(servers.redis_addr.removeprefix("unix:")))
    mail = network.to(("127.0.0.1", relay.port))
    assert isinstance(near, Path)
    assert isinstance(mail, tuple)
    return {
        "MAIL_POSTGRES_PRIMARY_DSN": make_conninfo(**{**given, "host": str(near.parent)}),
        "MAIL_REDIS_MASTER_ADDR": f"unix:{redis}",
        "MAIL_SMTP_ADDR": f"{mail[0]}:{mail[1]}",
        "MAIL_STATE_DIR": str(state_dir),
    }


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "number"), [("DATA", 1), ("DOT", 2)])
def test_a_host_that_loses_the_network_is_fenced_off(
    servers: Servers,
    roles: Roles,
    relay: Relay,
    conn: db.Connection,
    network: Network,
    tmp_path: Path,
    stage: str,
    number: int,
) -> None:
    """F-V09: silent for longer than its lease, in the middle of a transaction.

    The other host takes over. What the first had not committed to its dot it does not send when the
    network is back; where the dot had gone there is a doubt on record, and at most one copy more.
    """
    roles.environ |= SHORT
    roles.start("sender", **_behind(network, servers, relay, tmp_path / "a"))
    delivery_id = uuid4()
    new = new_delivery(f"{delivery_id}@example.com", delivery_id=delivery_id)
    taken: Step = accepting("250 2.0.0 Ok") if stage == "DOT" else "354 go"
    script: dict[str, Any] = {stage: [meanwhile(network.cut, taken)]}
    relay.says(**script)
    accept(conn, new)
    eventually(lambda: relay.commands and "DATA" in relay.commands[-1], within=30)

    for role in ("consumer", "scheduler", "sender"):
        roles.start(role, MAIL_STATE_DIR=str(tmp_path / "b"))
    ids = [str(delivery_id), *put_commands(servers, 100)]
    eventually(lambda: status(conn, delivery_id) == Status.DEFERRED, within=30)
    make_due(conn)
    eventually(lambda: count(conn, "sent") == len(ids), within=60)
    network.heal()
    more = put_commands(servers, 50)
    eventually(lambda: count(conn, "sent") == len(ids) + len(more), within=60)

    assert copies(relay)[str(delivery_id)] == number
    assert_each_arrived(conn, relay, ids + more)


def test_two_installations_on_one_database_are_told(
    roles: Roles, conn: db.Connection, relay: Relay
) -> None:
    """F-V13: a test set, in mode stub, on production's database: both sides can see it.

    The one that comes says so at its start; `doctor` finds it from either side.
    """
    roles.start("scheduler")
    eventually(lambda: conn.execute("SELECT FROM processes").rowcount == 1, within=20)

    stranger = roles.start("retention", MAIL_SMTP_MODE="stub")
    eventually(lambda: "two installations" in stranger.output.read_text(), within=20)

    line = next(x for x in stranger.output.read_text().splitlines() if "two inst" in x)
    assert f"relay {relay.addr}" in line
    assert "no relay (stub)" in line
    found = [f.detail for f in check_postgres(load(roles.environ)) if f.check == "installation"]
    assert len(found) == 1
    assert "no relay (stub)" in found[0]


def test_a_machine_of_the_same_name_is_told_of(roles: Roles, conn: db.Connection) -> None:
    """F-V13: cloned from one image. Consumers of one name take each other's entries in hand."""
    store.beat(
        conn,
        process_id=uuid4(),
        role="consumer",
        host=socket.gethostname(),
        pid=1,
        version="1",
        detail={"boot": "another machine's"},
    )

    told = roles.start("scheduler")
    eventually(lambda: "another machine is called" in told.output.read_text(), within=20)

    found = [f.detail for f in check_postgres(load(roles.environ)) if f.check == "host name"]
    assert found == [
        f"another machine is called {socket.gethostname()}, too: consumer there; rename one of them"
    ]


def test_processes_of_one_installation_see_nothing_odd(roles: Roles, conn: db.Connection) -> None:
    """F-V13: on whatever host, in whatever role."""
    for role in ("scheduler", "retention"):
        roles.start(role)
    eventually(lambda: conn.execute("SELECT FROM processes").rowcount == 2, within=20)

    assert "two installations" not in roles.logs()
    assert "another machine" not in roles.logs()
