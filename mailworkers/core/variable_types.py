"""The types of template variables: JSON's own, and texts of a known form.

Each is a question asked of a value that a command gives: is it one of these? Numbers are no
booleans and texts are no numbers, whatever Python thinks of `True`.
"""

import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from mailworkers.core.addresses import AddressError, parse_mailbox

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_URL = re.compile(r"https?://[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]{1,2000}", re.IGNORECASE)


def _is_string(value: Any) -> bool:
    return isinstance(value, str)


def _is_integer(value: Any) -> bool:
    return type(value) is int


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_boolean(value: Any) -> bool:
    return type(value) is bool


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _is_url(value: Any) -> bool:
    """An absolute http or https URL in ASCII, so that nothing else ever becomes a link."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return False
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:
        return False


def _is_email(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return parse_mailbox(value).address == value
    except AddressError:
        return False


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_datetime(value: Any) -> bool:
    """A date and time with its offset from UTC (RFC 3339)."""
    if not isinstance(value, str) or not _DATE.match(value):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": _is_string,
    "integer": _is_integer,
    "number": _is_number,
    "boolean": _is_boolean,
    "list": _is_list,
    "object": _is_object,
    "url": _is_url,
    "email": _is_email,
    "date": _is_date,
    "datetime": _is_datetime,
}
