"""Another server takes over from the Redis that was: what its copy lacks, and how it is found."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mailworkers.adapters import db
from mailworkers.adapters.installation import works_with
from mailworkers.adapters.redis_health import examine
from mailworkers.adapters.stream import GROUP, SENDER_WAKE, Waker
from mailworkers.core.errors import StoreUnavailable
from mailworkers.embedded.account import servers_account
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from tests.crash.commands import STREAM, command_fields
from tests.crash.stores.conftest import MakeSettings
from tests.crash.stores.keyvalue import KeyValue, keyvalue
from tests.crash.stores.proxy import Proxy
from tests.crash.stores.turning import running
from tests.eventually import eventually

pytestmark = pytest.mark.slow


@pytest.fixture
def first(servers: Servers, open_path: Path) -> Iterator[KeyValue]:
    """Return the server that is the master at first."""
    at_once = ("--repl-diskless-sync-delay", "0")
    with keyvalue(servers, open_path / "first", *at_once) as server:
        yield server


@pytest.fixture
def second(servers: Servers, open_path: Path, first: KeyValue) -> Iterator[KeyValue]:
    """Return its replica, in step."""
    with keyvalue(
        servers, open_path / "second", "--replicaof", "127.0.0.1", str(first.port)
    ) as server:
        eventually(lambda: _is_in_step(first, server), within=20)
        yield server


def _is_in_step(master: KeyValue, replica: KeyValue) -> bool:
    info = replica.client().info("replication")
    ahead = master.client().info("replication")["master_repl_offset"]
    return bool(info.get("master_link_status") == "up" and info["slave_repl_offset"] == ahead)


def _put(server: KeyValue, count: int) -> None:
    client = server.client()
    for fields in command_fields(count):
        client.xadd(STREAM, fields)


def _deliveries(conn: db.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    return int(row[0]) if row else 0


def _left(server: KeyValue) -> int:
    """Return how many entries are not acknowledged."""
    group: Any = next(
        g for g in server.client().xinfo_groups(STREAM) if g["name"] == GROUP.encode()
    )
    return int(group["pending"]) + int(group["lag"])


def test_what_a_failover_makes_come_again_is_recognised(
    first: KeyValue, second: KeyValue, conn: db.Connection, make_settings: MakeSettings
) -> None:
    """The replica has the entries and knows of no XACK: one delivery each all the same (F-R04)."""
    with Proxy(("127.0.0.1", first.port)) as proxy:
        settings = make_settings(MAIL_REDIS_MASTER_ADDR=proxy.addr)
        with running(Consumer, settings) as turn:
            _put(first, 5)
            eventually(lambda: _is_in_step(first, second))
            second.client().replicaof("NO", "ONE")
            eventually(lambda: turn() or _deliveries(conn) == 5, within=20)
            assert _left(first) == 0

            proxy.lead_to(("127.0.0.1", second.port))
            assert _left(second) == 5
            _put(second, 3)
            eventually(lambda: turn() or _left(second) == 0, within=20)

    assert _deliveries(conn) == 8


@contextmanager
def _sentinel(
    servers: Servers, directory: Path, master: KeyValue, *options: str
) -> Iterator[KeyValue]:
    """Start a Sentinel that watches *master* and asks nobody else."""
    servers_account().make_directory(directory)
    config = directory / "sentinel.conf"  # it writes down there what it has learnt
    config.write_text(f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n")
    servers_account().own(config)
    with keyvalue(servers, directory, str(config), "--sentinel", *options) as sentinel:
        yield sentinel


@contextmanager
def _silent() -> Iterator[str]:
    """Yield the address of somebody who takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_sentinels_lead_to_the_new_master(
    servers: Servers,
    first: KeyValue,
    second: KeyValue,
    conn: db.Connection,
    make_settings: MakeSettings,
    open_path: Path,
) -> None:
    """The address is theirs to tell, at every new connection; the old master refuses writes."""
    with _sentinel(servers, open_path / "sentinel", first) as sentinel:
        asker = sentinel.client()
        eventually(lambda: asker.sentinel_slaves("mymaster"), within=20)
        settings = make_settings(
            MAIL_REDIS_SENTINELS=sentinel.addr, MAIL_REDIS_SENTINEL_MASTER="mymaster"
        )
        with running(Consumer, settings) as turn:
            _put(first, 3)
            eventually(lambda: turn() or _deliveries(conn) == 3, within=20)

            asker.execute_command("SENTINEL FAILOVER", "mymaster")
            eventually(lambda: turn() or second.client().role()[0] == b"master", within=30)
            _put(second, 3)
            eventually(lambda: turn() or _deliveries(conn) == 6, within=30)

            assert _left(second) == 0


def test_a_master_that_miscounts_what_was_read_raises_no_alarm(
    first: KeyValue, make_settings: MakeSettings
) -> None:
    """A replica is not told how many entries a group has read; promoted, it counts them anew."""
    client = first.client()
    settings = make_settings(MAIL_REDIS_MASTER_ADDR=first.addr)
    with running(Consumer, settings) as turn:
        _put(first, 5)
        eventually(lambda: turn() or _left(first) == 0, within=20)
    group = client.xinfo_groups(STREAM)[0]
    client.xgroup_setid(STREAM, GROUP, group["last-delivered-id"], entries_read=1)
    assert client.xinfo_groups(STREAM)[0]["lag"] == 4

    assert examine(settings).waiting == 0
    _put(first, 2)
    assert 0 < (examine(settings).waiting or 0) <= client.xlen(STREAM)


def test_a_sentinel_that_says_nothing_is_passed_over_soon(
    servers: Servers, first: KeyValue, make_settings: MakeSettings, open_path: Path
) -> None:
    """With the host of the first Sentinel gone: a second for who waits, less for who wakes others.

    What the library does by itself would take most of a minute, for each new connection (F-R04).
    """
    with _silent() as silent, _sentinel(servers, open_path / "sentinel", first) as sentinel:
        eventually(lambda: sentinel.client().sentinel_masters()["mymaster"]["is_master"], within=20)
        settings = make_settings(MAIL_REDIS_SENTINELS=f"{silent},{silent},{sentinel.addr}")
        begun = time.monotonic()
        assert examine(settings).role == "master"
        waker = Waker(settings)
        waker.wake_senders()
        waker.close()
        took = time.monotonic() - begun

        assert first.client().llen(SENDER_WAKE) == 1
        assert 2.5 <= took < 15


def test_sentinels_that_want_a_password_get_it(
    servers: Servers, first: KeyValue, make_settings: MakeSettings, open_path: Path
) -> None:
    """It is theirs, not that of the master."""
    options = ("--requirepass", "of the sentinels")
    with _sentinel(servers, open_path / "sentinel", first, *options) as sentinel:
        named = {"MAIL_REDIS_SENTINELS": sentinel.addr}
        known = make_settings(**named, MAIL_REDIS_SENTINEL_PASSWORD="of the sentinels")
        eventually(lambda: examine(known).role == "master", within=20)

        with pytest.raises(StoreUnavailable, match=r"mymaster: 127\S+: .*authenticat"):
            examine(make_settings(**named))
        with pytest.raises(StoreUnavailable, match="has never heard of it"):
            examine(msgspec.structs.replace(known, redis_sentinel_master="another"))


def test_the_same_sentinels_in_another_order_are_the_same_installation(
    make_settings: MakeSettings,
) -> None:
    """Each host may name the one beside it first, and none is told of a stranger (F-V13)."""
    one, other = (
        works_with(make_settings(MAIL_REDIS_SENTINELS=named)) for named in ("a:1,b:1", "b:1,a:1")
    )

    assert one == other
