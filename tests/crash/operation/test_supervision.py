"""supervisord dies, freezes, is told to reload, starts without stores: roles go on (F-V)."""

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.operation.hosts import Host, is_role
from tests.crash.operation.verdicts import assert_each_arrived, copies, count, throughout
from tests.crash.processes import Process, Roles
from tests.eventually import eventually
from tests.relay import Relay

PIPE = 64 * 1024


@pytest.mark.slow
def test_a_killed_supervisord_takes_its_roles_with_it_and_the_next_one_is_alone(
    servers: Servers, host: Host, relay: Relay, conn: db.Connection
) -> None:
    """F-V01: children end in order with it. The set that follows finds no twin that stays.

    Everything arrives once, and the new monitor and api get their ports as soon as they are free.
    """
    host.start()
    before = host.wait_until_all_work(conn)
    ids = put_commands(servers, 300)
    eventually(lambda: len(relay.accepted) > 20, within=30)

    host.kill()
    host.start()
    ids += put_commands(servers, 100)
    after = host.wait_until_all_work(conn)

    eventually(lambda: not any(map(is_role, before.values())), within=30)
    assert not {*before.values()} & {*after.values()}
    eventually(lambda: count(conn, "sent") == len(ids), within=60)
    assert_each_arrived(conn, relay, ids)
    assert max(copies(relay).values()) == 1


def test_a_role_whose_supervisord_is_gone_before_it_could_ask_does_not_start(
    roles: Roles, tmp_path: Path
) -> None:
    """F-V01: between its birth and its first line of code nobody would tell it of that death.

    It sees that nobody reads what it says.
    """
    reader, writer = os.pipe()
    os.close(reader)
    environ = {**os.environ, **roles.environ, "SUPERVISOR_ENABLED": "1"}
    with (tmp_path / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "mailworkers", "scheduler"],
            env=environ,
            stdout=writer,
            stderr=stderr,
        )
    os.close(writer)

    assert process.wait(20) == 0
    assert (tmp_path / "stderr").read_text() == ""


@pytest.mark.slow
def test_a_frozen_supervisord_stops_no_mail(
    servers: Servers, host: Host, relay: Relay, conn: db.Connection
) -> None:
    """F-V07: its pipes fill up, and roles do not wait for somebody to read them.

    Afterwards each log says how many lines are missing, and so does the metric.
    """
    host.start()
    host.wait_until_all_work(conn)

    host.signal(signal.SIGSTOP)
    ids = put_commands(servers, 1000)
    _wait_until_sent(conn, len(ids))
    host.signal(signal.SIGCONT)

    # Each of the senders says with its next line how many are missing before it.
    while _told(host) + _lost_lines(host) < len(ids) and len(ids) < 2000:
        ids += put_commands(servers, 20)
        _wait_until_sent(conn, len(ids))
    assert _told(host) + _lost_lines(host) >= len(ids)
    assert _lost_lines(host) > 0
    assert_each_arrived(conn, relay, ids)


def _wait_until_sent(conn: db.Connection, number: int) -> None:
    eventually(lambda: count(conn, "sent") == number, within=60)


def _told(host: Host) -> int:
    """Return how many deliveries the logs of the senders tell of."""
    return sum(host.said(f"sender-0{n}").count('"mail delivery sent"') for n in (1, 2))


def _lost_lines(host: Host) -> int:
    """Return how many lines the senders have said to be missing."""
    lines = [json.loads(line) for n in (1, 2) for line in host.said(f"sender-0{n}").splitlines()]
    return sum(line["lines"] for line in lines if line["event"] == "log lines lost")


@pytest.mark.slow
def test_stores_that_are_away_at_boot_are_waited_for_and_nothing_is_given_up(
    servers: Servers, host: Host, relay: Relay, conn: db.Connection
) -> None:
    """F-V04: a minute or a day, no role ends, so none uses up its tries and stays down (FATAL).

    Scaled to seven seconds: one more than supervisord's three tries would take.
    """
    servers.postgres.stop()
    servers.keyvalue.stop()
    try:
        host.start()
        first = eventually(host.pids, within=20)
        throughout(lambda: host.pids() == first, seconds=7)
    finally:
        servers.keyvalue.start()
        servers.postgres.start()
    with db.connect(servers.postgres_dsn) as again:
        assert host.wait_until_all_work(again) == first
        ids = put_commands(servers, 10)
        eventually(lambda: count(again, "sent") == len(ids), within=30)
    assert {program.state for program in host.programs().values()} == {"RUNNING"}


@pytest.mark.slow
def test_logs_that_are_rotated_and_a_reload_harm_nothing(
    servers: Servers, host: Host, relay: Relay, conn: db.Connection
) -> None:
    """F-V06: SIGUSR2 lets supervisord open its logs anew, SIGHUP starts everything anew.

    A role that gets SIGHUP itself stops in order and comes back.
    """
    host.start()
    before = host.wait_until_all_work(conn)
    (host.log / "scheduler.log").rename(host.log / "scheduler.log.old")
    host.signal(signal.SIGUSR2)
    eventually((host.log / "scheduler.log").exists, within=20)
    os.kill(before["scheduler"], signal.SIGHUP)
    eventually(lambda: "role started" in host.said("scheduler"), within=20)
    assert "role stopped" in host.said("scheduler")

    ids = put_commands(servers, 200)
    eventually(lambda: len(relay.accepted) > 20, within=30)
    host.signal(signal.SIGHUP)
    eventually(lambda: not any(map(is_role, before.values())), within=60)
    host.wait_until_all_work(conn)
    ids += put_commands(servers, 20)

    eventually(lambda: count(conn, "sent") == len(ids), within=60)
    assert_each_arrived(conn, relay, ids)
    assert max(copies(relay).values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "restarts", [16, pytest.param(1000, marks=[pytest.mark.long, pytest.mark.timeout(3000)])]
)
def test_a_storm_of_restarts_loses_and_doubles_nothing(
    servers: Servers, roles: Roles, relay: Relay, conn: db.Connection, restarts: int
) -> None:
    """F-V02, N-02: senders are told to stop in turn, as fast as they come up, while mail flows."""
    for role in ("consumer", "scheduler"):
        roles.start(role)
    senders = [roles.start("sender") for _ in range(4)]
    ids: list[str] = []

    for number in range(restarts):
        ids += put_commands(servers, 10)
        old = senders.pop(0)
        eventually(partial(_has_started, old), within=60)
        old.signal(signal.SIGTERM)
        senders.append(roles.start("sender"))
        assert old.wait() == 0, number

    eventually(lambda: count(conn, "sent") == len(ids), within=60)
    assert_each_arrived(conn, relay, ids)
    assert max(copies(relay).values()) == 1


def _has_started(process: Process) -> bool:
    return "role started" in process.output.read_text()
