"""Bodies of requests: JSON, read to a bound, once.

That they must say so keeps the pages of other sites out, which cannot without asking first.
"""

from http import HTTPStatus
from typing import Any

from litestar import Request

from mailworkers.web.errors import ErrorCode, Problem


async def read_body(request: Request[Any, Any, Any], largest: int) -> bytes:
    """Return the body, or raise the answer 413 once it is certain to be over *largest* bytes.

    One that is not JSON by its header is 415.
    """
    _check_is_json(request.headers.get("content-type", ""))
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


def _check_is_json(content_type: str) -> None:
    media_type, _, parameters = content_type.lower().partition(";")
    charset = parameters.replace(" ", "").replace('"', "")
    if media_type.strip() != "application/json" or charset not in ("", "charset=utf-8"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            "the body must be application/json in UTF-8",
        )
