"""What happened to a delivery and what is said about it, read from the real tables."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from mailworkers.adapters import db, store
from mailworkers.adapters.store import reads
from mailworkers.adapters.store.histories import Event, explain_delivery, timeline
from mailworkers.adapters.store.pauses import add_pause
from mailworkers.core.explanations import Blocker, Explanation
from mailworkers.core.retry import ladder
from mailworkers.core.states import Lane, Status
from tests.deliveries import accept, new_delivery, put

POLICIES = {"ladder": ladder("ladder", (timedelta(seconds=5),) * 3)}


def history(conn: db.Connection, delivery_id: UUID) -> list[Event]:
    """Return the timeline of one delivery."""
    delivery = reads.find_delivery(conn, delivery_id)
    assert delivery is not None
    return timeline(conn, delivery)


def said(conn: db.Connection, delivery_id: UUID) -> Explanation:
    """Return what is said about one delivery."""
    delivery = reads.find_delivery(conn, delivery_id)
    assert delivery is not None
    explanation = explain_delivery(conn, delivery, POLICIES)
    assert explanation is not None
    return explanation


def beat(conn: db.Connection, role: str, **detail: object) -> None:
    """Make a sign of life of a process of *role*."""
    store.beat(conn, process_id=uuid4(), role=role, host="here", pid=1, version="0", detail=detail)


def test_a_timeline_tells_everything_in_order(conn: db.Connection) -> None:
    """Accepted, tried, failed, sent again by somebody, withdrawn by somebody."""
    delivery_id = put(conn, Status.SENDING)
    conn.execute(
        "UPDATE attempts SET status = 'provider_rejected', outcome = 'permanent_error',"
        " stage = 'rcpt', reply_code = 550, enhanced_code = '5.1.1', summary = 'no such user',"
        " finished_at = clock_timestamp()"
    )
    conn.execute(
        "UPDATE deliveries SET status = 'failed', failure = 'rejected', lease_token = NULL,"
        " leased_by = NULL, next_attempt_at = NULL, finished_at = clock_timestamp()"
    )
    conn.execute("UPDATE delivery_recipients SET status = 'refused'")
    conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)"
        " VALUES (%s, 'permanent', 1, 1, '550 no such user')",
        [delivery_id],
    )
    store.requeue(conn, [delivery_id], actor="ada", reason="the mailbox is back")
    store.cancel(conn, [delivery_id], actor="bob", reason="too late")

    events = history(conn, delivery_id)

    assert [event.kind for event in events] == [
        "accepted",
        "attempt_began",
        "attempt_ended",
        "dead_letter",
        "operator_action",
        "dead_letter_closed",
        "operator_action",
        "ended",
    ]
    assert "550 5.1.1 no such user" in events[2].words
    assert events[4].facts == {"actor": "ada", "reason": "the mailbox is back"}
    assert events[-1].words == "ended cancelled"


def test_what_an_attempt_caused_is_told_after_it(conn: db.Connection) -> None:
    """One statement writes attempt, dead letter and end, each by a clock read of its own."""
    early = datetime.now(UTC) - timedelta(minutes=5)
    dead = put(conn, Status.DEAD_LETTER, attempt_no=1, cycle_attempt=1, created_at=early)
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
        " lease_token, leased_by, started_at, finished_at) SELECT delivery_id, 1, 1,"
        " 'provider_deferred', 'transient_error', delivery_id, delivery_id, finished_at -"
        " interval '1 s', finished_at + interval '40 microseconds' FROM deliveries"
    )
    conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason,"
        " created_at) SELECT delivery_id, 'exhausted', 1, 1, 'no', finished_at -"
        " interval '20 microseconds' FROM deliveries"
    )
    found = reads.find_delivery(conn, dead)
    assert found is not None

    told = [event.kind for event in timeline(conn, found)][-3:]

    assert told == ["attempt_ended", "dead_letter", "ended"]


def test_an_explanation_sees_pauses_roles_breaker_and_queue(conn: db.Connection) -> None:
    """What is said of one delivery depends on everything around it."""
    first, second = new_delivery(), new_delivery()
    accept(conn, first)
    accept(conn, second)
    assert said(conn, second.delivery_id).blockers == (Blocker.NO_SENDER, Blocker.BEHIND_OTHERS)

    beat(conn, "sender", breaker="open", reason="connect: refused")
    add_pause(conn, lane=Lane.NORMAL, source=None, actor="ada", reason="maintenance")
    add_pause(conn, lane=Lane.BULK, source=None, actor="ada", reason="not ours")
    explanation = said(conn, first.delivery_id)

    assert explanation.blockers == (Blocker.PAUSED, Blocker.BREAKER_OPEN)
    assert explanation.why == (
        "ada holds it back: maintenance",
        "senders wait for the relay, which failed: connect: refused",
    )


def test_what_waits_for_its_time_says_when(conn: db.Connection) -> None:
    """The time of the next try is the database's, as it stands in the row."""
    at = datetime(2099, 1, 1, tzinfo=UTC)
    delivery_id = put(conn, Status.DEFERRED, next_attempt_at=at, cycle_attempt=1, attempt_no=1)
    beat(conn, "sender", breaker="closed")

    explanation = said(conn, delivery_id)

    assert (explanation.blockers, explanation.next_at) == ((Blocker.NOT_DUE,), at)


def test_what_was_deleted_meanwhile_is_none(conn: db.Connection) -> None:
    """Retention may come between two questions."""
    delivery = reads.find_delivery(conn, put(conn, Status.SENT))
    assert delivery is not None
    for table in ("delivery_payloads", "delivery_recipients", "deliveries"):
        conn.execute(f"DELETE FROM {table}".encode())  # noqa: S608

    assert explain_delivery(conn, delivery, POLICIES) is None
