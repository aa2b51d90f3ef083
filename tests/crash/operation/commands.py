"""Commands as producers put them on the stream, each different from the others."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import redis

from mailworkers.adapters import db

STREAM = "mail:delivery_commands"
GROUP = "mailworkers"


def fields(**changes: str | bytes) -> dict[str, str | bytes]:
    """Return the fields of an entry, *changes* being fields; its recipient bears its id."""
    delivery_id = str(uuid4())
    payload = {"to": [f"{delivery_id}@example.com"], "subject": "s", "text_body": "t"}
    return {
        "delivery_id": delivery_id,
        "source": "notification",
        "payload_mode": "rendered",
        "idempotency_key": delivery_id,
        "requested_at_ms": "1770000000000",
        "payload_json": json.dumps(payload),
        **changes,
    }


def put(client: redis.Redis, **changes: str | bytes) -> str:
    """Put one command on the stream; return its delivery id."""
    made: Any = fields(**changes)
    client.xadd(STREAM, made)
    return str(made["delivery_id"])


def milliseconds(when: datetime) -> str:
    """Return *when* as commands write times."""
    return str(int(when.timestamp() * 1000))


def database_now(conn: db.Connection) -> datetime:
    """Return the database's time."""
    row = conn.execute("SELECT clock_timestamp()").fetchone()
    assert row is not None
    found: datetime = row[0]
    return found


def from_now(conn: db.Connection, **span: float) -> str:
    """Return the time *span* from now by the database's clock, as commands write it."""
    return milliseconds(database_now(conn) + timedelta(**span))
