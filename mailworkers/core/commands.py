"""Commands: what a producer asks for, in a stream entry or an HTTP body, made certain.

A decoded `Command` is whole and in range; only what needs more than the command itself (addresses,
header values, templates, the clock) is left to `intake.py`. Whatever the bytes are, decoding
answers with a value: a `Command`, or a `Refusal` that names the field.
"""

import hashlib
import re
import uuid
from collections.abc import Mapping
from datetime import datetime

import msgspec

from mailworkers.core.fields import (
    MAX_FIELD,
    body_texts,
    choice,
    delivery_id_of,
    entry_texts,
    name_of,
    require,
    time_of,
    traceparent_of,
)
from mailworkers.core.payloads import MAX_PAYLOAD, RenderedPayload, TemplatePayload, read_payload
from mailworkers.core.refusals import (
    FailureCode,
    Refusal,
    Refused,
    bad_value,
    missing_field,
    too_large,
    unforeseen,
)
from mailworkers.core.states import Lane, PayloadMode
from mailworkers.core.strictjson import parse, parse_object

__all__ = [
    "SOURCES",
    "Command",
    "FailureCode",
    "Refusal",
    "SourceKind",
    "decode_body",
    "decode_entry",
    "fingerprint",
]

MAX_BODY = MAX_PAYLOAD + 64 * 1024  # bytes

_MODES = {mode.value: mode for mode in PayloadMode}
_LANES = {lane.label: lane for lane in Lane}
_BODY_REQUIRED = ("source", "payload_mode", "idempotency_key")
_ENTRY_REQUIRED = ("delivery_id", *_BODY_REQUIRED, "requested_at_ms")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE | re.ASCII)
_canonical = msgspec.json.Encoder(order="sorted").encode


class SourceKind(msgspec.Struct, frozen=True):
    """A producer we know: the lane of commands that name none, and whether it sends auth mail."""

    lane: Lane = Lane.NORMAL
    auth: bool = False


SOURCES: Mapping[str, SourceKind] = {
    "authsession": SourceKind(lane=Lane.AUTH, auth=True),
    "notification": SourceKind(),
    "api": SourceKind(),
    "resend": SourceKind(),
}


class Command(msgspec.Struct, frozen=True):
    """An order to deliver one message; `delivery_id` is None where we are to make one.

    `fingerprint` (32 bytes) is equal for commands that ask for the same thing, whatever the order
    of their keys, the way they came in, and when they were asked for. A `traceparent` is valid.
    `names_lane` is False where the lane is only what its source uses, so that a template may have
    another; that of login codes and the like is never another.
    """

    delivery_id: uuid.UUID | None
    source: str
    payload_mode: PayloadMode
    idempotency_key: str
    requested_at: datetime | None
    request_id: str | None
    traceparent: str | None
    lane: Lane
    send_at: datetime | None
    expires_at: datetime | None
    payload: RenderedPayload | TemplatePayload
    fingerprint: bytes
    names_lane: bool = True


def decode_entry(
    fields: Mapping[bytes, bytes], *, sources: Mapping[str, SourceKind] = SOURCES
) -> Command | Refusal:
    """Return what a stream entry of these *fields* orders, or why it is refused.

    Raises nothing but MemoryError.
    """
    try:
        return _entry_command(fields, sources)
    except Refused as refused:
        refusal = refused.refusal()
    except MemoryError:  # no fault of the command: who has enough memory takes it
        raise
    except Exception as error:  # one entry must never stop the others (M-15)
        refusal = unforeseen(error).refusal()
    names = {name: _shown(fields.get(name.encode(), b"")) for name in ("delivery_id", "source")}
    return msgspec.structs.replace(refusal, **names)


def decode_body(
    body: bytes,
    *,
    sources: Mapping[str, SourceKind] = SOURCES,
    idempotency_key: str | None = None,
) -> Command | Refusal:
    """Return what an HTTP *body* orders, or why it is refused. Never raises.

    The body is a JSON object of the entry's fields, times as numbers or strings, with the object
    `payload` in the place of `payload_json`. `source` is `api` unless given; `delivery_id` and
    `requested_at_ms` may be left out. *idempotency_key* is the header's, if there was one: it must
    not contradict the field.
    """
    try:
        return _body_command(body, sources, idempotency_key)
    except Refused as refused:
        return refused.refusal()
    except MemoryError:
        raise
    except Exception as error:  # as above
        return unforeseen(error).refusal()


def fingerprint(
    mode: PayloadMode,
    lane: Lane,
    send_at: datetime | None,
    expires_at: datetime | None,
    payload: RenderedPayload | TemplatePayload,
) -> bytes:
    """Return the SHA-256 of what is asked for, in the one form that all ways in have in common."""
    return hashlib.sha256(_canonical((mode, lane.label, send_at, expires_at, payload))).digest()


def _entry_command(fields: Mapping[bytes, bytes], sources: Mapping[str, SourceKind]) -> Command:
    texts = entry_texts(fields)
    require(_ENTRY_REQUIRED, texts)
    payload_json = fields.get(b"payload_json")
    if not payload_json:
        raise missing_field("payload_json")
    if len(payload_json) > MAX_PAYLOAD:
        raise too_large("payload_json", f"{MAX_PAYLOAD} bytes")
    return _command(texts, parse(payload_json, path="payload_json"), sources)


def _body_command(
    body: bytes, sources: Mapping[str, SourceKind], idempotency_key: str | None
) -> Command:
    if len(body) > MAX_BODY:
        raise too_large("body", f"{MAX_BODY} bytes")
    given = parse_object(body, path="body")
    texts = {"source": "api"} | body_texts(given)
    if idempotency_key and texts.setdefault("idempotency_key", idempotency_key) != idempotency_key:
        raise bad_value("idempotency_key", "is not that of the header Idempotency-Key")
    require(_BODY_REQUIRED, texts)
    if given.get("payload") is None:
        raise missing_field("payload")
    return _command(texts, given["payload"], sources)


def _command(
    texts: Mapping[str, str], payload_value: object, sources: Mapping[str, SourceKind]
) -> Command:
    """Return the command made of *texts*, which hold all required fields, and a payload."""
    source = texts["source"]
    kind = sources.get(source)
    if kind is None:
        raise bad_value("source", "is not a known source; MAIL_SOURCES adds one")
    mode = choice("payload_mode", texts, _MODES)
    lane = choice("lane", texts, _LANES) if "lane" in texts else kind.lane
    send_at, expires_at = time_of("send_at_ms", texts), time_of("expires_at_ms", texts)
    payload = read_payload(payload_value, mode)
    return Command(
        delivery_id=delivery_id_of(texts),
        source=source,
        payload_mode=mode,
        idempotency_key=name_of("idempotency_key", texts) or "",
        requested_at=time_of("requested_at_ms", texts),
        request_id=name_of("request_id", texts),
        traceparent=traceparent_of(texts),
        lane=lane,
        send_at=send_at,
        expires_at=expires_at,
        payload=payload,
        fingerprint=fingerprint(mode, lane, send_at, expires_at, payload),
        names_lane="lane" in texts or kind.auth,
    )


def _shown(raw: bytes) -> str:
    """Return *raw* as text when it is fit for logs and tables: a name, or a UUID; else ""."""
    text = raw[:MAX_FIELD].decode("ascii", "replace")
    return text if _NAME.fullmatch(text) else ""
