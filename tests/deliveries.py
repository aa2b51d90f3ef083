"""Deliveries for tests: new ones as intake makes them, and rows put straight into a status."""

import hashlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec

from mailworkers.adapters import db, store
from mailworkers.core.deliveries import NewDelivery, NewRecipient
from mailworkers.core.states import FINAL, WAITING, Lane, PayloadMode, RecipientStatus, Status

_numbers = itertools.count(1)
# What an open recipient has become in a delivery of this status.
_RECIPIENT_OF = {
    Status.SENT: RecipientStatus.ACCEPTED,
    Status.SUPPRESSED: RecipientStatus.SUPPRESSED,
    Status.FAILED: RecipientStatus.REFUSED,
    Status.DEAD_LETTER: RecipientStatus.EXHAUSTED,
    Status.UNCERTAIN: RecipientStatus.UNCERTAIN,
    Status.CANCELLED: RecipientStatus.CANCELLED,
}


def new_delivery(*recipients: str, **changes: Any) -> NewDelivery:
    """Return a delivery ready to be accepted, different from every other but for *changes*."""
    number = next(_numbers)
    made = NewDelivery(
        delivery_id=uuid4(),
        source="notification",
        lane=Lane.NORMAL,
        status=Status.QUEUED,
        payload_mode=PayloadMode.RENDERED,
        mail_from="shop@example.org",
        idempotency_key=f"key-{number}",
        fingerprint=hashlib.sha256(str(number).encode()).digest(),
        retry_policy="ladder",
        mime=f"Subject: {number}\r\n\r\nhello {number}\r\n".encode(),
        recipients=tuple(
            NewRecipient("to", address, address.lower())
            for address in recipients or (f"person{number}@example.com",)
        ),
    )
    return msgspec.structs.replace(made, **changes)


def accept(conn: db.Connection, *news: NewDelivery) -> list[store.Acceptance]:
    """Accept *news* in a transaction of their own."""
    return db.run_transaction(conn, lambda: store.accept(conn, list(news)))


def put(conn: db.Connection, status: str, **changes: Any) -> UUID:
    """Put a delivery straight into *status*; *changes* are columns of `deliveries`."""
    new = new_delivery()
    accept(conn, new)
    ago = datetime.now(UTC) - timedelta(minutes=1)
    columns: dict[str, Any] = {
        "status": status,
        "payload_mode": "template" if status == Status.RENDERED else "rendered",
        "ready_at": ago if status in {Status.QUEUED, Status.RENDERED} else None,
        "next_attempt_at": ago if status in WAITING or status == Status.SENDING else None,
        "finished_at": ago if status in FINAL else None,
        "lease_token": uuid4() if status == Status.SENDING else None,
        "leased_by": uuid4() if status == Status.SENDING else None,
        "attempt_no": 1 if status == Status.SENDING else 0,
        "cycle_attempt": 1 if status == Status.SENDING else 0,
        **changes,
    }
    names = ", ".join(f"{name} = %({name})s" for name in columns)
    conn.execute(
        f"UPDATE deliveries SET {names} WHERE delivery_id = %(delivery_id)s",  # noqa: S608
        {**columns, "delivery_id": new.delivery_id},
    )
    if status == Status.SENDING:
        conn.execute(
            "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, lease_token, leased_by)"
            " SELECT delivery_id, attempt_no, cycle_attempt, lease_token, leased_by"
            " FROM deliveries WHERE delivery_id = %s",
            [new.delivery_id],
        )
    if status in _RECIPIENT_OF:
        conn.execute(
            "UPDATE delivery_recipients SET status = %s WHERE delivery_id = %s",
            [_RECIPIENT_OF[Status(status)], new.delivery_id],
        )
    return new.delivery_id


def row(conn: db.Connection, delivery_id: UUID) -> dict[str, Any]:
    """Return the columns of one delivery, {} when it does not exist."""
    cursor = conn.execute("SELECT * FROM deliveries WHERE delivery_id = %s", [delivery_id])
    names = [column.name for column in cursor.description or ()]
    found = cursor.fetchone()
    return dict(zip(names, found, strict=True)) if found else {}


def status(conn: db.Connection, delivery_id: UUID) -> str:
    """Return the status of one delivery, `(deleted)` when it does not exist."""
    return str(row(conn, delivery_id).get("status", "(deleted)"))


def recipient_statuses(conn: db.Connection, delivery_id: UUID) -> list[str]:
    """Return the statuses of a delivery's recipients in order."""
    rows = conn.execute(
        "SELECT status FROM delivery_recipients WHERE delivery_id = %s ORDER BY ordinal",
        [delivery_id],
    )
    return [found[0] for found in rows]


def attempts(conn: db.Connection, delivery_id: UUID) -> list[tuple[int, str, str | None]]:
    """Return number, status and outcome of each attempt, in order."""
    rows = conn.execute(
        "SELECT attempt_no, status, outcome FROM attempts WHERE delivery_id = %s"
        " ORDER BY attempt_no",
        [delivery_id],
    )
    return [(number, status, outcome) for number, status, outcome in rows]
