"""Redis is away, flaps, comes back empty: only the consumer waits (F-R01, F-R02, F-R05)."""

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.stream import GROUP
from mailworkers.embedded.servers import Servers
from tests.crash.commands import STREAM, put_commands
from tests.crash.processes import Process, Roles
from tests.crash.stores.proxy import Proxy
from tests.deliveries import accept, new_delivery
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow

MOST_CPU = 0.05


def _arrived(relay: Relay) -> set[str]:
    return {message.rcpt_to[0].split("@")[0] for message in relay.accepted}


def _cpu_seconds(process: Process) -> float:
    """Return how much processor time *process* has had."""
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_without_redis_all_but_intake_goes_on_and_nobody_spins(
    servers: Servers, conn: db.Connection, roles: Roles, redis_proxy: Proxy, relay: Relay
) -> None:
    """Down at the start, then up and down every two seconds: cheap, and nothing is lost (F-R01)."""
    redis_proxy.shut()
    roles.environ |= {"MAIL_REDIS_MASTER_ADDR": redis_proxy.addr, "MAIL_POLL_INTERVAL": "1s"}
    running = [roles.start(role) for role in ("consumer", "scheduler", "sender")]
    accept(conn, new_delivery("alone@example.com"))
    eventually(lambda: _arrived(relay) == {"alone"}, within=30)
    eventually(lambda: '"dependency":"redis"' in running[0].output.read_text(), within=30)

    began, spent = time.monotonic(), list(map(_cpu_seconds, running))
    for _ in range(2):
        _let_pass(2)
        redis_proxy.open()
        _let_pass(2)
        redis_proxy.shut()
    elapsed = time.monotonic() - began
    spent = [_cpu_seconds(p) - before for p, before in zip(running, spent, strict=True)]
    ids = put_commands(servers, 3)
    redis_proxy.open()
    eventually(lambda: _arrived(relay) == {"alone", *ids}, within=30)

    assert len(relay.accepted) == 4
    assert [process.exit_code for process in running] == [None] * 3
    assert max(seconds / elapsed for seconds in spent) <= MOST_CPU


def _let_pass(seconds: float) -> None:
    """Let things be as they are for a while."""
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + seconds, within=seconds + 5)


def _restart(servers: Servers, client: Any) -> None:
    servers.keyvalue.stop(signal.SIGKILL)
    servers.keyvalue.start()


def _restart_empty(servers: Servers, client: Any) -> None:
    servers.keyvalue.stop(signal.SIGKILL)
    for file in servers.places.keyvalue.rglob("*"):
        if file.is_file():
            file.unlink()
    servers.keyvalue.start()


LOSSES: dict[str, tuple[Callable[[Servers, Any], object], bool]] = {
    "killed": (_restart, False),
    "restarted empty": (_restart_empty, True),
    "FLUSHALL": (lambda _, client: client.flushall(), True),
    "stream deleted": (lambda _, client: client.delete(STREAM), True),
    "group destroyed": (lambda _, client: client.xgroup_destroy(STREAM, GROUP), True),
}


def test_a_redis_that_lost_something_heals_by_itself(
    servers: Servers,
    conn: db.Connection,
    roles: Roles,
    relay: Relay,
    redis_client: Any,
) -> None:
    """Killed: nothing is lost (F-R02). Without stream or group: made anew at 0, none skipped."""
    consumer, _ = roles.start("consumer"), roles.start("sender")
    ids = set(put_commands(servers, 3))
    told = 0

    def all_arrived() -> bool:
        return _arrived(relay) == ids

    eventually(all_arrived, within=30)
    for name, (lose, loses_group) in LOSSES.items():
        lose(servers, redis_client)
        ids |= set(put_commands(servers, 3))  # perhaps before the group is there again
        eventually(all_arrived, within=10)

        told += loses_group
        said = consumer.output.read_text().count('"consumer group made anew"')
        assert (name, said) == (name, told)
        eventually(lambda: redis_client.xpending(STREAM, GROUP)["pending"] == 0, within=10)
    assert len(relay.accepted) == len(ids)
    assert consumer.exit_code is None
