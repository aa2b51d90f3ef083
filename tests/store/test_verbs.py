"""Cancel and requeue against whatever else happens to the same delivery."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.store import Effect, Hindrance
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    FINAL,
    REQUEUEABLE,
    UNLEASED,
    AttemptOutcome,
    AttemptStatus,
    Failure,
    Lane,
    RecipientStatus,
    Stage,
    Status,
    closing_status,
)
from tests.deliveries import accept, new_delivery, put, recipient_statuses, row, status
from tests.eventually import eventually

LATER = datetime(2099, 1, 1, tzinfo=UTC)
AGO = datetime(2026, 1, 1, tzinfo=UTC)


def cancel(conn: db.Connection, delivery_id: UUID) -> Effect:
    """Cancel one delivery that exists."""
    return store.cancel(conn, [delivery_id], actor="ada", reason="sent by mistake")[delivery_id]


def requeue(conn: db.Connection, delivery_id: UUID, **options: Any) -> Effect:
    """Requeue one delivery that exists."""
    effects = store.requeue(conn, [delivery_id], actor="ada", reason="relay is back", **options)
    return effects[delivery_id]


def lease(conn: db.Connection, leased_by: UUID | None = None) -> list[store.Leased]:
    """Lease what is ready."""
    return store.lease_ready(
        conn,
        lease_token=uuid4(),
        leased_by=leased_by or uuid4(),
        lanes=list(Lane),
        after="",
        since={},
        limit=10,
        lease=timedelta(minutes=3),
        is_stub=False,
    )


_END_OF = {
    Status.SENT: "accepted",
    Status.FAILED: "refused",
    Status.DEFERRED: "open",
    Status.QUEUED: "open",
}


def settlement(
    before: dict[str, Any], end: Status, *, failure: str | None = None, statuses: Any = ()
) -> Settlement:
    """Return what settles *before* into *end*; *statuses* are those of its recipients."""
    recipients = []
    for ordinal, word in enumerate(statuses or (_END_OF[end],)):
        is_open = word == "open"
        cancelled = RecipientStatus("cancelled" if is_open else word)
        recipients.append(RecipientEnd(ordinal, RecipientStatus(word), cancelled, 250, None))
    return Settlement(
        delivery_id=before["delivery_id"],
        lease_token=before["lease_token"] or uuid4(),
        status=end,
        failure=Failure(failure) if failure else None,
        cancelled_status=closing_status(found.cancelled_status for found in recipients),
        cancelled_failure=None,
        next_attempt_at=LATER if end is Status.DEFERRED else None,
        is_burnt=True,
        attempt_status=AttemptStatus.PROVIDER_ACCEPTED,
        outcome=AttemptOutcome.SUCCESS,
        stage=Stage.END_OF_DATA,
        reply_code=250,
        enhanced_code=None,
        summary="ok",
        relay="relay:25",
        recipients=tuple(recipients),
    )


def close_recipients(conn: db.Connection, delivery_id: UUID, *statuses: str) -> None:
    """Give the recipients of a delivery these statuses, in order."""
    for ordinal, word in enumerate(statuses):
        conn.execute(
            "UPDATE delivery_recipients SET status = %s WHERE delivery_id = %s AND ordinal = %s",
            [word, delivery_id, ordinal],
        )


def put_with(conn: db.Connection, end: Status, *recipients: str) -> UUID:
    """Put a delivery in status *end* whose recipients have these statuses."""
    new = new_delivery(*(f"person{n}@example.com" for n in range(len(recipients))))
    accept(conn, new)
    conn.execute(
        "UPDATE deliveries SET status = %s, ready_at = NULL, finished_at = %s, attempt_no = 3,"
        " next_attempt_at = %s, cycle_attempt = 3 WHERE delivery_id = %s",
        [end, AGO if end in FINAL else None, LATER, new.delivery_id],
    )
    close_recipients(conn, new.delivery_id, *recipients)
    return new.delivery_id


def add_attempt(conn: db.Connection, delivery_id: UUID, number: int, outcome: str) -> None:
    """Add a closed attempt."""
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
        " lease_token, leased_by, finished_at) VALUES (%s, %s, %s, 'timed_out', %s,"
        " gen_random_uuid(), gen_random_uuid(), clock_timestamp())",
        [delivery_id, number, number, outcome],
    )


def enter_dead_letter(conn: db.Connection, delivery_id: UUID) -> None:
    """Give a delivery its open dead-letter entry."""
    conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)"
        " VALUES (%s, 'permanent', 1, 1, 'no such user')",
        [delivery_id],
    )


def trail(conn: db.Connection) -> list[tuple[Any, ...]]:
    """Return the audit trail: who, what, to what, why."""
    return conn.execute(
        "SELECT actor, action, subject, reason FROM operator_actions ORDER BY action_id"
    ).fetchall()


# Cancel


@pytest.mark.parametrize("waiting", sorted(UNLEASED))
def test_a_cancel_ends_what_no_sender_has(conn: db.Connection, waiting: Status) -> None:
    """It and its recipients are cancelled, and the trail says who did it and why."""
    delivery_id = put(conn, waiting)

    effect = cancel(conn, delivery_id)

    assert (effect.before.status, effect.after.status, effect.hindrance) == (
        waiting,
        Status.CANCELLED,
        None,
    )
    assert recipient_statuses(conn, delivery_id) == ["cancelled"]
    assert trail(conn) == [("ada", "cancel", f"delivery {delivery_id}", "sent by mistake")]
    ((before, after),) = conn.execute("SELECT before, after FROM operator_actions").fetchall()
    assert (before["status"], after["status"]) == (waiting, "cancelled")
    assert lease(conn) == []


def test_a_cancel_after_an_attempt_nobody_knows_about_is_uncertain(conn: db.Connection) -> None:
    """The last attempt may have arrived: to call that withdrawn would be a lie."""
    delivery_id = put(conn, Status.DEFERRED, attempt_no=2, cycle_attempt=2)
    add_attempt(conn, delivery_id, 1, "transient_error")
    add_attempt(conn, delivery_id, 2, "unknown")

    cancel(conn, delivery_id)

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.UNCERTAIN, "unknown")
    assert recipient_statuses(conn, delivery_id) == ["uncertain"]


@pytest.mark.parametrize(
    ("others", "end", "failure", "cause"),
    [
        ("accepted", Status.SENT, None, []),
        ("refused", Status.FAILED, "rejected", [("permanent",)]),
        ("exhausted", Status.DEAD_LETTER, "exhausted", [("exhausted",)]),
        ("suppressed", Status.CANCELLED, None, []),
    ],
)
def test_recipients_that_ended_before_have_their_say(
    conn: db.Connection, others: str, end: Status, failure: str | None, cause: list[Any]
) -> None:
    """Cancel closes only open recipients, then the recipients' rule holds."""
    delivery_id = put_with(conn, Status.DEFERRED, others, "open")

    effect = cancel(conn, delivery_id)

    assert (effect.after.status, effect.after.failure) == (end, failure)
    assert recipient_statuses(conn, delivery_id) == [others, "cancelled"]
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == cause


@pytest.mark.parametrize("end", sorted(FINAL))
def test_a_cancel_leaves_what_has_ended(conn: db.Connection, end: Status) -> None:
    """The answer names the status; to cancel what is cancelled is no error, and no change."""
    delivery_id = put(conn, end)
    before = row(conn, delivery_id)

    effect = cancel(conn, delivery_id)

    assert row(conn, delivery_id) == before
    assert effect.hindrance == (None if end is Status.CANCELLED else Hindrance.ENDED)
    assert end is Status.CANCELLED or f"it is {end}" in effect.explanation
    assert trail(conn) == []


def test_a_cancel_while_sending_is_pending_and_asking_again_changes_nothing(
    conn: db.Connection,
) -> None:
    """The lease stays with its sender; one line in the trail."""
    delivery_id = put(conn, Status.SENDING)
    token = row(conn, delivery_id)["lease_token"]

    first, second = cancel(conn, delivery_id), cancel(conn, delivery_id)

    assert first.is_pending
    assert second.is_pending
    assert not second.is_change
    assert row(conn, delivery_id)["lease_token"] == token
    assert len(trail(conn)) == 1


@pytest.mark.parametrize(
    ("outcome", "end"),
    [
        (Status.SENT, Status.SENT),
        (Status.DEFERRED, Status.CANCELLED),
        (Status.QUEUED, Status.CANCELLED),
    ],
)
def test_a_cancel_loses_to_a_running_attempt_that_is_accepted_and_wins_over_its_retry(
    conn: db.Connection, outcome: Status, end: Status
) -> None:
    """If it was sent it stays sent; any retry becomes cancelled (contract section 3)."""
    delivery_id = put(conn, Status.SENDING)
    before = row(conn, delivery_id)
    cancel(conn, delivery_id)

    store.settle(conn, [settlement(before, outcome)])

    assert status(conn, delivery_id) == end


def test_a_cancel_before_the_lease_wins(conn: db.Connection) -> None:
    """The sender finds nothing; a settle with any token moves nothing."""
    delivery_id = put(conn, Status.QUEUED)
    cancel(conn, delivery_id)
    cancelled = row(conn, delivery_id)

    assert lease(conn) == []
    assert store.settle(conn, [settlement(cancelled, Status.SENT)]) == {}
    assert row(conn, delivery_id) == cancelled


@pytest.mark.parametrize(
    ("outcome", "end"), [("transient_error", Status.CANCELLED), ("unknown", Status.UNCERTAIN)]
)
def test_a_pending_cancel_is_honoured_when_the_sender_hands_back(
    conn: db.Connection, outcome: str, end: Status
) -> None:
    """This attempt did not go; the one before may have."""
    holder = uuid4()
    delivery_id = put(conn, Status.QUEUED, attempt_no=1, cycle_attempt=1)
    add_attempt(conn, delivery_id, 1, outcome)
    lease(conn, holder)
    cancel(conn, delivery_id)

    store.hand_back(conn, leased_by=holder, held=[])

    assert status(conn, delivery_id) == end
    assert recipient_statuses(conn, delivery_id) == [str(end)]
    assert row(conn, delivery_id)["attempt_no"] == 1


def test_a_batch_is_cancelled_each_for_itself(conn: db.Connection) -> None:
    """Waiting, leased, ended and unknown ones; twice the same is once."""
    waiting, leased, ended = (put(conn, s) for s in (Status.SCHEDULED, Status.SENDING, Status.SENT))

    effects = store.cancel(
        conn, [waiting, leased, ended, uuid4(), waiting], actor="ada", reason="all of it"
    )

    assert effects.keys() == {waiting, leased, ended}
    assert effects[waiting].after.status == Status.CANCELLED
    assert effects[leased].is_pending
    assert effects[ended].hindrance is Hindrance.ENDED
    assert len(trail(conn)) == 2


# Requeue


@pytest.mark.parametrize(
    ("end", "before", "after"),
    [
        (
            Status.FAILED,
            ("accepted", "refused", "suppressed"),
            ["accepted", "open", "suppressed"],
        ),
        (Status.FAILED, ("expired", "refused", "cancelled"), ["open", "open", "cancelled"]),
        (
            Status.DEAD_LETTER,
            ("exhausted", "accepted", "refused"),
            ["open", "accepted", "refused"],
        ),
        (
            Status.UNCERTAIN,
            ("uncertain", "exhausted", "refused"),
            ["open", "exhausted", "refused"],
        ),
    ],
)
def test_a_requeue_tries_only_the_recipients_that_gave_the_status(
    conn: db.Connection, end: Status, before: tuple[str, ...], after: list[str]
) -> None:
    """Nobody gets a second copy of what was accepted (contract section 3)."""
    delivery_id = put_with(conn, end, *before)

    effect = requeue(conn, delivery_id)

    assert (effect.hindrance, effect.after.status) == (None, Status.QUEUED)
    assert recipient_statuses(conn, delivery_id) == after
    (leased,) = lease(conn)
    assert leased.ordinals == [n for n, word in enumerate(after) if word == "open"]
    assert (leased.cycle_attempt, leased.attempt_no) == (1, 4)


@pytest.mark.parametrize("mode", ["rendered", "template"])
def test_a_requeue_begins_a_new_cycle_with_nothing_left_of_the_old_one(
    conn: db.Connection, mode: str
) -> None:
    """Ready at once; no failure, end or cancel; the dead letter closed, the trail written."""
    delivery_id = put(
        conn,
        Status.DEAD_LETTER,
        payload_mode=mode,
        attempt_no=9,
        cycle_attempt=9,
        failure="exhausted",
        cancel_requested_at=AGO,
    )
    enter_dead_letter(conn, delivery_id)

    requeue(conn, delivery_id)

    after = row(conn, delivery_id)
    assert after["status"] == ("queued" if mode == "rendered" else "rendered")
    assert (after["cycle_attempt"], after["attempt_no"]) == (0, 9)
    for gone in ("failure", "finished_at", "cancel_requested_at", "next_attempt_at"):
        assert after[gone] is None
    assert conn.execute("SELECT closed_at IS NOT NULL FROM dead_letters").fetchall() == [(True,)]
    assert trail(conn) == [("ada", "requeue", f"delivery {delivery_id}", "relay is back")]


def test_a_requeued_delivery_that_fails_again_gets_a_new_entry(conn: db.Connection) -> None:
    """One entry for each time it ended, one open at most."""
    delivery_id = put(conn, Status.FAILED)
    enter_dead_letter(conn, delivery_id)
    requeue(conn, delivery_id)
    lease(conn)

    store.settle(conn, [settlement(row(conn, delivery_id), Status.FAILED, failure="rejected")])

    entries = conn.execute("SELECT closed_at IS NULL FROM dead_letters ORDER BY dead_letter_id")
    assert entries.fetchall() == [(False,), (True,)]


@pytest.mark.parametrize("others", [Status.SENDING, *sorted(UNLEASED | FINAL - REQUEUEABLE)])
def test_only_what_is_in_trouble_is_requeued(conn: db.Connection, others: Status) -> None:
    """What lives is tried anyway; what was sent, suppressed or withdrawn is not sent again."""
    delivery_id = put(conn, others)
    before = row(conn, delivery_id)

    effect = requeue(conn, delivery_id)

    assert effect.hindrance is Hindrance.NOT_IN_TROUBLE
    assert f"it is {others}" in effect.explanation
    assert row(conn, delivery_id) == before
    assert trail(conn) == []


@pytest.mark.parametrize(
    ("columns", "options", "hindrance"),
    [
        ({"lane": 0}, {}, Hindrance.AUTH),
        ({"lane": 0, "expires_at": AGO}, {"expires_at": LATER}, Hindrance.AUTH),
        ({"expires_at": AGO}, {}, Hindrance.EXPIRED),
        ({"expires_at": AGO}, {"expires_at": AGO}, Hindrance.EXPIRED),
        ({}, {"expires_at": AGO}, Hindrance.EXPIRED),
        ({"expires_at": AGO}, {"expires_at": LATER}, None),
        ({"expires_at": LATER}, {}, None),
    ],
)
def test_a_requeue_is_refused_with_the_reason(
    conn: db.Connection,
    columns: dict[str, Any],
    options: dict[str, Any],
    hindrance: Hindrance | None,
) -> None:
    """Auth mail always; past its expires_at unless a new one is given."""
    delivery_id = put(conn, Status.FAILED, **columns)
    before = row(conn, delivery_id)

    effect = requeue(conn, delivery_id, **options)

    assert effect.hindrance is hindrance
    if hindrance is None:
        assert row(conn, delivery_id)["expires_at"] == LATER
    else:
        assert effect.explanation
        assert row(conn, delivery_id) == before


def test_mail_without_its_bytes_is_not_requeued(conn: db.Connection) -> None:
    """There is nothing left to send."""
    delivery_id = put(conn, Status.UNCERTAIN)
    conn.execute("DELETE FROM delivery_payloads")

    assert requeue(conn, delivery_id).hindrance is Hindrance.CONTENT_DELETED
    assert status(conn, delivery_id) == Status.UNCERTAIN


def test_the_last_recipient_listed_since_ends_with_what_the_others_were(
    conn: db.Connection,
) -> None:
    """After a requeue others may be exhausted: the lease enters the dead letter for it."""
    delivery_id = put_with(conn, Status.UNCERTAIN, "uncertain", "exhausted")
    requeue(conn, delivery_id)
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('person0@example.com', 'complaint', 'ada')"
    )

    (ended,) = lease(conn)

    assert (ended.status, ended.failure) == (Status.DEAD_LETTER, "exhausted")
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == [("exhausted",)]


# Two at once


def waits(conn: db.Connection, verb: Callable[[], object]) -> Future[Any]:
    """Start *verb* in a thread and return when it waits for a lock."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(verb)
    pool.shutdown(wait=False)
    eventually(
        lambda: conn.execute(
            "SELECT 1 FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    )
    return future


def test_of_two_requeues_at_once_one_wins(conn: db.Connection, database: str) -> None:
    """The other is told that it is queued; one line in the trail."""
    delivery_id = put(conn, Status.FAILED)
    gate = threading.Barrier(2)

    def verb() -> Effect:
        with db.connect(database) as own:
            gate.wait()
            return requeue(own, delivery_id)

    with ThreadPoolExecutor(2) as pool:
        effects = [future.result() for future in [pool.submit(verb), pool.submit(verb)]]

    assert sorted(effect.hindrance or "" for effect in effects) == ["", Hindrance.NOT_IN_TROUBLE]
    assert len(trail(conn)) == 1


def test_a_cancel_that_waited_for_a_settle_sees_all_of_it(
    conn: db.Connection, database: str
) -> None:
    """One recipient was accepted meanwhile: it ends `sent`, not `cancelled`."""
    new = new_delivery("ada@example.com", "bob@example.com")
    delivery_id = new.delivery_id
    accept(conn, new)
    lease(conn)
    before = row(conn, delivery_id)

    def verb() -> Effect:
        with db.connect(database) as own:
            return cancel(own, delivery_id)

    with db.connect(database) as sender:
        with sender.transaction():
            settled = settlement(before, Status.DEFERRED, statuses=("accepted", "open"))
            store.settle(sender, [settled])
            future = waits(conn, verb)
        effect = future.result()

    assert effect.before.status == Status.DEFERRED
    assert status(conn, delivery_id) == Status.SENT
    assert recipient_statuses(conn, delivery_id) == ["accepted", "cancelled"]


def test_a_batch_never_waits_with_locks_in_hand(conn: db.Connection, database: str) -> None:
    """What somebody has locked follows after the rest has been committed."""
    first, second = put(conn, Status.SENDING), put(conn, Status.QUEUED)
    before = row(conn, first)

    def verb() -> dict[UUID, Effect]:
        with db.connect(database) as own:
            return store.cancel(own, [first, second], actor="ada", reason="both")

    with db.connect(database) as sender:
        with sender.transaction():
            store.settle(sender, [settlement(before, Status.SENT)])
            future = waits(conn, verb)
            rest = status(conn, second)
        effects = future.result()

    assert rest == Status.CANCELLED
    assert effects[first].hindrance is Hindrance.ENDED
    assert status(conn, first) == Status.SENT
