"""Bodies of requests: read to a bound, once."""

from http import HTTPStatus
from typing import Any

from litestar import Request

from mailworkers.web.errors import ErrorCode, Problem

GIVEN = "body"


async def read_body(request: Request[Any, Any, Any], largest: int) -> bytes:
    """Return the body, or raise the answer 413 once it is certain to be over *largest* bytes.

    What a page of the console has read from a form, and written as JSON, takes its place.
    """
    if (given := request.scope["state"].get(GIVEN)) is not None:
        return bytes(given)
    announced = request.headers.get("content-length", "0")
    if not announced.isdecimal() or int(announced) > largest:
        raise _too_large(largest)
    parts: list[bytes] = []
    size = 0
    while True:
        message: Any = await request.receive()
        if message["type"] == "http.disconnect":
            raise Problem(HTTPStatus.BAD_REQUEST, ErrorCode.BAD_REQUEST, "the body broke off")
        part = message["body"]
        size += len(part)
        if size > largest:
            raise _too_large(largest)
        parts.append(part)
        if not message["more_body"]:
            return b"".join(parts)


def _too_large(largest: int) -> Problem:
    # The rest of it may still be on its way: the connection ends with the answer.
    return Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        ErrorCode.PAYLOAD_TOO_LARGE,
        f"the body is larger than {largest} bytes",
        headers={"Connection": "close"},
    )
