"""Deliveries in a situation: leased, tried before, reclaimed, with dead letters, for several."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from mailworkers.adapters import store
from mailworkers.adapters.db import Connection
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Failure,
    Lane,
    RecipientStatus,
    Stage,
    Status,
)
from tests.deliveries import accept, new_delivery, row

AGO = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2099, 1, 1, tzinfo=UTC)
# Changes of a settlement that say what the relay said.
SUCCESS = {
    "attempt_status": AttemptStatus.PROVIDER_ACCEPTED,
    "outcome": AttemptOutcome.SUCCESS,
    "reply_code": 250,
}
REFUSED = {
    "attempt_status": AttemptStatus.PROVIDER_REJECTED,
    "outcome": AttemptOutcome.PERMANENT_ERROR,
    "failure": Failure.REJECTED,
    "reply_code": 550,
}


def lease(conn: Connection, leased_by: UUID | None = None) -> list[store.Leased]:
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


def settlement(before: dict[str, Any], end: Status, *words: str, **changes: Any) -> Settlement:
    """Return what settles *before* into *end*; *words* are what its recipients become."""
    values: dict[str, Any] = {
        "delivery_id": before["delivery_id"],
        "lease_token": before["lease_token"],
        "status": end,
        "failure": None,
        "cancelled_status": Status.CANCELLED,
        "cancelled_failure": None,
        "next_attempt_at": LATER if end is Status.DEFERRED else None,
        "is_burnt": True,
        "attempt_status": AttemptStatus.PROVIDER_DEFERRED,
        "outcome": AttemptOutcome.TRANSIENT_ERROR,
        "stage": Stage.END_OF_DATA,
        "reply_code": 451,
        "enhanced_code": None,
        "summary": "later",
        "relay": "relay:25",
        "recipients": tuple(
            RecipientEnd(n, RecipientStatus(word), _cancelled(word), 451, None)
            for n, word in enumerate(words)
        ),
    }
    return Settlement(**{**values, **changes})


def _cancelled(word: str) -> RecipientStatus:
    return RecipientStatus.CANCELLED if word == "open" else RecipientStatus(word)


def several(conn: Connection, *statuses: str, **columns: Any) -> UUID:
    """Accept a delivery for as many as there are *statuses*, and give them those."""
    new = new_delivery(*(f"person{n}@example.com" for n in range(len(statuses))))
    accept(conn, new)
    for ordinal, word in enumerate(statuses):
        conn.execute(
            "UPDATE delivery_recipients SET status = %s WHERE delivery_id = %s AND ordinal = %s",
            [word, new.delivery_id, ordinal],
        )
    for name, value in columns.items():
        conn.execute(
            f"UPDATE deliveries SET {name} = %s WHERE delivery_id = %s",  # noqa: S608
            [value, new.delivery_id],
        )
    return new.delivery_id


def add_attempts(conn: Connection, delivery_id: UUID, *outcomes: str) -> None:
    """Add closed attempts with these outcomes, and count them."""
    for number, outcome in enumerate(outcomes, 1):
        conn.execute(
            "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
            " lease_token, leased_by, finished_at) VALUES (%s, %s, %s, 'timed_out', %s,"
            " gen_random_uuid(), gen_random_uuid(), clock_timestamp())",
            [delivery_id, number, number, outcome],
        )
    conn.execute(
        "UPDATE deliveries SET attempt_no = %s, cycle_attempt = %s WHERE delivery_id = %s",
        [len(outcomes), len(outcomes), delivery_id],
    )


def let_the_oldest_win(conn: Connection) -> None:
    """Let an UPDATE that wrongly finds several attempts take the first, whatever is planned.

    With a hash join it would take the last, the right one, by chance.
    """
    for method in ("hashjoin", "mergejoin"):
        conn.execute(f"SET enable_{method} = off")


def enter_letter(conn: Connection, delivery_id: UUID, closed_at: datetime | None) -> None:
    """Add a dead letter."""
    conn.execute(
        "INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason,"
        " closed_at) VALUES (%s, 'permanent', 1, 1, 'no such user', %s)",
        [delivery_id, closed_at],
    )


def letters(conn: Connection) -> list[tuple[str, datetime | None]]:
    """Return cause and end of every dead letter, in order."""
    rows = conn.execute("SELECT cause, closed_at FROM dead_letters ORDER BY dead_letter_id")
    return [(cause, closed_at) for cause, closed_at in rows]


def reclaim(conn: Connection, delivery_id: UUID, end: Status) -> None:
    """Let a lease end, and take it back."""
    conn.execute(
        "UPDATE deliveries SET next_attempt_at = clock_timestamp() WHERE delivery_id = %s",
        [delivery_id],
    )
    token = row(conn, delivery_id)["lease_token"]
    at = LATER if end is Status.DEFERRED else None
    failure = {Status.DEAD_LETTER: "exhausted", Status.UNCERTAIN: "unknown"}.get(end)
    store.reclaim(conn, [store.Reclaim(delivery_id, token, end, at, failure)])


def reclaimed(conn: Connection, delivery_id: UUID, end: Status) -> dict[str, Any]:
    """Lease a delivery and let the lease be reclaimed into *end*; return it as it was leased."""
    lease(conn)
    leased = row(conn, delivery_id)
    reclaim(conn, delivery_id, end)
    return leased


def make_ready(conn: Connection) -> None:
    """Let everything that waits be ready now."""
    conn.execute("UPDATE deliveries SET next_attempt_at = %s WHERE status = 'deferred'", [AGO])
    store.promote_due(conn, limit=10)
