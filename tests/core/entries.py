"""Commands as producers write them: whole and good but for what a test changes."""

import json
from typing import Any

DELIVERY_ID = "0199f0a4-7c1e-7d52-9a55-3f0c8f6f2b10"
REQUESTED_AT_MS = "1795255200000"  # 2026-11-21T10:00:00Z
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

RENDERED: dict[str, Any] = {
    "to": ["Ada Lovelace <ada@example.com>"],
    "subject": "Your order",
    "text_body": "It is on its way: see https://example.com/orders/4711\n",
}
TEMPLATE: dict[str, Any] = {
    "to": ["ada@example.com"],
    "template_id": "login-code",
    "locale": "de-DE",
    "variables": {"code": "492817"},
}


def changed(original: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return *original* with *changes*; a change to `...` takes the key away."""
    return {key: value for key, value in (original | changes).items() if value is not ...}


def entry(payload: Any = RENDERED, **changes: Any) -> dict[bytes, bytes]:
    """Return a stream entry in the mode of *payload*, which is JSON or to be made JSON."""
    raw = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    is_template = isinstance(payload, dict) and "template_id" in payload
    fields: dict[str, Any] = {
        "delivery_id": DELIVERY_ID,
        "source": "notification",
        "payload_mode": "template" if is_template else "rendered",
        "idempotency_key": "order-4711",
        "requested_at_ms": REQUESTED_AT_MS,
        "payload_json": raw,
    }
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode()
        for name, value in changed(fields, changes).items()
    }


def body(payload: Any = RENDERED, **changes: Any) -> bytes:
    """Return the HTTP body that orders the same as `entry` does."""
    is_template = isinstance(payload, dict) and "template_id" in payload
    fields: dict[str, Any] = {
        "source": "notification",
        "payload_mode": "template" if is_template else "rendered",
        "idempotency_key": "order-4711",
        "payload": payload,
    }
    return json.dumps(changed(fields, changes)).encode()
