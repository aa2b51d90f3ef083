"""The fields of a command but its payload: short texts that must each be one certain thing."""

import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from mailworkers.core.refusals import bad_value, missing_field, unknown_field

MAX_FIELD = 1024  # bytes of any field but the payload
MAX_NAME = 255  # characters of an idempotency key or request id
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)

FIELDS = (
    "delivery_id",
    "source",
    "payload_mode",
    "idempotency_key",
    "requested_at_ms",
    "request_id",
    "traceparent",
    "lane",
    "send_at_ms",
    "expires_at_ms",
)
_ENTRY_FIELDS = {name.encode(): name for name in (*FIELDS, "payload_json")}
_BODY_FIELDS = frozenset((*FIELDS, "payload"))
# An entry of the stream has no other way to say nothing; JSON has null.
_NEVER_EMPTY = frozenset({"delivery_id", "idempotency_key", "lane"})

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECONDS = re.compile(r"[0-9]{1,15}", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# W3C Trace Context, section 3.2: no version ff, no ids of zeros, more fields only after version 00.
_TRACE_IDS = r"(-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2})"
_TRACEPARENT = re.compile(rf"00{_TRACE_IDS}|(?!00|ff)[0-9a-f]{{2}}{_TRACE_IDS}(?:-.*)?")
_Choice = TypeVar("_Choice")


def entry_texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return a stream entry's fields but the payload; one that is empty counts as not given."""
    texts = {}
    for raw_name, raw in fields.items():
        name = _ENTRY_FIELDS.get(raw_name)
        if name is None:
            raise unknown_field(raw_name.decode("utf-8", "backslashreplace"))
        if not raw or name == "payload_json":
            continue
        if len(raw) > MAX_FIELD:
            raise bad_value(name, f"is longer than {MAX_FIELD} bytes")
        try:
            texts[name] = raw.decode()
        except UnicodeDecodeError:
            raise bad_value(name, "is not UTF-8") from None
    return texts


def body_texts(body: Mapping[str, object]) -> dict[str, str]:
    """Return an HTTP body's fields but the payload, as an entry would carry them."""
    texts = {}
    for name, value in body.items():
        if name not in _BODY_FIELDS:
            raise unknown_field(name)
        if value == "" and name in _NEVER_EMPTY:
            raise missing_field(name, "is empty: fill it or leave it out")
        if value is None or value == "" or name == "payload":
            continue
        if isinstance(value, str):
            texts[name] = value
        elif isinstance(value, int) and not isinstance(value, bool) and name.endswith("_ms"):
            texts[name] = str(value)
        else:
            raise bad_value(name, "is not a string")
    return texts


def require(names: tuple[str, ...], texts: Mapping[str, str]) -> None:
    """Refuse unless all of *names* are given."""
    for name in names:
        if name not in texts:
            raise missing_field(name)


def choice(name: str, texts: Mapping[str, str], choices: Mapping[str, _Choice]) -> _Choice:
    """Return what the field *name*, which is given, chooses."""
    chosen = choices.get(texts[name])
    if chosen is None:
        raise bad_value(name, f"is not one of {', '.join(choices)}")
    return chosen


def name_of(name: str, texts: Mapping[str, str]) -> str | None:
    """Return the field *name* as 1..255 printable characters, None when it is not given."""
    value = texts.get(name)
    if value is not None and (len(value) > MAX_NAME or not value.isprintable()):
        raise bad_value(name, f"is not 1 to {MAX_NAME} printable characters")
    return value


def time_of(name: str, texts: Mapping[str, str]) -> datetime | None:
    """Return the field *name*, in milliseconds since 1970, as a time, None when it is not given."""
    value = texts.get(name)
    if value is None:
        return None
    if not _MILLISECONDS.fullmatch(value):
        raise bad_value(name, "is not a whole number of milliseconds since 1970")
    milliseconds = int(value)
    if not _FIRST <= milliseconds < _LAST:
        # A time in seconds, read as milliseconds, is in January 1970.
        raise bad_value(name, "is not between the years 2000 and 2100, in milliseconds since 1970")
    return _EPOCH + timedelta(milliseconds=milliseconds)


_FIRST, _LAST = (int((at - _EPOCH) / timedelta(milliseconds=1)) for at in (EARLIEST, LATEST))


def delivery_id_of(texts: Mapping[str, str]) -> uuid.UUID | None:
    """Return the delivery id, a UUID of any version in any letter case, None when not given."""
    value = texts.get("delivery_id")
    if value is None:
        return None
    if not _UUID.fullmatch(value):
        raise bad_value("delivery_id", "is not a UUID")
    return uuid.UUID(value)


def traceparent_of(texts: Mapping[str, str]) -> str | None:
    """Return the trace parent as version 00; one that is not valid counts as not given (W3C)."""
    found = _TRACEPARENT.fullmatch(texts.get("traceparent", ""))
    return f"00{found[1] or found[2]}" if found else None
