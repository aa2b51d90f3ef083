"""Retention: what is final and old goes, nothing else does."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from mailworkers.adapters import db
from mailworkers.core.states import FINAL, LIVE, Lane, Status
from mailworkers.roles.retention import Retention, rest_after
from tests.deliveries import accept, new_delivery, put, row

Build = Callable[..., Retention]
LONG_AGO = datetime.now(UTC) - timedelta(days=400)


def _clean(retention: Retention) -> None:
    """Do one whole cleanup."""
    while retention.step():
        pass


def _has_payload(conn: db.Connection, delivery_id: UUID) -> bool:
    found = conn.execute(
        "SELECT count(*) FROM delivery_payloads WHERE delivery_id = %s", [delivery_id]
    ).fetchone()
    return found == (1,)


@pytest.mark.parametrize("status", sorted(LIVE))
def test_nothing_live_is_ever_deleted(
    retention: Retention, conn: db.Connection, status: Status
) -> None:
    """However old it is: row, bytes and reservation stay."""
    delivery_id = put(conn, status, created_at=LONG_AGO)
    conn.execute("UPDATE idempotency_reservations SET created_at = %s", [LONG_AGO])

    _clean(retention)

    assert row(conn, delivery_id)["status"] == status
    assert _has_payload(conn, delivery_id)
    assert conn.execute("SELECT count(*) FROM idempotency_reservations").fetchone() == (1,)


@pytest.mark.parametrize("status", sorted(FINAL))
def test_a_final_delivery_goes_with_all_that_belongs_to_it(
    retention: Retention, conn: db.Connection, status: Status
) -> None:
    """No child is left behind; the reservation has its own time."""
    put(conn, status, finished_at=datetime.now(UTC) - timedelta(days=31))
    conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)"
        " SELECT delivery_id, 'permanent', 1, 1, '' FROM deliveries"
    )

    _clean(retention)

    for table in ("deliveries", "delivery_recipients", "delivery_payloads", "dead_letters"):
        assert conn.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,), table  # noqa: S608
    assert conn.execute("SELECT count(*) FROM idempotency_reservations").fetchone() == (1,)


@pytest.mark.parametrize(
    ("status", "goes"),
    [
        (Status.SENT, True),
        (Status.SUPPRESSED, True),
        (Status.CANCELLED, True),
        (Status.FAILED, False),
        (Status.DEAD_LETTER, False),
        (Status.UNCERTAIN, False),
    ],
)
def test_payloads_go_earlier_unless_an_operator_may_want_them(
    retention: Retention, conn: db.Connection, status: Status, goes: bool
) -> None:
    """After seven days; what could be requeued keeps its bytes for the delivery's time."""
    delivery_id = put(conn, status, finished_at=datetime.now(UTC) - timedelta(days=8))

    _clean(retention)

    assert _has_payload(conn, delivery_id) is not goes
    assert row(conn, delivery_id)["status"] == status


def test_young_payloads_stay(retention: Retention, conn: db.Connection) -> None:
    """Nothing younger than its limit is deleted (I-27)."""
    delivery_id = put(conn, Status.SENT, finished_at=datetime.now(UTC) - timedelta(days=6))

    _clean(retention)

    assert _has_payload(conn, delivery_id)


def test_auth_payloads_go_at_the_first_cleanup(retention: Retention, conn: db.Connection) -> None:
    """A login code is nobody's business once it is sent; other mail of that age stays."""
    ended = datetime.now(UTC) - timedelta(minutes=2)
    auth = put(conn, Status.FAILED, lane=Lane.AUTH, finished_at=ended)
    other = put(conn, Status.SENT, finished_at=ended)

    _clean(retention)

    assert not _has_payload(conn, auth)
    assert _has_payload(conn, other)


def test_every_old_payload_goes_however_many_ended_in_one_moment(
    retention: Retention, conn: db.Connection
) -> None:
    """The position in the walk tells deliveries of the same instant apart."""
    conn.execute("SELECT 1")
    for _ in range(3):
        accept(conn, *(new_delivery() for _ in range(700)))
    conn.execute(
        "UPDATE deliveries SET status = 'sent', ready_at = NULL, finished_at = %s",
        [datetime.now(UTC) - timedelta(days=8)],
    )

    _clean(retention)

    assert conn.execute("SELECT count(*) FROM delivery_payloads").fetchone() == (0,)


def test_a_new_process_goes_on_where_the_last_one_was(build: Build, conn: db.Connection) -> None:
    """Looking at months again would take a minute of every restart."""
    old = datetime.now(UTC) - timedelta(days=8)
    put(conn, Status.SENT, finished_at=old)
    _clean(build(Retention))
    behind = put(conn, Status.SENT, finished_at=old - timedelta(seconds=1))
    before = put(conn, Status.SENT, finished_at=old + timedelta(seconds=1))

    _clean(build(Retention))

    assert _has_payload(conn, behind)
    assert not _has_payload(conn, before)


@pytest.mark.parametrize(
    "change",
    [
        "begun_at = begun_at - interval '7 days 1 second'",
        "begun_at = begun_at + interval '1 year'",
        "finished_at = finished_at + interval '1 year'",
    ],
)
def test_a_walk_that_began_a_week_ago_or_knows_the_future_begins_anew(
    build: Build, conn: db.Connection, change: str
) -> None:
    """What a clock that was wrong left behind has its content taken, too."""
    old = datetime.now(UTC) - timedelta(days=8)
    put(conn, Status.SENT, finished_at=old)
    _clean(build(Retention))
    behind = put(conn, Status.SENT, finished_at=old - timedelta(seconds=1))
    conn.execute(f"UPDATE retention_walks SET {change}")  # noqa: S608

    _clean(build(Retention))

    assert not _has_payload(conn, behind)
    fresh = (
        "SELECT count(*) FROM retention_walks"
        " WHERE begun_at BETWEEN now() - interval '1 minute' AND clock_timestamp()"
    )
    assert conn.execute(fresh).fetchone() == (2,)


def test_a_walk_over_many_is_kept_on_its_way(build: Build, conn: db.Connection) -> None:
    """A process that is restarted again and again gets on all the same."""
    retention = build(Retention)
    for _ in range(25):
        accept(conn, *(new_delivery() for _ in range(1000)))
    conn.execute(
        "UPDATE deliveries SET status = 'sent', ready_at = NULL, finished_at = %s",
        [datetime.now(UTC) - timedelta(days=8)],
    )

    for _ in range(21):
        retention.step()

    assert conn.execute("SELECT walk FROM retention_walks").fetchall() == [("auth_payloads",)]


def test_old_reservations_and_refusals_go(retention: Retention, conn: db.Connection) -> None:
    """Reservations after seven days once their delivery is final, refusals after thirty."""
    put(conn, Status.SENT)
    conn.execute(
        "UPDATE idempotency_reservations SET created_at = %s",
        [datetime.now(UTC) - timedelta(days=8)],
    )
    for entry_id, days in (("1-0", 31), ("2-0", 29)):
        conn.execute(
            "INSERT INTO malformed_commands (stream, stream_entry_id, failure_code, detail, raw,"
            " raw_size, is_complete, received_at) VALUES ('s', %s, 'poison', '', '', 0, true, %s)",
            [entry_id, datetime.now(UTC) - timedelta(days=days)],
        )

    _clean(retention)

    assert conn.execute("SELECT count(*) FROM idempotency_reservations").fetchone() == (0,)
    left = conn.execute("SELECT stream_entry_id FROM malformed_commands").fetchall()
    assert left == [("2-0",)]


def test_suppressions_go_when_their_time_is_over(retention: Retention, conn: db.Connection) -> None:
    """Those without an end stay for ever."""
    now = datetime.now(UTC)
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by, expires_at) VALUES"
        " ('a@example.com', '', '', NULL), ('b@example.com', '', '', %s),"
        " ('c@example.com', '', '', %s)",
        [now - timedelta(minutes=1), now + timedelta(days=1)],
    )

    _clean(retention)

    left = conn.execute("SELECT canonical FROM suppressed_addresses ORDER BY 1").fetchall()
    assert left == [("a@example.com",), ("c@example.com",)]


def test_a_cleanup_waits_for_nobody(
    database: str, retention: Retention, conn: db.Connection
) -> None:
    """A row that somebody holds is left for the next time."""
    old = datetime.now(UTC) - timedelta(days=31)
    held, free = put(conn, Status.SENT, finished_at=old), put(conn, Status.SENT, finished_at=old)
    with db.connect(database) as other, other.transaction():
        other.execute("SELECT FROM deliveries WHERE delivery_id = %s FOR UPDATE", [held])
        _clean(retention)

    assert row(conn, free) == {}
    assert row(conn, held) != {}


def test_retention_rests_twice_as_long_as_it_works() -> None:
    """Mail comes first. A batch that took long makes no longer rest: signs of life go on."""
    assert rest_after(timedelta(milliseconds=80)) == timedelta(milliseconds=160)
    assert rest_after(timedelta(seconds=30)) == timedelta(seconds=1)
