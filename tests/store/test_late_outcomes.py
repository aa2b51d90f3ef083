"""Late outcomes: what became known after a lease was taken back, and when it still counts."""

from uuid import uuid4

import pytest

from mailworkers.adapters import db, store
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Failure, Status
from tests.deliveries import attempts, recipient_statuses, row, status
from tests.store.situations import (
    AGO,
    REFUSED,
    SUCCESS,
    enter_letter,
    lease,
    letters,
    make_ready,
    reclaimed,
    settlement,
    several,
)


def test_it_does_not_hold_once_another_attempt_has_ended(conn: db.Connection) -> None:
    """Deferred again, by the attempt after it: the row is not about this one any more."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    make_ready(conn)
    reclaimed(conn, delivery_id, Status.DEFERRED)
    before = row(conn, delivery_id)

    assert store.settle_late(conn, [settlement(first, Status.SENT, "accepted", **SUCCESS)]) == {}
    assert row(conn, delivery_id) == before
    assert recipient_statuses(conn, delivery_id) == ["open"]


def test_it_does_not_hold_for_a_lease_that_was_somebody_elses(conn: db.Connection) -> None:
    """The token of the attempt proves whose it was."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    before = row(conn, delivery_id)
    stranger = {**first, "lease_token": uuid4()}

    assert store.settle_late(conn, [settlement(stranger, Status.SENT, "accepted", **SUCCESS)]) == {}
    assert row(conn, delivery_id) == before


@pytest.mark.parametrize(
    ("attempt_status", "outcome"),
    [
        (AttemptStatus.ABANDONED, AttemptOutcome.TRANSIENT_ERROR),
        (AttemptStatus.ABANDONED, AttemptOutcome.PERMANENT_ERROR),
        (AttemptStatus.TIMED_OUT, AttemptOutcome.UNKNOWN),
    ],
)
def test_what_was_recorded_in_time_is_not_recorded_again(
    conn: db.Connection, attempt_status: AttemptStatus, outcome: AttemptOutcome
) -> None:
    """The answer was lost, or the sender died before `settled`: an operator's order stands."""
    delivery_id = several(conn, "open")
    lease(conn)
    ended = settlement(
        row(conn, delivery_id),
        Status.FAILED,
        "refused",
        failure=Failure.POISON,
        attempt_status=attempt_status,
        outcome=outcome,
    )
    store.settle(conn, [ended])
    store.requeue(conn, [delivery_id], actor="ada", reason="try again")
    before = row(conn, delivery_id)

    assert store.settle_late(conn, [ended]) == {}
    assert row(conn, delivery_id) == before
    assert recipient_statuses(conn, delivery_id) == ["open"]


def test_what_was_sent_stays_as_it_is(conn: db.Connection) -> None:
    """No way of ours leads there today; whatever did, `sent` is not said twice."""
    delivery_id = several(conn, "accepted", "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    conn.execute("UPDATE delivery_recipients SET status = 'suppressed' WHERE status = 'open'")
    conn.execute(
        "UPDATE deliveries SET status = 'sent', next_attempt_at = NULL,"
        " finished_at = clock_timestamp()"
    )
    before = row(conn, delivery_id)
    late = settlement(first, Status.SENT, "accepted", "accepted", **SUCCESS)

    assert store.settle_late(conn, [late]) == {}
    assert row(conn, delivery_id) == before
    assert recipient_statuses(conn, delivery_id) == ["accepted", "suppressed"]
    assert attempts(conn, delivery_id) == [(1, "abandoned", "unknown")]


def test_one_that_was_listed_meanwhile_is_told_sent_after_all(conn: db.Connection) -> None:
    """The lease left it uncertain: the answer that was found settles the doubt."""
    delivery_id = several(conn, "accepted", "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    make_ready(conn)
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('person1@example.com', 'complaint', 'test')"
    )
    lease(conn)
    assert status(conn, delivery_id) == Status.UNCERTAIN
    late = settlement(first, Status.SENT, "accepted", "accepted", **SUCCESS)

    assert list(store.settle_late(conn, [late])) == [delivery_id]
    assert status(conn, delivery_id) == Status.SENT
    assert recipient_statuses(conn, delivery_id) == ["accepted", "accepted"]


def test_one_that_says_sent_ends_what_was_ready_again(conn: db.Connection) -> None:
    """It is in nobody's queue any more."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    make_ready(conn)

    store.settle_late(conn, [settlement(first, Status.SENT, "accepted", **SUCCESS)])

    after = row(conn, delivery_id)
    assert (after["status"], after["ready_at"], after["next_attempt_at"]) == ("sent", None, None)
    assert letters(conn) == []
    assert lease(conn) == []


def test_one_that_says_for_whom_is_a_change_of_what_is_ready(conn: db.Connection) -> None:
    """A lease that has begun to read must see that somebody was served: `ready_at` is anew."""
    delivery_id = several(conn, "open", "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    make_ready(conn)
    before = row(conn, delivery_id)["ready_at"]

    late = settlement(first, Status.DEFERRED, "accepted", "open", **SUCCESS)
    store.settle_late(conn, [late])

    assert row(conn, delivery_id)["ready_at"] > before
    assert [leased.ordinals for leased in lease(conn)] == [[1]]


def test_one_that_says_deferred_reopens_nobody(conn: db.Connection) -> None:
    """The delivery has ended: who has it is known better, who is uncertain stays so."""
    delivery_id = several(conn, "open", "open")
    first = reclaimed(conn, delivery_id, Status.UNCERTAIN)

    late = settlement(first, Status.DEFERRED, "accepted", "open", **SUCCESS)
    store.settle_late(conn, [late])

    assert status(conn, delivery_id) == Status.UNCERTAIN
    assert recipient_statuses(conn, delivery_id) == ["accepted", "uncertain"]
    assert row(conn, delivery_id)["ready_at"] is None


def test_one_that_says_refused_leaves_one_open_dead_letter(conn: db.Connection) -> None:
    """It had one for being exhausted; that it is `failed` now needs no second."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.DEAD_LETTER)

    store.settle_late(conn, [settlement(first, Status.FAILED, "refused", **REFUSED)])

    assert status(conn, delivery_id) == Status.FAILED
    assert letters(conn) == [("exhausted", None)]


def test_one_that_says_refused_enters_the_dead_letter_that_was_missing(
    conn: db.Connection,
) -> None:
    """Deferred rows have none."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)

    store.settle_late(conn, [settlement(first, Status.FAILED, "refused", **REFUSED)])

    assert letters(conn) == [("permanent", None)]


def test_one_that_says_sent_closes_the_open_dead_letter_and_no_other(
    conn: db.Connection,
) -> None:
    """When the earlier ones were closed is history; no new one is entered."""
    delivery_id = several(conn, "open")
    enter_letter(conn, delivery_id, AGO)
    first = reclaimed(conn, delivery_id, Status.DEAD_LETTER)

    store.settle_late(conn, [settlement(first, Status.SENT, "accepted", **SUCCESS)])

    (_, before), (_, after) = letters(conn)
    assert before == AGO
    assert after not in {None, AGO}
    assert attempts(conn, delivery_id) == [(1, "provider_accepted", "success")]
