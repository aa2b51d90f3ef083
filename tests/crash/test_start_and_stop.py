"""How a role starts, waits and stops: exit codes and bounds of contract section 1."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.core.states import Status
from mailworkers.embedded.servers import Servers
from tests.crash.processes import Process, Roles
from tests.deliveries import accept, new_delivery, put, status
from tests.eventually import eventually
from tests.relay import Relay, hang

ROLES = ("consumer", "scheduler", "sender", "retention")


STOPS = [(role, signal.SIGTERM) for role in ROLES]


@pytest.mark.parametrize(
    ("role", "number"), [*STOPS, ("sender", signal.SIGINT), ("sender", signal.SIGHUP)]
)
def test_an_idle_role_stops_at_once_with_exit_code_0(
    roles: Roles, role: str, number: signal.Signals
) -> None:
    """Within two seconds (N-10), with a line that says so; supervisord starts it anew then."""
    process = roles.start(role)
    eventually(lambda: "role started" in roles.logs(), within=20)

    process.signal(number)
    began = time.monotonic()

    assert process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert "role stopped" in roles.logs()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MAIL_SMTP_MODE", "carrier-pigeon"),
        ("MAIL_RETRY_LADDER", "5 seconds"),
        ("MAIL_LEASE", "10s"),
        ("MAIL_TEMPLATE_DIR", "/nowhere/at/all"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_78_and_names_itself(
    roles: Roles, variable: str, value: str
) -> None:
    """One line that says which variable, and supervisord does not try again."""
    process = roles.start("consumer", **{variable: value})

    assert process.wait() == 78
    assert variable in roles.logs()


def test_the_log_level_is_changed_without_a_restart_also_while_a_store_is_away(
    roles: Roles, conn: db.Connection, tmp_path: Path
) -> None:
    """G-24: `log_level` in the state directory is followed by every process of the host."""
    scheduler = roles.start("scheduler", LOG_LEVEL="error")
    waiting = roles.start(
        "retention",
        LOG_LEVEL="error",
        MAIL_POSTGRES_PRIMARY_DSN="postgresql://nobody@127.0.0.1:9/nowhere",
    )
    eventually(lambda: "store lost" in waiting.output.read_text(), within=30)
    (tmp_path / "log_level").write_text("debug\n")

    for process in (scheduler, waiting):
        eventually(partial(_has_changed_level, process), within=30)
    put(conn, Status.DEFERRED, next_attempt_at=datetime.now(UTC))
    eventually(lambda: "scheduler pass" in scheduler.output.read_text(), within=30)
    assert (scheduler.exit_code, waiting.exit_code) == (None, None)


def _has_changed_level(process: Process) -> bool:
    return '"after":"debug"' in process.output.read_text()


def test_a_schema_that_is_too_new_ends_the_start_with_78(roles: Roles, conn: db.Connection) -> None:
    """Old code must not touch what it does not understand; the line says what to do."""
    conn.execute("INSERT INTO schema_versions (version, oldest_code) VALUES (999, 999)")
    try:
        process = roles.start("scheduler")
        assert process.wait() == 78
    finally:
        conn.execute("DELETE FROM schema_versions WHERE version = 999")
    assert "upgrade mailworkers" in roles.logs()


def test_a_second_signal_ends_a_role_at_once(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """The relay holds back its answer to the dot; whoever stops twice means it."""
    relay.says(DOT=hang)
    new = new_delivery()
    accept(conn, new)
    sender = roles.start("sender")
    eventually(lambda: relay.commands and "DATA" in relay.commands[-1], within=20)

    sender.signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        sender.wait(1)
    sender.signal(signal.SIGTERM)

    assert sender.wait(2) == 1


def test_a_role_that_waits_for_the_answer_to_its_dot_ends_in_time_all_the_same(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """Within MAIL_SHUTDOWN_TIMEOUT; the next sender finds the doubt in the journal."""
    relay.says(DOT=[hang, "250 ok"])
    new = new_delivery()
    accept(conn, new)
    sender = roles.start("sender", MAIL_SHUTDOWN_TIMEOUT="2s")
    eventually(lambda: relay.commands and "DATA" in relay.commands[-1], within=20)

    sender.signal(signal.SIGTERM)
    began = time.monotonic()
    assert sender.wait(10) == 0
    assert time.monotonic() - began < 4

    roles.start("sender")
    roles.start("scheduler")
    eventually(lambda: status(conn, new.delivery_id) == Status.SENT, within=20)
    assert len(relay.accepted) == 1


def test_a_role_started_before_its_postgres_waits_for_it(
    servers: Servers, roles: Roles, conn: db.Connection
) -> None:
    """It says that it waits, once, and does not exit."""
    unreachable = "host=127.0.0.1 port=9 user=nobody dbname=nothing"
    process = roles.start("scheduler", MAIL_POSTGRES_PRIMARY_DSN=unreachable)

    eventually(lambda: "store lost" in roles.logs(), within=20)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)  # several tries pass

    assert roles.logs().count("store lost") == 1


@pytest.mark.parametrize("role", ROLES)
def test_a_role_told_to_stop_while_it_waits_for_its_stores_stops_at_once(
    roles: Roles, role: str
) -> None:
    """At any moment: it has not even begun to work."""
    process = roles.start(role, MAIL_POSTGRES_PRIMARY_DSN="host=127.0.0.1 port=9 user=nobody")
    eventually(lambda: "store lost" in roles.logs(), within=20)

    process.signal(signal.SIGTERM)
    began = time.monotonic()

    assert process.wait(10) == 0
    assert time.monotonic() - began < 2
    assert "signal during start" in roles.logs()


@pytest.mark.slow
@pytest.mark.parametrize("role", ["scheduler", "retention", "sender"])
def test_a_role_stuck_in_a_statement_ends_in_time_all_the_same(
    roles: Roles, conn: db.Connection, database: str, role: str
) -> None:
    """Within MAIL_SHUTDOWN_TIMEOUT, whatever it waits for: here for a lock somebody holds."""
    with db.connect(database) as locker, locker.transaction():
        locker.execute("LOCK TABLE deliveries, dead_letters, pauses IN ACCESS EXCLUSIVE MODE")
        process = roles.start(role, MAIL_SHUTDOWN_TIMEOUT="2s")
        eventually(lambda: _waits_for_a_lock(conn, role), within=20)

        process.signal(signal.SIGTERM)
        began = time.monotonic()

        assert process.wait(20) == 0
        assert time.monotonic() - began < 6


_DEAF = """
import ctypes
from datetime import timedelta
from mailworkers.adapters.stopping import Stop

Stop(timedelta(seconds=1)).install()
mutex = ctypes.create_string_buffer(64)
lock = ctypes.CDLL(None).pthread_mutex_lock
lock(mutex)
print("stuck", flush=True)
lock(mutex)
"""


@pytest.mark.parametrize("is_repeated", [False, True])
def test_a_process_stuck_where_no_signal_is_seen_ends_in_time_all_the_same(
    is_repeated: bool,
) -> None:
    """As in a name look-up whose server is silent: Python runs no handler until it returns."""
    with subprocess.Popen([sys.executable, "-c", _DEAF], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"stuck\n"

        process.send_signal(signal.SIGTERM)
        while is_repeated and process.poll() is None:
            process.send_signal(signal.SIGINT)  # one that waits already would be lost

        assert process.wait(20) == int(is_repeated)


def _waits_for_a_lock(conn: db.Connection, role: str) -> bool:
    found = conn.execute(
        "SELECT FROM pg_stat_activity WHERE application_name LIKE %s AND wait_event_type = 'Lock'",
        [f"mailworkers {role}%"],
    )
    return found.fetchone() is not None
