"""Every condition of the moving statements, where the matrix does not reach: what it keeps out.

`python -m tests.mutation` takes each of them away and asks whether a test misses it.
"""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.store import retention
from mailworkers.core.states import UNLEASED, Failure, Status
from tests.deliveries import accept, attempts, new_delivery, put, recipient_statuses, row, status
from tests.store.situations import (
    AGO,
    LATER,
    add_attempts,
    enter_letter,
    lease,
    let_the_oldest_win,
    letters,
    reclaim,
    settlement,
    several,
)

INSTANT = timedelta(microseconds=1)

# Leasing


@pytest.mark.parametrize(
    ("scope", "expires_at", "is_listed"),
    [
        ("*", None, True),
        ("*", LATER, True),
        ("*", AGO, False),
        ("notification", None, True),
        ("shop", None, False),
    ],
)
def test_a_suppression_holds_in_its_scope_for_its_time(
    conn: db.Connection, scope: str, expires_at: datetime | None, is_listed: bool
) -> None:
    """Of all mail, or of one source; until it expires."""
    accept(conn, new_delivery("ada@example.com"))
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, scope, reason, created_by, expires_at)"
        " VALUES ('ada@example.com', %s, 'complaint', 'test', %s)",
        [scope, expires_at],
    )

    (leased,) = lease(conn)

    assert leased.status == ("suppressed" if is_listed else "sending")


def test_what_the_lease_ends_comes_without_its_bytes(conn: db.Connection) -> None:
    """Nobody will send them: they need no place in the answer."""
    accept(conn, new_delivery("ada@example.com"), new_delivery("bob@example.com"))
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('ada@example.com', 'complaint', 'test')"
    )

    found = {leased.status: leased.mime is None for leased in lease(conn)}

    assert found == {"suppressed": True, "sending": False}
    assert letters(conn) == []


# Settling


@pytest.mark.parametrize("end", [Status.DEFERRED, Status.QUEUED])
def test_a_cancel_leaves_nothing_of_the_retry(conn: db.Connection, end: Status) -> None:
    """Status, failure, times and recipients are those of the second end, all of them."""
    delivery_id = several(conn, "open", "open")
    lease(conn)
    conn.execute("UPDATE deliveries SET cancel_requested_at = clock_timestamp()")
    before = row(conn, delivery_id)

    store.settle(
        conn,
        [
            settlement(
                before,
                end,
                "refused",
                "open",
                next_attempt_at=LATER,
                cancelled_status=Status.FAILED,
                cancelled_failure=Failure.REJECTED,
            )
        ],
    )

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, "rejected")
    assert (after["next_attempt_at"], after["ready_at"]) == (None, None)
    assert after["finished_at"] is not None
    assert recipient_statuses(conn, delivery_id) == ["refused", "cancelled"]


def test_a_settle_closes_its_own_attempt_only(conn: db.Connection) -> None:
    """What the attempts before it came to stays as it was."""
    delivery_id = several(conn, "open")
    add_attempts(conn, delivery_id, "unknown")
    lease(conn)

    store.settle(conn, [settlement(row(conn, delivery_id), Status.DEFERRED, "open")])

    assert attempts(conn, delivery_id) == [
        (1, "timed_out", "unknown"),
        (2, "provider_deferred", "transient_error"),
    ]
    assert letters(conn) == []


# Handing back


def test_what_is_handed_back_is_as_it_was(conn: db.Connection) -> None:
    """Recipients open, earlier attempts there, no dead letter."""
    delivery_id = several(conn, "accepted", "open")
    add_attempts(conn, delivery_id, "transient_error")
    holder = uuid4()
    lease(conn, holder)

    store.hand_back(conn, leased_by=holder, held=[])

    assert recipient_statuses(conn, delivery_id) == ["accepted", "open"]
    assert attempts(conn, delivery_id) == [(1, "timed_out", "transient_error")]
    assert letters(conn) == []


@pytest.mark.parametrize(
    ("outcomes", "recipient"),
    [
        (("unknown", "transient_error"), "cancelled"),
        (("transient_error", "unknown"), "uncertain"),
    ],
)
def test_a_cancel_at_the_hand_back_asks_the_last_attempt_only(
    conn: db.Connection, outcomes: tuple[str, ...], recipient: str
) -> None:
    """An older doubt was answered by the attempt after it; who was accepted stays so."""
    let_the_oldest_win(conn)
    delivery_id = several(conn, "suppressed", "open")
    add_attempts(conn, delivery_id, *outcomes)
    holder = uuid4()
    lease(conn, holder)
    conn.execute("UPDATE deliveries SET cancel_requested_at = clock_timestamp()")

    store.hand_back(conn, leased_by=holder, held=[])

    after = row(conn, delivery_id)
    assert after["status"] == recipient
    assert after["ready_at"] is None
    assert recipient_statuses(conn, delivery_id) == ["suppressed", recipient]
    assert len(attempts(conn, delivery_id)) == 2


def test_a_hand_back_takes_nothing_from_a_later_lease(conn: db.Connection) -> None:
    """It was said of one lease and is done after another: the token tells them apart (I-13)."""
    delivery_id = several(conn, "open")
    holder = uuid4()
    lease(conn, holder)
    first = row(conn, delivery_id)["lease_token"]
    store.hand_back(conn, leased_by=holder, held=[])
    lease(conn, holder)
    before = row(conn, delivery_id)

    db.run(conn, "hand_back", delivery_ids=[delivery_id], lease_tokens=[first])

    assert row(conn, delivery_id) == before


def test_a_holder_gives_back_its_own_leases_only(conn: db.Connection) -> None:
    """Those of others are none of its business."""
    mine, other = uuid4(), uuid4()
    several(conn, "open")
    lease(conn, other)
    delivery_id = several(conn, "open")
    lease(conn, mine)

    assert store.hand_back(conn, leased_by=mine, held=[]) == 1
    assert status(conn, delivery_id) == Status.QUEUED
    assert len(store.leased_rows(conn, other)) == 1


# The clock


def test_what_is_overdue_is_not_made_ready(conn: db.Connection) -> None:
    """It is about to end: a sender that leased it meanwhile would only find that out."""
    delivery_id = put(conn, Status.DEFERRED, expires_at=AGO)

    assert store.promote_due(conn, limit=10) == 0
    assert status(conn, delivery_id) == Status.DEFERRED


def test_what_is_not_due_is_not_made_ready(conn: db.Connection) -> None:
    """Not before its time."""
    put(conn, Status.SCHEDULED, next_attempt_at=LATER)

    assert store.promote_due(conn, limit=10) == 0


def test_only_what_is_due_since_then_is_made_ready(conn: db.Connection) -> None:
    """What lies before was dealt with: it is not read again, but in a sweep."""
    delivery_id = put(conn, Status.DEFERRED, next_attempt_at=AGO)

    assert store.promote_due(conn, limit=10, since=AGO + INSTANT) == 0
    assert store.promote_due(conn, limit=10, since=AGO) == 1
    assert status(conn, delivery_id) == Status.QUEUED


def test_only_leases_that_ended_since_then_are_found(conn: db.Connection) -> None:
    """The earlier ones were taken back."""
    put(conn, Status.SENDING, next_attempt_at=AGO)

    assert store.expired_leases(conn, limit=10, since=AGO + INSTANT) == []
    assert len(store.expired_leases(conn, limit=10, since=AGO)) == 1


def test_only_what_is_overdue_since_then_ends(conn: db.Connection) -> None:
    """What was overdue before has ended."""
    delivery_id = put(conn, Status.QUEUED, expires_at=AGO)

    assert store.expire_overdue(conn, limit=10, since=AGO + INSTANT) == []
    assert len(store.expire_overdue(conn, limit=10, since=AGO)) == 1
    assert status(conn, delivery_id) == Status.FAILED


@pytest.mark.parametrize(
    ("before", "when"),
    [
        (Status.DEFERRED, "next_attempt_at"),
        (Status.SENDING, "next_attempt_at"),
        (Status.QUEUED, "expires_at"),
    ],
)
def test_the_next_time_is_asked_for_between_two_times(
    conn: db.Connection, before: Status, when: str
) -> None:
    """What is later than the longest sleep is nobody's concern yet."""
    put(conn, before, **{when: AGO})
    put(conn, before, **{when: LATER})
    span = LATER - datetime.now(UTC)

    late, now = store.next_due(conn, within=timedelta(0), since=AGO)
    assert late is not None
    assert abs(late - (AGO - now)) < timedelta(seconds=1)
    assert store.next_due(conn, within=span / 2, since=AGO + INSTANT)[0] is None
    later, now = store.next_due(conn, within=span * 2, since=AGO + INSTANT)
    assert later is not None
    assert abs(later - (LATER - now)) < timedelta(seconds=1)


def test_what_does_not_wait_takes_nobodys_place(conn: db.Connection) -> None:
    """A batch is of those that can be made ready: a lease's end is a time, too."""
    put(conn, Status.SENDING, next_attempt_at=AGO)
    put(conn, Status.QUEUED, next_attempt_at=AGO)
    waiting = put(conn, Status.DEFERRED)

    assert store.promote_due(conn, limit=1) == 1
    assert status(conn, waiting) == Status.QUEUED


def test_a_reclaim_that_defers_leaves_recipients_and_earlier_attempts(
    conn: db.Connection,
) -> None:
    """Who was accepted before stays so, who is open will be tried again."""
    delivery_id = several(conn, "accepted", "open")
    add_attempts(conn, delivery_id, "transient_error")
    lease(conn)

    reclaim(conn, delivery_id, Status.DEFERRED)

    after = row(conn, delivery_id)
    assert (after["status"], after["next_attempt_at"]) == (Status.DEFERRED, LATER)
    assert (after["failure"], after["finished_at"]) == (None, None)
    assert recipient_statuses(conn, delivery_id) == ["accepted", "open"]
    assert attempts(conn, delivery_id) == [
        (1, "timed_out", "transient_error"),
        (2, "abandoned", "unknown"),
    ]
    assert letters(conn) == []


def test_a_reclaim_at_the_end_of_the_ladder_closes_who_is_open(conn: db.Connection) -> None:
    """And nobody else; there is one dead letter."""
    delivery_id = several(conn, "accepted", "open")
    lease(conn)

    reclaim(conn, delivery_id, Status.DEAD_LETTER)

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.DEAD_LETTER, "exhausted")
    assert recipient_statuses(conn, delivery_id) == ["accepted", "exhausted"]
    assert letters(conn) == [("exhausted", None)]


def test_a_reclaim_ends_by_the_rule_of_the_recipients(conn: db.Connection) -> None:
    """One was parked as uncertain under an earlier policy: that is what an operator must see."""
    delivery_id = several(conn, "uncertain", "open")
    lease(conn)

    reclaim(conn, delivery_id, Status.DEAD_LETTER)

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.UNCERTAIN, "unknown")
    assert recipient_statuses(conn, delivery_id) == ["uncertain", "exhausted"]
    assert letters(conn) == []


@pytest.mark.parametrize("end", [Status.DEFERRED, Status.DEAD_LETTER])
def test_a_reclaim_honours_a_cancel(conn: db.Connection, end: Status) -> None:
    """It may have gone, and nobody wants it tried again: uncertain, whatever was decided."""
    delivery_id = several(conn, "open")
    lease(conn)
    conn.execute("UPDATE deliveries SET cancel_requested_at = clock_timestamp()")

    reclaim(conn, delivery_id, end)

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.UNCERTAIN, "unknown")
    assert (after["next_attempt_at"], after["finished_at"] is None) == (None, False)
    assert recipient_statuses(conn, delivery_id) == ["uncertain"]
    assert letters(conn) == []


@pytest.mark.parametrize("before", list(Status))
def test_only_what_is_overdue_and_has_no_sender_is_held_to_expire(
    conn: db.Connection, before: Status
) -> None:
    """A running transaction finishes; what has ended has ended."""
    overdue = put(conn, before, expires_at=AGO)
    put(conn, before, expires_at=LATER)
    put(conn, before)

    held = db.run(conn, "hold_overdue", limit=10, since=None)

    assert [found[0] for found in held] == ([overdue] if before in UNLEASED else [])


@pytest.mark.parametrize("before", list(Status))
@pytest.mark.parametrize("expires_at", [AGO, LATER])
def test_only_what_is_overdue_and_has_no_sender_expires(
    conn: db.Connection, before: Status, expires_at: datetime
) -> None:
    """Whatever it was told to end: the guard is in the statement."""
    delivery_id = put(conn, before, expires_at=expires_at)
    was = row(conn, delivery_id)

    db.run(conn, "expire_overdue", delivery_ids=[delivery_id], attempt_nos=[was["attempt_no"]])

    is_moved = before in UNLEASED and expires_at == AGO
    assert (row(conn, delivery_id) != was) == is_moved


def test_an_expiry_closes_who_is_open_and_nobody_else(conn: db.Connection) -> None:
    """Accepted for one, expired for the other: sent, without a dead letter."""
    delivery_id = several(conn, "accepted", "open", expires_at=AGO)

    store.expire_overdue(conn, limit=10)

    assert status(conn, delivery_id) == Status.SENT
    assert recipient_statuses(conn, delivery_id) == ["accepted", "expired"]
    assert letters(conn) == []


# Operators, retention


def test_a_cancel_asks_the_last_attempt_only(conn: db.Connection) -> None:
    """An older doubt was answered by the attempt after it."""
    let_the_oldest_win(conn)
    delivery_id = several(conn, "open")
    add_attempts(conn, delivery_id, "unknown", "transient_error")

    store.cancel(conn, [delivery_id], actor="ada", reason="")

    assert status(conn, delivery_id) == Status.CANCELLED
    assert recipient_statuses(conn, delivery_id) == ["cancelled"]


def test_a_requeue_closes_the_open_dead_letter_and_no_other(conn: db.Connection) -> None:
    """When the earlier ones were closed is history."""
    delivery_id = put(conn, Status.FAILED)
    enter_letter(conn, delivery_id, AGO)
    enter_letter(conn, delivery_id, None)

    store.requeue(conn, [delivery_id], actor="ada", reason="")

    (_, first), (_, second) = letters(conn)
    assert first == AGO
    assert second not in {None, AGO}


def test_what_ended_lately_is_not_deleted(conn: db.Connection) -> None:
    """Only what is older than it is to be kept, and only what has ended."""
    old = put(conn, Status.SENT, finished_at=AGO)
    lately = put(conn, Status.SENT, finished_at=datetime.now(UTC) - timedelta(days=2))
    waiting = put(conn, Status.DEFERRED)

    assert retention.delete_deliveries(conn, keep=timedelta(days=3), limit=10) == 1
    assert [status(conn, found) for found in (old, lately, waiting)] == [
        "(deleted)",
        "sent",
        "deferred",
    ]
