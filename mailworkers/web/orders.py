"""Bodies and parameters by which operators say what to do, and why."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any

from litestar import Request
from litestar.params import QueryParameter

from mailworkers.core.addresses import AddressError, canonical, parse_mailbox
from mailworkers.core.fields import time_of
from mailworkers.core.refusals import Refused, bad_value, missing_field, unknown_field
from mailworkers.core.strictjson import parse_object
from mailworkers.web.bodies import read_body
from mailworkers.web.errors import bad_parameter, refused

LARGEST_BODY = 16 * 1024
LONGEST_REASON = 500

WebRequest = Request[Any, Any, Any]
# For DELETE, whose bodies many clients and proxies drop.
WhyParameter = Annotated[
    str,
    QueryParameter(
        name="reason", min_length=1, max_length=500, description="why; stands in the audit trail"
    ),
]


class Order:
    """The fields of a body, each of them read once and refused by name when it is wrong."""

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def has(self, name: str) -> bool:
        """Whether the body says anything about *name*, be it null."""
        return name in self._fields

    @property
    def reason(self) -> str:
        """Return why: one printable line."""
        reason = self._fields.get("reason")
        if reason is None or reason == "":
            raise missing_field("reason", "is needed: it stands in the audit trail")
        if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
            raise bad_value(
                "reason", f"is not a line of 1 to {LONGEST_REASON} printable characters"
            )
        return reason

    def time(self, name: str) -> datetime | None:
        """Return the time that *name* gives in milliseconds since 1970."""
        milliseconds = self._fields.get(name)
        if milliseconds is None:
            return None
        if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | str):
            raise bad_value(name, "is not a whole number of milliseconds since 1970")
        return time_of(name, {name: str(milliseconds)})

    def flag(self, name: str) -> bool | None:
        """Return what *name*, true or false, says."""
        flag = self._fields.get(name)
        if flag is not None and not isinstance(flag, bool):
            raise bad_value(name, "is neither true nor false")
        return flag

    def number(self, name: str, least: float, most: float) -> float | None:
        """Return the number that *name* gives, which must be between *least* and *most*."""
        number = self._fields.get(name)
        if number is None:
            return None
        is_number = isinstance(number, int | float) and not isinstance(number, bool)
        if not is_number or not least <= float(str(number)) <= most:
            raise bad_value(name, f"is not a number from {least:g} to {most:g}")
        return float(str(number))

    def texts(self, name: str, most: int, longest: int) -> tuple[str, ...]:
        """Return the list of up to *most* short texts that *name* gives."""
        return tuple(
            text
            for place, value in enumerate(self._list(name, most))
            if (text := Order({f"{name}[{place}]": value}).text(f"{name}[{place}]", longest))
        )

    def choices(self, name: str, allowed: Collection[str]) -> tuple[str, ...]:
        """Return the list that *name* gives, each of which is one of *allowed*."""
        found = self.texts(name, len(allowed), 100)
        for place, text in enumerate(found):
            if text not in allowed:
                raise bad_value(f"{name}[{place}]", f"is none of {', '.join(allowed)}")
        return found

    def numbers(self, name: str, most: int) -> tuple[int, ...]:
        """Return the list of up to *most* numbers of rows that *name* gives."""
        found = self._list(name, most)
        for place, value in enumerate(found):
            if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
                raise bad_value(f"{name}[{place}]", "is not a number of one")
        return tuple(int(str(value)) for value in found)

    def inner(self, name: str, *names: str) -> "Order":
        """Return the object that *name* gives, with no fields but *names*; without one, none."""
        inner = self._fields.get(name)
        if inner is None:
            return Order({})
        if not isinstance(inner, dict):
            raise bad_value(name, "is not a JSON object")
        for found in inner:
            if found not in names:
                raise unknown_field(f"{name}.{found}")
        return Order(inner)

    def _list(self, name: str, most: int) -> list[object]:
        values = self._fields.get(name)
        if values is None:
            return []
        if not isinstance(values, list) or len(values) > most:
            raise bad_value(name, f"is not a list of at most {most}")
        return values

    def text(self, name: str, longest: int) -> str | None:
        """Return the short text that *name* gives."""
        text = self._fields.get(name)
        if text is None:
            return None
        if not isinstance(text, str) or not 0 < len(text) <= longest or not text.isprintable():
            raise bad_value(name, f"is not a line of 1 to {longest} printable characters")
        return text


async def read_order(request: WebRequest, *names: str) -> Order:
    """Return the body of *request*, a JSON object with no fields but *names*."""
    body = await read_body(request, LARGEST_BODY)
    try:
        given = parse_object(body, path="body")
        for name in given:
            if name not in names:
                raise unknown_field(name)
    except Refused as error:
        raise refused(error.refusal()) from None
    return Order(given)


def address_of(text: str, name: str) -> str:
    """Return the canonical form of the address in parameter *name*, or raise the answer 400."""
    try:
        return canonical(parse_mailbox(text).address)
    except AddressError as error:
        raise bad_parameter(name, error.reason) from None
