"""Who may work on a delivery, when holders freeze, die, come back, or are too many (F-L)."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.core.states import Status
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.operation.sessions import meanwhile
from tests.crash.operation.verdicts import (
    assert_each_arrived,
    copies,
    count,
    doubts,
    make_due,
)
from tests.crash.processes import Roles
from tests.crash.stores.own import lack
from tests.deliveries import accept, attempts, new_delivery, put, row, status
from tests.eventually import eventually
from tests.relay import Relay, hang, late

Namespaced = subprocess.Popen[bytes]

# As short as the rules allow: 3 x 1 s + 1 s + 1 s margin.
SHORT = {"MAIL_SMTP_TIMEOUT": "1s", "MAIL_SMTP_DOT_TIMEOUT": "1s", "MAIL_LEASE": "5s"}


def test_a_lease_shorter_than_an_attempt_is_refused_with_the_sum(roles: Roles) -> None:
    """F-L01: it would hand deliveries out twice; exit 78, so that supervisord does not insist."""
    sender = roles.start("sender", **{**SHORT, "MAIL_LEASE": "4s"})

    assert sender.wait() == 78
    assert "3 x MAIL_SMTP_TIMEOUT 1s + MAIL_SMTP_DOT_TIMEOUT 1s + 1s margin = 5s" in roles.logs()


@pytest.mark.slow
def test_a_sender_thawed_after_its_lease_does_not_send_the_dot(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """F-L02, F-L04: another one has the delivery by then. One copy, and the doubt is on record."""
    roles.environ |= SHORT
    frozen = roles.start("sender")
    relay.says(DATA=[meanwhile(lambda: frozen.signal(signal.SIGSTOP), "354 go")])
    new = new_delivery()
    accept(conn, new)
    eventually(lambda: relay.commands and "DATA" in relay.commands[-1], within=20)

    roles.start("scheduler")
    eventually(lambda: status(conn, new.delivery_id) == Status.DEFERRED, within=20)
    roles.start("sender")
    make_due(conn)
    eventually(lambda: status(conn, new.delivery_id) == Status.SENT, within=20)
    frozen.signal(signal.SIGCONT)
    frozen.signal(signal.SIGTERM)

    assert frozen.wait() == 0
    assert len(relay.accepted) == 1
    assert attempts(conn, new.delivery_id) == [
        (1, "abandoned", "unknown"),
        (2, "provider_accepted", "success"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "rounds", [1, pytest.param(25, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
def test_senders_frozen_under_load_double_nothing_without_a_doubt(
    servers: Servers, roles: Roles, relay: Relay, conn: db.Connection, rounds: int
) -> None:
    """F-L04: each round freezes four of five senders at work, for longer than a lease."""
    roles.environ |= SHORT
    relay.says(MAIL=late(0.01, "250 2.1.0 Ok"))  # so that whoever sends is at it most of the time
    for role in ("consumer", "scheduler", "sender"):
        roles.start(role)
    victims = [roles.start("sender") for _ in range(4)]
    eventually(lambda: roles.logs().count("role started") == 7, within=30)
    ids: list[str] = []

    for _ in range(rounds):
        ids += put_commands(servers, 400)
        eventually(partial(_have_arrived, relay, len(ids) - 350), within=60)
        for victim in victims:
            victim.signal(signal.SIGSTOP)
        _settle_without(conn, len(ids))
        for victim in victims:
            victim.signal(signal.SIGCONT)

    eventually(lambda: count(conn, "sent") == len(ids), within=60)
    for victim in victims:
        victim.signal(signal.SIGTERM)
    assert [victim.wait() for victim in victims] == [0] * 4
    assert doubts(conn), "no sender was frozen at work"
    assert_each_arrived(conn, relay, ids)


def _have_arrived(relay: Relay, number: int) -> bool:
    return len(copies(relay)) >= number


def _settle_without(conn: db.Connection, total: int) -> None:
    """Wait until what the frozen had leased was taken from them and all mail is sent."""

    def is_over() -> bool:
        make_due(conn)
        return count(conn, "sent") == total

    eventually(is_over, within=60)


def test_of_two_rescuers_only_one_rescues(roles: Roles, conn: db.Connection) -> None:
    """F-L05: one is frozen between reading that a lease has ended and taking it back.

    Meanwhile another one takes it back and the delivery is sent. The guard is in the statement.
    """
    delivery_id = put(conn, Status.SENDING)
    with db.connect(conn.info.dsn) as other, other.transaction():
        other.execute("SELECT FROM deliveries WHERE delivery_id = %s FOR UPDATE", [delivery_id])
        late = roles.start("scheduler")
        eventually(lambda: _waits_for_a_row(conn), within=20)
        late.signal(signal.SIGSTOP)
        _rescue_and_send(other)
    before = row(conn, delivery_id)

    late.signal(signal.SIGCONT)
    eventually(lambda: not _waits_for_a_row(conn), within=20)
    late.signal(signal.SIGTERM)

    assert late.wait() == 0
    assert row(conn, delivery_id) == before
    assert attempts(conn, delivery_id) == [
        (1, "abandoned", "unknown"),
        (2, "provider_accepted", "success"),
    ]


def _waits_for_a_row(conn: db.Connection) -> bool:
    found = conn.execute(
        "SELECT FROM pg_stat_activity"
        " WHERE application_name LIKE 'mailworkers scheduler%' AND wait_event_type = 'Lock'"
    )
    return found.fetchone() is not None


def _rescue_and_send(conn: db.Connection) -> None:
    """Do what another scheduler and a sender do, in the transaction that holds the row."""
    conn.execute(
        "UPDATE attempts SET status = 'abandoned', outcome = 'unknown',"
        " finished_at = clock_timestamp();"
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
        " lease_token, leased_by, finished_at) SELECT delivery_id, 2, 2, 'provider_accepted',"
        " 'success', gen_random_uuid(), gen_random_uuid(), clock_timestamp() FROM deliveries;"
        "UPDATE deliveries SET status = 'sent', attempt_no = 2, cycle_attempt = 2,"
        " lease_token = NULL, leased_by = NULL, next_attempt_at = NULL,"
        " finished_at = clock_timestamp()"
    )


@pytest.fixture
def start_as_process_1(roles: Roles, tmp_path: Path) -> Iterator[Callable[[], Namespaced]]:
    """Return what starts a sender that is process 1, of one and the same program name."""
    unshare = shutil.which("unshare")
    if unshare is None:
        lack("unshare: install the package util-linux")
    apart = ["unshare", "--fork", "--kill-child", "--pid"]
    if os.geteuid() != 0:
        apart += ["--user", "--map-root-user"]
    started: list[Namespaced] = []

    def start() -> Namespaced:
        with (tmp_path / "namespaced.log").open("ab") as out:
            process = subprocess.Popen(
                [*apart, "--", sys.executable, "-m", "mailworkers", "sender"],
                env={**os.environ, **roles.environ, "SUPERVISOR_PROCESS_NAME": "sender-01"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_a_sender_of_the_same_host_name_and_pid_inherits_nothing(
    start_as_process_1: Callable[[], Namespaced], relay: Relay, conn: db.Connection
) -> None:
    """F-L06: as after a reboot. Identity and tokens are made anew, out of nothing of the host.

    What the first one had leased comes to the second only by the journal it left behind.
    """
    relay.says(MAIL=[hang])
    new = new_delivery()
    accept(conn, new)
    first = start_as_process_1()
    eventually(lambda: any("MAIL" in said for said in map(str, relay.commands)), within=20)
    first.kill()
    first.wait()

    start_as_process_1()
    eventually(lambda: status(conn, new.delivery_id) == Status.SENT, within=20)

    assert conn.execute("SELECT pid FROM processes").fetchall() == [(1,), (1,)]
    tokens = conn.execute("SELECT lease_token, leased_by FROM attempts").fetchall()
    assert len({part for pair in tokens for part in pair}) == 4
    assert attempts(conn, new.delivery_id) == [
        (1, "abandoned", "transient_error"),
        (2, "provider_accepted", "success"),
    ]


@pytest.mark.slow
def test_too_many_of_every_role_are_slower_and_no_less_right(
    servers: Servers, roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """F-L07, F-L08: no role is alone by a lock, so none can lose one without noticing.

    All share rows by SKIP LOCKED and guard their moves; retention deletes while all that goes on.
    """
    roles.environ |= {"MAIL_CLEANUP_INTERVAL": "1s"}
    many = [("consumer", 2), ("scheduler", 4), ("sender", 6), ("retention", 3)]
    for role, processes in many:
        for _ in range(processes):
            roles.start(role)
    relay.says(DOT=["451 4.3.0 later"] * 100)  # so that the schedulers have something to share

    ids = put_commands(servers, 600)
    eventually(lambda: count(conn, "sent") == len(ids), within=90)

    assert_each_arrived(conn, relay, ids)
    assert max(copies(relay).values()) == 1
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert conn.execute(held).fetchone() == (0,)
