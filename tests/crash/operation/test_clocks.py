"""Clocks that are wrong, or set while roles run: the database's clock is the one that counts (F-C).

No test sets the machine's clock: libfaketime lies to one process.
"""

import email.utils
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis
from msgspec.json import encode

from mailworkers.adapters import db
from mailworkers.adapters.database_clock import MOST_SKEW
from mailworkers.adapters.settings import load
from mailworkers.adapters.shared_breaker import Shared, SharedBreaker
from mailworkers.core.breaker import LONGEST_WAIT
from mailworkers.core.states import Status
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.servers import Servers, start_servers
from tests.crash.operation.commands import database_now, from_now, put
from tests.crash.operation.faketime import SteppedClock, wrong_clock
from tests.crash.operation.sessions import held_back, meanwhile
from tests.crash.operation.verdicts import assert_each_arrived, copies, count
from tests.crash.processes import Roles
from tests.deliveries import accept, attempts, new_delivery, row, status
from tests.eventually import eventually
from tests.relay import Relay

ZONE = "Australia/Lord_Howe"  # half an hour of daylight saving: nobody's guess
OFFSETS = ("+1h", "-1h", "+1d", "+20y")


@pytest.mark.slow
@pytest.mark.parametrize("first", range(len(OFFSETS)))
def test_no_role_acts_by_the_clock_of_its_host(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis, first: int
) -> None:
    """F-C01, F-C04: each role is off by something else, in a zone nobody expects.

    Nothing goes early, no retry is lost or hurried, no lease is stolen, and the message is dated
    by the database.
    """
    for number, role in enumerate(("consumer", "scheduler", "sender", "sender")):
        offset = OFFSETS[(first + number) % len(OFFSETS)]
        roles.start(role, TZ=ZONE, **wrong_clock(offset))
    relay.says(DOT=["451 4.3.0 later"] * 3)
    ids = [put(redis_client) for _ in range(20)]
    send_at = from_now(conn, seconds=3)
    ids.append(put(redis_client, send_at_ms=send_at))
    ids.append(put(redis_client, source="authsession"))

    eventually(lambda: count(conn, "sent") == len(ids), within=60)

    assert_each_arrived(conn, relay, ids)
    assert max(copies(relay).values()) == 1
    assert _earliest_attempt(conn, ids[-2]).timestamp() >= int(send_at) / 1000
    assert _shortest_wait(conn) >= timedelta(milliseconds=200)
    now = database_now(conn)
    for message in relay.accepted:
        dated = email.utils.parsedate_to_datetime(message.header("Date") or "")
        assert timedelta(0) <= now - dated < timedelta(minutes=2)
    eventually(lambda: roles.logs().count("host clock is off") == 4, within=30)


def _earliest_attempt(conn: db.Connection, delivery_id: str) -> datetime:
    found = conn.execute(
        "SELECT min(started_at) FROM attempts WHERE delivery_id = %s", [UUID(delivery_id)]
    ).fetchone()
    assert found is not None
    earliest: datetime = found[0]
    return earliest


def _shortest_wait(conn: db.Connection) -> timedelta:
    """Return the shortest time between the beginnings of an attempt and the next one."""
    found = conn.execute(
        "SELECT min(b.started_at - a.started_at) FROM attempts a JOIN attempts b"
        " ON b.delivery_id = a.delivery_id AND b.attempt_no = a.attempt_no + 1"
    ).fetchone()
    assert found is not None
    shortest: timedelta = found[0]
    return shortest


@pytest.mark.parametrize("offset", ["+1h", "-1h", "+20y"])
def test_a_clock_set_in_the_middle_of_a_transaction_changes_nothing(
    roles: Roles, relay: Relay, conn: db.Connection, tmp_path: Path, offset: str
) -> None:
    """F-C03: deadlines and the rest of the lease are counted in seconds since the boot."""
    clock = SteppedClock(tmp_path)
    relay.says(DATA=[meanwhile(lambda: clock.set(offset), "354 go")])
    new = new_delivery()
    accept(conn, new)

    roles.start("sender", **clock.environ)
    eventually(lambda: status(conn, new.delivery_id) == Status.SENT, within=20)

    assert attempts(conn, new.delivery_id) == [(1, "provider_accepted", "success")]
    assert len(relay.accepted) == 1


@pytest.mark.parametrize("offset", ["+1d", "-1d"])
def test_a_command_taken_just_after_the_clock_was_set_is_judged_by_the_true_time(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, tmp_path: Path, offset: str
) -> None:
    """F-C03: until the next heartbeat, too, a consumer knows the database's time.

    Auth mail lives ten minutes from its acceptance, not a day longer; what is to be sent later is
    not sent now; what can still be sent is not refused as too late.
    """
    clock = SteppedClock(tmp_path)
    roles.start("consumer", **clock.environ)
    eventually(lambda: "role started" in roles.logs(), within=20)

    clock.set(offset)
    auth = put(redis_client, source="authsession")
    later = put(redis_client, send_at_ms=from_now(conn, hours=1))
    soon_over = put(redis_client, expires_at_ms=from_now(conn, hours=1))
    eventually(lambda: status(conn, UUID(soon_over)) == Status.QUEUED, within=20)

    found = row(conn, UUID(auth))
    life = found["expires_at"] - found["created_at"]
    assert abs(life - timedelta(minutes=10)) < timedelta(minutes=1)
    assert status(conn, UUID(later)) == Status.SCHEDULED


@pytest.mark.parametrize("moment", ["@1980-01-01 00:00:00", "@2099-01-01 00:00:00"])
def test_a_host_that_booted_in_another_year_works_and_says_so(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis, moment: str
) -> None:
    """F-C05: nothing is decided by that clock, so nothing is refused for it; it is said once."""
    for role in ("consumer", "sender"):
        roles.start(role, **wrong_clock(moment))
    delivery_id = put(redis_client)

    eventually(lambda: status(conn, UUID(delivery_id)) == Status.SENT, within=20)

    lines = [json.loads(line) for line in roles.logs().splitlines()]
    told = [line for line in lines if line["event"] == "host clock is off"]
    assert sorted(line["role"] for line in told) == ["consumer", "sender"]
    assert all(abs(line["skew_seconds"]) > MOST_SKEW.total_seconds() for line in told)
    assert len(relay.accepted) == 1


def test_doctor_tells_that_the_clock_is_off(roles: Roles) -> None:
    """F-C05: the check an operator runs first names it, with what it does harm."""
    environ = {**os.environ, **roles.environ, "MAIL_SMTP_MODE": "stub", **wrong_clock("-2h")}
    command = [sys.executable, "-m", "mailworkers", "doctor", "--json"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)

    (clock,) = (c for c in json.loads(done.stdout)["checks"] if c["check"] == "clock")
    assert (done.returncode, clock["ok"]) == (1, False)
    assert "7200" in clock["detail"] or "7199" in clock["detail"]
    assert "certificates" in clock["advice"]


@pytest.fixture
def stepping(request: pytest.FixtureRequest) -> Iterator[tuple[Servers, SteppedClock]]:
    """Return servers of this test alone, and the clock of their PostgreSQL, which a test sets.

    Redis keeps the true time: as Debian builds it, with jemalloc, it hangs under libfaketime.
    """
    directory = Path(tempfile.mkdtemp(prefix="mail-clock-"))
    directory.chmod(0o711)
    clock = SteppedClock(directory)
    source = Source(request.config.getoption("--servers"))
    try:
        with start_servers(directory, source=source, durable=False) as servers:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in clock.environ.items():
                    patch.setenv(name, value)
                servers.postgres.restart()
            db.migrate(servers.postgres_dsn)
            yield servers, clock
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.parametrize("step", ["+5m", "-5m"])
def test_a_database_whose_clock_is_set_shifts_times_by_that_step_only(
    stepping: tuple[Servers, SteppedClock], roles: Roles, relay: Relay, step: str
) -> None:
    """F-C02: one delivery is being sent, one waits for a minute, one for an hour, one retries.

    Attempts stay 1..n, what was to come in an hour does not come, and mail goes on.
    """
    servers, clock = stepping
    roles.environ["MAIL_POSTGRES_PRIMARY_DSN"] = servers.postgres_dsn
    roles.environ["MAIL_REDIS_MASTER_ADDR"] = servers.redis_addr
    is_stepped = threading.Event()
    relay.says(DOT=[held_back(is_stepped, "250 2.0.0 Ok")])
    with (
        db.connect(servers.postgres_dsn) as conn,
        redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client,
    ):
        for role in ("consumer", "scheduler", "sender"):
            roles.start(role)
        under_way = put(client)
        eventually(lambda: relay.commands and "DATA" in relay.commands[-1], within=20)
        in_an_hour = put(client, send_at_ms=from_now(conn, hours=1))
        in_a_minute = put(client, send_at_ms=from_now(conn, minutes=1))
        eventually(lambda: count(conn, "scheduled") == 2, within=20)
        before = database_now(conn)

        clock.set(step)
        eventually(lambda: abs(database_now(conn) - before) > timedelta(minutes=4), within=20)
        is_stepped.set()
        eventually(lambda: status(conn, UUID(under_way)) == Status.SENT, within=30)
        new = put(client)
        eventually(lambda: status(conn, UUID(new)) == Status.SENT, within=20)
        clock.set("+5m")
        eventually(lambda: status(conn, UUID(in_a_minute)) == Status.SENT, within=20)

        assert status(conn, UUID(in_an_hour)) == Status.SCHEDULED
        assert copies(relay) == {under_way: 1, in_a_minute: 1, new: 1}


def test_an_open_breaker_waits_no_longer_because_redis_set_its_clock_back(
    roles: Roles, redis_client: redis.Redis
) -> None:
    """The common pause ends by Redis' clock: its step back must not stop the mail for an hour."""
    settings = load(roles.environ)
    breaker = SharedBreaker(settings, "relay.test:25")
    told: Any = redis_client.time()
    an_hour_on = (told[0] + 3600) * 1000
    redis_client.set("mail:breaker:relay.test:25", encode(Shared(an_hour_on, 1, "451 no")))

    breaker.look()
    first = breaker.seconds_to_probe()
    eventually(lambda: _look_again(breaker) < first - 0.2, within=10)

    assert first <= LONGEST_WAIT
    breaker.close()


def _look_again(breaker: SharedBreaker) -> float:
    breaker.look()
    return breaker.seconds_to_probe()
