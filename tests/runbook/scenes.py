"""The circumstances that pages of the runbook are about: each is made, and undone at its end."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.crash.operation.commands import from_now
from tests.relay import accepting, hang, late, reset
from tests.runbook.stage import MISSING_TEMPLATE, Stage

_WELCOME = json.dumps(
    {
        "to": ["ada@example.com"],
        "template_id": MISSING_TEMPLATE,
        "locale": "en",
        "variables": {"name": "Ada", "confirm_url": "https://example.com/c"},
    }
)
_TO_ADA = '{"to": ["ada@example.com"], "subject": "s", "text_body": "t"}'


@contextmanager
def all_is_well(stage: Stage) -> Iterator[None]:
    """Everything works, and one mail was sent."""
    stage.names["DELIVERY_ID"] = stage.wait_for_row(
        "SELECT delivery_id FROM deliveries WHERE status = 'sent'"
    )
    yield


@contextmanager
def mail_was_refused(stage: Stage) -> Iterator[None]:
    """The relay does not know some recipients: dead letters."""
    stage.relay.says(RCPT="550 5.1.1 no such user")
    stage.names["DELIVERY_ID"] = stage.put(4)
    stage.wait_for("failed", 4)
    stage.relay.forgets()
    stage.names["NUMBER"] = stage.wait_for_row(
        "SELECT dead_letter_id FROM dead_letters ORDER BY dead_letter_id"
    )
    yield


@contextmanager
def mail_was_suppressed(stage: Stage) -> Iterator[None]:
    """One by the relay's policy, one by our own list."""
    stage.relay.says(RCPT="550 5.7.1 rejected by policy: spam")
    stage.names["DELIVERY_ID"] = stage.put()
    stage.wait_for("suppressed")
    stage.relay.forgets()
    stage.run("mailworkers suppressions add ada@example.com --reason 'she asked for it'")
    stage.put(payload_json=_TO_ADA)
    stage.wait_for("suppressed", 2)
    yield


@contextmanager
def the_login_is_refused(stage: Stage) -> Iterator[None]:
    """Somebody changed the password at the relay; who reads the page knows the new one."""
    stage.relay.users["shop"] += " again"
    stage.relay.hangs_up()
    stage.names["DELIVERY_ID"] = stage.put(3)
    stage.wait_for_row("SELECT 1 FROM attempts WHERE reply_code = 535")
    stage.wait_for_row("SELECT 1 FROM processes WHERE detail->>'breaker' <> 'closed'")
    stage.typed = f"{stage.relay.users['shop']}\n"
    yield


@contextmanager
def the_relay_stalls(stage: Stage) -> Iterator[None]:
    """It takes connections and says nothing at MAIL."""
    stage.relay.says(MAIL=hang)
    stage.names["DELIVERY_ID"] = stage.put(2)
    stage.wait_for_row("SELECT 1 FROM attempts WHERE status = 'timed_out'")
    yield
    stage.relay.forgets()


@contextmanager
def the_relay_is_slow(stage: Stage) -> Iterator[None]:
    """A backlog: more waits than goes out."""
    stage.relay.says(DOT=late(3, "250 ok"))
    stage.names["DELIVERY_ID"] = stage.put(60)
    stage.wait_for_row("SELECT 1 FROM deliveries WHERE status = 'queued'")
    yield
    stage.relay.forgets()


@contextmanager
def commands_were_refused(stage: Stage) -> Iterator[None]:
    """Two by a producer's mistake, one since a template was missing; that has come since."""
    stage.put(idempotency_key="x" * 300)
    stage.put(payload_json='{"to": "ada@example.com", "subject": "s", "text_body": "t"}')
    stage.put(payload_mode="template", payload_json=_WELCOME)
    stage.names["NUMBER"] = stage.wait_for_row(
        "SELECT malformed_id FROM malformed_commands WHERE failure_code = 'unknown_template'"
    )
    stage.mend_templates()
    yield


@contextmanager
def answers_were_lost(stage: Stage) -> Iterator[None]:
    """Bulk mail, which is parked: the relay took it and hung up before it said so."""
    stage.relay.says(DOT=accepting(reset))
    stage.names["DELIVERY_ID"] = stage.put(lane="bulk")
    stage.wait_for("uncertain")
    stage.relay.forgets()
    yield


@contextmanager
def redis_is_away(stage: Stage) -> Iterator[None]:
    """Stopped."""
    stage.servers.keyvalue.stop()
    try:
        yield
    finally:
        stage.servers.keyvalue.start()


@contextmanager
def postgres_is_away(stage: Stage) -> Iterator[None]:
    """Stopped."""
    stage.servers.postgres.stop()
    try:
        yield
    finally:
        stage.servers.postgres.start()


@contextmanager
def the_scheduler_hangs(stage: Stage) -> Iterator[None]:
    """Alive, and frozen."""
    pid = stage.host.pids()["scheduler"]
    os.kill(pid, signal.SIGSTOP)
    stage.names["PID"] = str(pid)
    stage.wait_for_row(
        "SELECT 1 FROM processes WHERE role = 'scheduler'"
        " AND beat_at < clock_timestamp() - interval '16 s'"
    )
    try:
        yield
    finally:
        with suppress(ProcessLookupError):  # the page says how to end it
            os.kill(pid, signal.SIGCONT)


@contextmanager
def mail_must_stop(stage: Stage) -> Iterator[None]:
    """Some of it waits for its time."""
    with stage.connection() as conn:
        stage.names["DELIVERY_ID"] = stage.put(send_at_ms=from_now(conn, hours=1))
    stage.wait_for("scheduled")
    yield


@contextmanager
def nothing_runs(stage: Stage) -> Iterator[None]:
    """The host was booted, the stores are there."""
    stage.control("stop all")
    yield


@contextmanager
def the_database_is_restored(stage: Stage) -> Iterator[None]:
    """A backup from when mail was waiting; the database is empty."""
    with stage.connection() as conn:
        stage.names["DELIVERY_ID"] = stage.put(send_at_ms=from_now(conn, hours=1))
    stage.wait_for("scheduled")
    dumped = stage.run("pg_dump --format=custom --file backup.dump")
    assert dumped.returncode == 0, dumped.stderr
    stage.control("stop all")
    with stage.connection() as conn:
        conn.execute("DROP SCHEMA mail CASCADE")
    yield
