"""Opaque cursors: where a page ended, as text that a caller gives back and need not understand."""

import base64
import binascii
from datetime import UTC, datetime, timedelta
from uuid import UUID

from mailworkers.adapters.store.reads import NumberedPosition, Position
from mailworkers.web.errors import bad_parameter

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LONGEST = 500


def write_cursor(position: Position) -> str:
    """Return the cursor of the page after *position*: base64url of microseconds and delivery."""
    microseconds = (position.created_at - _EPOCH) // _MICROSECOND
    return _pack(f"{microseconds}:{position.delivery_id}")


def read_cursor(cursor: str) -> Position:
    """Return the position in *cursor*, or raise the answer 400."""
    microseconds, _, delivery_id = _unpack(cursor).partition(":")
    try:
        return Position(_EPOCH + int(microseconds) * _MICROSECOND, UUID(delivery_id))
    except (ValueError, OverflowError):
        raise _not_ours() from None


def write_numbered_cursor(position: NumberedPosition) -> str:
    """Return the cursor of the page after *position*."""
    microseconds = (position.at - _EPOCH) // _MICROSECOND
    return _pack(f"{microseconds}:{position.number}")


def read_numbered_cursor(cursor: str) -> NumberedPosition:
    """Return the position in *cursor*, or raise the answer 400."""
    microseconds, _, number = _unpack(cursor).partition(":")
    try:
        at = _EPOCH + int(microseconds) * _MICROSECOND
    except (ValueError, OverflowError):
        raise _not_ours() from None
    return NumberedPosition(at, _number(number))


def write_number_cursor(number: int) -> str:
    """Return the cursor of the page after *number*: of an attempt, of a line."""
    return _pack(str(number))


def read_number_cursor(cursor: str) -> int:
    """Return the number in *cursor*, or raise the answer 400."""
    return _number(_unpack(cursor))


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _not_ours()
    return int(text)


def write_pair_cursor(pair: tuple[str, str]) -> str:
    """Return the cursor of the page after *pair*, an address and a scope."""
    return _pack("\0".join(pair))


def read_pair_cursor(cursor: str) -> tuple[str, str]:
    """Return the pair in *cursor*, or raise the answer 400."""
    first, separator, second = _unpack(cursor).partition("\0")
    if not separator:
        raise _not_ours()
    return first, second


def _pack(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _unpack(cursor: str) -> str:
    padded = cursor[:_LONGEST] + "=" * (-len(cursor) % 4)
    try:
        return base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True).decode()
    except (ValueError, binascii.Error):
        raise _not_ours() from None


def _not_ours() -> Exception:
    return bad_parameter("cursor", "is not one that this list gave")
