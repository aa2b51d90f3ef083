"""JSON (RFC 8259) from strangers: parsed only when it is exactly one value that means one thing.

The parser leaves four things open, which are closed here: how deep values nest (a deep one can end
the process), how many there are (ten megabytes of `[],` are hundreds of megabytes of objects), keys
given twice (two readers would disagree on what was meant), and NUL (no text column can hold it).
The usual payload is cleared by counting a few bytes; one that the counts do not clear is looked at
again with its strings cut out, which is exact.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from mailworkers.core.refusals import FailureCode, Refused, bad_value, too_large

MAX_DEPTH = 32
MAX_VALUES = 10_000
LARGEST_INTEGER = 2**63 - 1

_VALUES = f"{MAX_VALUES} JSON values"
_NUL = b"\\u0000"  # valid JSON has no other way to write it
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
# Every key ends like this. So does a string with `":` in it, or one that starts with a colon: there
# are never fewer matches than keys.
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_decode = msgspec.json.Decoder().decode


def parse(text: bytes, *, path: str) -> object:
    """Return what the JSON *text* says, or raise `Refused` (invalid_json, payload_too_large).

    The result nests at most 32 deep, holds at most 10,000 values, no NUL, no lone surrogate, no
    integer beyond 64 bits, and no object was given a key twice. *path* names the text in refusals.
    """
    _refuse_monsters(text, path)
    try:
        value: object = _decode(text)
    except UnicodeDecodeError:
        raise _invalid(path, "is not UTF-8") from None
    except RecursionError:
        raise _invalid(path, "nests too deep") from None
    except msgspec.DecodeError as error:
        raise _invalid(path, _fault(text, error)) from None
    if _NUL in text and any("\0" in string for string in _strings(value)):
        raise _invalid(path, "holds the character NUL")
    keys = _count_keys(value, path)
    may_repeat = len(_KEY_END.split(text, keys + 1)) - 1 > keys
    if may_repeat and _structure(text).count(b":") > keys:
        raise _invalid(path, "an object has the same key twice")
    return value


def parse_object(text: bytes, *, path: str) -> dict[str, Any]:
    """Return the object that the JSON *text* is, or raise `Refused`, as `parse` does."""
    value = parse(text, path=path)
    if not isinstance(value, dict):
        raise bad_value(path, "is not a JSON object")
    return value


def _refuse_monsters(text: bytes, path: str) -> None:
    """Refuse what must not even be parsed: what nests too deep or holds too many values."""
    may_be_deep = _has_more(text, b"[", MAX_DEPTH // 2) or _has_more(text, b"{", MAX_DEPTH // 2)
    may_be_many = len(text) > MAX_VALUES and text.count(b",") > MAX_VALUES
    if not (may_be_deep or may_be_many):
        return
    structure = _structure(text)
    brackets = structure.translate(None, delete=_NOT_BRACKETS)
    if _nests_deeper(brackets[: 2 * MAX_VALUES], MAX_DEPTH):
        raise _invalid(path, f"nests more than {MAX_DEPTH} deep")
    if len(brackets) > 2 * MAX_VALUES or structure.count(b",") > MAX_VALUES:
        raise too_large(path, _VALUES)


def _has_more(text: bytes, byte: bytes, count: int) -> bool:
    """Return whether *text* has *byte* more than *count* times; find() outruns count() by far."""
    at = -1
    for _ in range(count + 1):
        at = text.find(byte, at + 1)
        if at < 0:
            return False
    return True


def _structure(text: bytes) -> bytes:
    """Return *text* without its strings: once escaped quotes are gone, every second piece."""
    if b"\\" in text:  # looking for one byte costs a tenth of replacing two
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = text.split(b'"', 4 * MAX_VALUES)
    return b"".join(pieces[::2])


def _nests_deeper(brackets: bytes, limit: int) -> bool:
    depth = 0
    for byte in brackets:
        depth += 1 if byte in b"[{" else -1
        if depth > limit:
            return True
    return False


def _strings(root: object) -> Iterator[str]:
    """Yield every string of *root*, keys too."""
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            waiting.extend(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)


def _count_keys(root: object, path: str) -> int:
    """Return how many keys all objects of *root* have, and refuse the values it must not hold."""
    keys = values = 0
    waiting = [root]
    while waiting:
        value = waiting.pop()
        values += 1
        if isinstance(value, str):
            continue
        if isinstance(value, dict):
            keys += len(value)
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, int) and not -LARGEST_INTEGER <= value <= LARGEST_INTEGER:
            raise bad_value(path, "holds an integer that does not fit 64 bits")
    if values > MAX_VALUES:
        raise too_large(path, _VALUES)
    return keys


def _fault(text: bytes, error: msgspec.DecodeError) -> str:
    if text.startswith(_BYTE_ORDER_MARK):
        return "starts with a byte order mark"
    if not text.strip():
        return "is empty"
    return f"is not JSON: {error}"


def _invalid(path: str, reason: str) -> Refused:
    return Refused(FailureCode.INVALID_JSON, path, reason)
