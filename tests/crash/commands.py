"""Commands put on the real stream; each has one recipient, named by its delivery_id."""

import json
from typing import Any
from uuid import uuid4

import redis

from mailworkers.embedded.servers import Servers

STREAM = "mail:delivery_commands"


def put_commands(servers: Servers, count: int, text: str = "t") -> list[str]:
    """Put *count* commands on the stream of *servers*; return their delivery ids."""
    ids = [str(uuid4()) for _ in range(count)]
    client: Any = redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket))
    with client, client.pipeline(transaction=False) as pipe:
        for delivery_id in ids:
            pipe.xadd(STREAM, _fields(delivery_id, text))
        pipe.execute()
    return ids


def command_fields(count: int, text: str = "t") -> list[dict[str, str]]:
    """Return the fields of *count* commands, each with an id of its own."""
    return [_fields(str(uuid4()), text) for _ in range(count)]


def _fields(delivery_id: str, text: str) -> dict[str, str]:
    payload = {"to": [f"{delivery_id}@example.com"], "subject": "s", "text_body": text}
    return {
        "delivery_id": delivery_id,
        "source": "notification",
        "payload_mode": "rendered",
        "idempotency_key": delivery_id,
        "requested_at_ms": "1770000000000",
        "payload_json": json.dumps(payload),
    }
