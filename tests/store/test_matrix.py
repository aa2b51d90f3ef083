"""Every statement that moves deliveries, tried on a delivery in every status.

What `MOVES` allows must happen; what it does not allow must leave the row as it is, to the column.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from psycopg.types.json import Jsonb

from mailworkers.adapters import db, store
from mailworkers.adapters.store import retention
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    MOVES,
    AttemptOutcome,
    AttemptStatus,
    Lane,
    RecipientStatus,
    Stage,
    Status,
)
from tests.deliveries import accept, new_delivery, put, recipient_statuses, row

AN_AGE = timedelta(minutes=30)


def _settlement(before: dict[str, Any], status: Status, **changes: Any) -> Settlement:
    """Return what settles *before* into *status*; its token is the row's, or one nobody has."""
    ends = {Status.SENT: RecipientStatus.ACCEPTED, Status.DEFERRED: RecipientStatus.OPEN}
    end = ends.get(status, RecipientStatus.REFUSED)
    values: dict[str, Any] = {
        "delivery_id": before["delivery_id"],
        "lease_token": before["lease_token"] or uuid4(),
        "status": status,
        "failure": None,
        "cancelled_status": Status.CANCELLED,
        "cancelled_failure": None,
        "next_attempt_at": datetime.now(UTC) + AN_AGE if status is Status.DEFERRED else None,
        "is_burnt": True,
        "attempt_status": AttemptStatus.PROVIDER_ACCEPTED,
        "outcome": AttemptOutcome.SUCCESS,
        "stage": Stage.END_OF_DATA,
        "reply_code": 250,
        "enhanced_code": "2.0.0",
        "summary": "ok",
        "relay": "relay:25",
        "recipients": (RecipientEnd(0, end, RecipientStatus.CANCELLED, 250, "2.0.0"),),
    }
    return Settlement(**{**values, **changes})


def _accept(conn: db.Connection, before: dict[str, Any]) -> None:
    accept(conn, new_delivery(delivery_id=before["delivery_id"]))


def _lease_ready(conn: db.Connection, _before: dict[str, Any]) -> None:
    store.lease_ready(
        conn,
        lease_token=uuid4(),
        leased_by=uuid4(),
        lanes=list(Lane),
        after="",
        since={},
        limit=10,
        lease=AN_AGE,
        is_stub=False,
    )


def _settle(conn: db.Connection, before: dict[str, Any]) -> None:
    store.settle(conn, [_settlement(before, Status.SENT)])


def _settle_late(conn: db.Connection, before: dict[str, Any]) -> None:
    token = uuid4()
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
        " lease_token, leased_by, finished_at) VALUES (%s, %s, 0, 'abandoned', 'unknown', %s,"
        " gen_random_uuid(), clock_timestamp()) ON CONFLICT DO NOTHING",
        [before["delivery_id"], before["attempt_no"], token],
    )
    settlement = _settlement({**before, "lease_token": token}, Status.SENT)
    store.settle_late(conn, [settlement])


def _hand_back(conn: db.Connection, before: dict[str, Any]) -> None:
    store.hand_back(conn, leased_by=before["leased_by"] or uuid4(), held=[])


def _promote_due(conn: db.Connection, _before: dict[str, Any]) -> None:
    store.promote_due(conn, limit=10)


def _reclaim(conn: db.Connection, before: dict[str, Any]) -> None:
    token = before["lease_token"] or uuid4()
    later = datetime.now(UTC) + AN_AGE
    store.reclaim(conn, [store.Reclaim(before["delivery_id"], token, Status.DEFERRED, later, None)])


def _expire_overdue(conn: db.Connection, _before: dict[str, Any]) -> None:
    conn.execute("UPDATE deliveries SET expires_at = clock_timestamp() - interval '1 s'")
    store.expire_overdue(conn, limit=10)


def _cancel(conn: db.Connection, before: dict[str, Any]) -> None:
    db.run(conn, "cancel", delivery_ids=[before["delivery_id"]])


def _request_cancel(conn: db.Connection, before: dict[str, Any]) -> None:
    db.run(conn, "request_cancel", delivery_ids=[before["delivery_id"]])


def _requeue(conn: db.Connection, before: dict[str, Any]) -> None:
    db.run(conn, "requeue", delivery_ids=[before["delivery_id"]], expires_at=None)


def _enter_letter(conn: db.Connection, before: dict[str, Any], **columns: Any) -> int:
    found = conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason,"
        " closed_at, replay_id, former) VALUES (%s, 'permanent', 0, 0, '', %s, %s, %s)"
        " RETURNING dead_letter_id",
        [
            before["delivery_id"],
            columns.get("closed_at"),
            columns.get("replay_id"),
            columns.get("former"),
        ],
    ).fetchone()
    assert found is not None
    return int(found[0])


def _replay(conn: db.Connection, before: dict[str, Any]) -> None:
    _enter_letter(conn, before)
    db.run(
        conn,
        "replay",
        replay_id=1,
        delivery_ids=[before["delivery_id"]],
        first_at=datetime.now(UTC),
        gap=timedelta(seconds=1),
        expires_at=None,
    )


def _undo_replay(conn: db.Connection, before: dict[str, Any]) -> None:
    now = datetime.now(UTC)
    facts = {"finished_at": now.isoformat(), "cycle_attempt": 0, "recipients": {"0": "open"}}
    number = _enter_letter(conn, before, closed_at=now, replay_id=1, former=Jsonb(facts))
    db.run(conn, "undo_replay", replay_id=1, dead_letter_ids=[number])


def _delete_deliveries(conn: db.Connection, _before: dict[str, Any]) -> None:
    retention.delete_deliveries(conn, keep=timedelta(0), limit=10)


RUNNERS: dict[str, Callable[[db.Connection, dict[str, Any]], None]] = {
    "accept": _accept,
    "lease_ready": _lease_ready,
    "settle": _settle,
    "settle_late": _settle_late,
    "hand_back": _hand_back,
    "promote_due": _promote_due,
    "reclaim": _reclaim,
    "expire_overdue": _expire_overdue,
    "cancel": _cancel,
    "request_cancel": _request_cancel,
    "requeue": _requeue,
    "replay": _replay,
    "undo_replay": _undo_replay,
    "delete_deliveries": _delete_deliveries,
}


def test_every_moving_statement_is_tried() -> None:
    """A statement added to MOVES gets its row of the matrix."""
    assert set(RUNNERS) == set(MOVES)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("name", list(RUNNERS))
def test_a_statement_moves_only_what_it_may(conn: db.Connection, name: str, status: Status) -> None:
    """Allowed: the row ends in one of the statuses MOVES names. Otherwise: nothing changes."""
    delivery_id = put(conn, status)
    before = row(conn, delivery_id)

    RUNNERS[name](conn, before)

    after = row(conn, delivery_id)
    before["expires_at"] = after.get("expires_at")  # the runner itself sets it for one statement
    if status in MOVES[name].before:
        assert after.get("status", "(deleted)") in MOVES[name].after
    else:
        assert after == before


@pytest.mark.parametrize("name", ["settle", "hand_back", "reclaim"])
def test_a_lease_of_somebody_else_is_left_alone(conn: db.Connection, name: str) -> None:
    """The token, or the holder, proves the lease: with another one nothing moves (I-13)."""
    delivery_id = put(conn, Status.SENDING)
    before = row(conn, delivery_id)

    RUNNERS[name](conn, {**before, "lease_token": uuid4(), "leased_by": uuid4()})

    assert row(conn, delivery_id) == before


def test_a_lease_that_has_not_ended_is_not_reclaimed(conn: db.Connection) -> None:
    """The guard is in the statement: reading early and writing late takes nothing away."""
    later = datetime.now(UTC) + AN_AGE
    delivery_id = put(conn, Status.SENDING, next_attempt_at=later)
    before = row(conn, delivery_id)

    _reclaim(conn, before)

    assert row(conn, delivery_id) == before


@pytest.mark.parametrize("status", [s for s in Status if s in MOVES["settle"].after])
def test_settle_reaches_every_status_it_names(conn: db.Connection, status: Status) -> None:
    """Each end the header names satisfies the schema's constraints and closes the attempt."""
    mode = "template" if status is Status.RENDERED else "rendered"
    delivery_id = put(conn, Status.SENDING, payload_mode=mode)

    settled = store.settle(conn, [_settlement(row(conn, delivery_id), status)])

    assert settled[delivery_id].status == status
    after = row(conn, delivery_id)
    assert (after["status"], after["lease_token"], after["leased_by"]) == (status, None, None)


@pytest.mark.parametrize("status", [Status.DEFERRED, Status.QUEUED])
def test_a_cancel_that_came_while_sending_turns_a_retry_into_cancelled(
    conn: db.Connection, status: Status
) -> None:
    """If it was sent it stays sent; any retry becomes cancelled (contract section 3)."""
    delivery_id = put(conn, Status.SENDING, cancel_requested_at=datetime.now(UTC))

    store.settle(conn, [_settlement(row(conn, delivery_id), status)])

    assert row(conn, delivery_id)["status"] == Status.CANCELLED


def test_dead_letters_and_ended_deliveries_match_in_both_directions(conn: db.Connection) -> None:
    """Each failed or dead-lettered delivery has one open entry, and no entry stands alone."""
    for status, failure in (
        (Status.FAILED, "rejected"),
        (Status.FAILED, "expired"),
        (Status.FAILED, "poison"),
        (Status.DEAD_LETTER, "exhausted"),
        (Status.SENT, None),
    ):
        delivery_id = put(conn, Status.SENDING)
        store.settle(conn, [_settlement(row(conn, delivery_id), status, failure=failure)])

    causes = conn.execute("SELECT cause FROM dead_letters ORDER BY dead_letter_id").fetchall()
    lonely = conn.execute(
        "SELECT count(*) FROM deliveries d FULL JOIN dead_letters l USING (delivery_id)"
        " WHERE (d.status IN ('failed', 'dead_letter')) IS DISTINCT FROM"
        "       (l.dead_letter_id IS NOT NULL)"
        "   AND (l.dead_letter_id IS NOT NULL OR d.status IN ('failed', 'dead_letter'))"
    ).fetchone()

    assert [cause for (cause,) in causes] == ["permanent", "expired", "poison", "exhausted"]
    assert lonely == (0,)


def _unknown(conn: db.Connection, delivery_id: UUID) -> tuple[Any, ...] | None:
    return conn.execute(
        "SELECT status, outcome FROM attempts WHERE delivery_id = %s", [delivery_id]
    ).fetchone()


def test_reclaiming_closes_the_attempt_as_abandoned(conn: db.Connection) -> None:
    """Whether the message went is not known, and the attempt says so."""
    delivery_id = put(conn, Status.SENDING)

    _reclaim(conn, row(conn, delivery_id))

    assert _unknown(conn, delivery_id) == ("abandoned", "unknown")
    assert row(conn, delivery_id)["status"] == Status.DEFERRED


def test_handing_back_leaves_no_trace_of_the_lease(conn: db.Connection) -> None:
    """The attempt row is gone and the counters are as before: nothing was tried."""
    delivery_id = put(conn, Status.SENDING)

    _hand_back(conn, row(conn, delivery_id))

    after = row(conn, delivery_id)
    assert (after["status"], after["attempt_no"], after["cycle_attempt"]) == ("queued", 0, 0)
    assert _unknown(conn, delivery_id) is None


def test_handing_back_keeps_what_the_holder_names(conn: db.Connection) -> None:
    """A row in the middle of its attempt stays leased."""
    delivery_id = put(conn, Status.SENDING)
    before = row(conn, delivery_id)

    store.hand_back(conn, leased_by=before["leased_by"], held=[delivery_id])

    assert row(conn, delivery_id) == before


def test_a_late_outcome_holds_if_nothing_has_followed(conn: db.Connection) -> None:
    """Taken back as unknown, known after all: sent, the attempt corrected, the letter closed."""
    delivery_id = put(conn, Status.SENDING)
    before = row(conn, delivery_id)
    store.reclaim(
        conn,
        [store.Reclaim(delivery_id, before["lease_token"], Status.DEAD_LETTER, None, "exhausted")],
    )

    rows = store.settle_late(conn, [_settlement(before, Status.SENT)])

    assert rows[delivery_id].status == Status.SENT
    assert row(conn, delivery_id)["status"] == Status.SENT
    assert _unknown(conn, delivery_id) == ("provider_accepted", "success")
    assert conn.execute("SELECT closed_at IS NOT NULL FROM dead_letters").fetchall() == [(True,)]


def test_a_late_outcome_changes_nothing_once_another_attempt_has_begun(
    conn: db.Connection,
) -> None:
    """It is only recorded by whoever asks: the row belongs to its new holder (I-13)."""
    delivery_id = put(conn, Status.SENDING)
    before = row(conn, delivery_id)
    _reclaim(conn, before)
    conn.execute("UPDATE deliveries SET next_attempt_at = clock_timestamp()")
    store.promote_due(conn, limit=1)
    _lease_ready(conn, before)
    leased_again = row(conn, delivery_id)

    rows = store.settle_late(conn, [_settlement(before, Status.SENT)])

    assert rows == {}
    assert row(conn, delivery_id) == leased_again


def test_a_late_deferral_corrects_only_the_attempt(conn: db.Connection) -> None:
    """It was not sent after all; when to try again is decided already."""
    delivery_id = put(conn, Status.SENDING)
    before = row(conn, delivery_id)
    _reclaim(conn, before)
    deferred = row(conn, delivery_id)
    late = _settlement(
        before,
        Status.DEFERRED,
        attempt_status=AttemptStatus.PROVIDER_DEFERRED,
        outcome=AttemptOutcome.TRANSIENT_ERROR,
    )

    rows = store.settle_late(conn, [late])

    assert rows[delivery_id].status == ""
    assert row(conn, delivery_id) == deferred
    assert _unknown(conn, delivery_id) == ("provider_deferred", "transient_error")


def test_a_late_partial_acceptance_is_not_sent_again(conn: db.Connection) -> None:
    """The delivery goes on for whoever is open; whoever has the mail is closed."""
    new = new_delivery("has@example.com", "later@example.com")
    accept(conn, new)
    token = uuid4()
    store.lease_ready(
        conn,
        lease_token=token,
        leased_by=uuid4(),
        lanes=list(Lane),
        after="",
        since={},
        limit=1,
        lease=timedelta(seconds=-1),
        is_stub=False,
    )
    before = row(conn, new.delivery_id)
    _reclaim(conn, before)
    ends = (
        RecipientEnd(0, RecipientStatus.ACCEPTED, RecipientStatus.ACCEPTED, 250, None),
        RecipientEnd(1, RecipientStatus.OPEN, RecipientStatus.CANCELLED, 451, None),
    )

    store.settle_late(conn, [_settlement(before, Status.DEFERRED, recipients=ends)])

    assert recipient_statuses(conn, new.delivery_id) == ["accepted", "open"]
    assert row(conn, new.delivery_id)["status"] == Status.DEFERRED
