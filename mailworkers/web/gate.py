"""The gate before the internal API: who may talk to it at all, decided before a body is read.

While no API token exists, only programs of this host may, and no web page that a browser of this
host happens to show: the Host must be a loopback name (DNS rebinding), the Origin ours, and bodies
JSON, which a page of another site cannot send without asking first. With tokens, a token decides.
"""

import ipaddress
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from mailworkers.adapters.crash_points import Point, reached
from mailworkers.core.errors import StoreUnavailable
from mailworkers.web.errors import (
    RETRY_AFTER,
    ErrorCode,
    Problem,
    internal_error,
    not_found,
    store_unavailable,
)
from mailworkers.web.tokens import LOCAL, Principal, Tokens, find_principal

PREFIX = "/api/v1/internal"
MOST_AT_ONCE = 256
# Once each: two of them mean two readers that disagree.
_SINGLE = frozenset(
    {b"host", b"origin", b"authorization", b"content-type", b"content-length", b"idempotency-key"}
)
_ALWAYS = [
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]

Headers = dict[bytes, bytes]


class Gate:
    """An ASGI application around the API; *report* takes errors nobody foresaw."""

    def __init__(
        self, app: ASGIApp, tokens: Tokens, *, report: Callable[[Exception], None]
    ) -> None:
        self._app = app
        self._tokens = tokens
        self._report = report
        self._at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with its `principal` in the scope's state, or answer it here."""
        if scope["type"] != ScopeType.HTTP:
            raise RuntimeError("the listener speaks HTTP only")
        self._at_once += 1
        send = _with_headers(send)
        try:
            scope["state"]["principal"] = await self._admit(scope)
            await self._app(scope, receive, send)
        except Problem as problem:
            await answer(problem, send)
        except StoreUnavailable:
            await answer(store_unavailable(), send)
        except Exception as error:
            self._report(error)
            await answer(internal_error(), send)
        finally:
            self._at_once -= 1

    async def _admit(self, scope: HTTPScope) -> Principal:
        if self._at_once > MOST_AT_ONCE:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                ErrorCode.OVERLOADED,
                "too many requests at a time; try again",
                headers={**RETRY_AFTER, "Connection": "close"},
            )
        if not scope["path"].startswith(f"{PREFIX}/"):
            raise not_found()
        headers = _single_headers(scope)
        tokens = await self._tokens.current()
        if tokens:
            principal = find_principal(headers.get(b"authorization"), tokens)
        else:
            _check_is_local(scope, headers)
            principal = LOCAL
        return principal


def _single_headers(scope: HTTPScope) -> Headers:
    """Return the headers by name; refuse two of a kind where one is meant."""
    headers: Headers = {}
    for name, value in scope["headers"]:
        if name in headers and name in _SINGLE:
            raise Problem(
                HTTPStatus.BAD_REQUEST,
                ErrorCode.BAD_REQUEST,
                f"the header {name.decode('latin-1')} was given twice",
            )
        headers[name] = value
    return headers


def _check_is_local(scope: HTTPScope, headers: Headers) -> None:
    """Refuse whatever may come from elsewhere, or on behalf of a web page."""
    client = scope.get("client")
    if client is None or not is_loopback(client[0]):
        raise _refused("only programs of this host may ask while no API token exists")
    host = headers.get(b"host", b"").decode("latin-1")
    if not is_loopback(_host_name(host)):
        raise _refused("the header Host must name this host by a loopback name or address")
    origin = headers.get(b"origin")
    if origin is not None and origin.decode("latin-1").lower() != f"http://{host.lower()}":
        raise _refused("pages of other sites may not ask")
    if headers.get(b"sec-fetch-site", b"same-origin") not in (b"same-origin", b"none"):
        raise _refused("pages of other sites may not ask")


def _refused(message: str) -> Problem:
    return Problem(HTTPStatus.FORBIDDEN, ErrorCode.FORBIDDEN, message)


def _host_name(host: str) -> str:
    """Return the name in a Host header without its port; "" when it cannot be read."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether *host*, a name or an address, is this host whatever a resolver says."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    """Return *send* that adds the headers every answer has."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_ALWAYS]
        else:
            reached(Point.ANSWER_HALF_SENT)
        await send(message)

    return wrapped


async def answer(problem: Problem, send: Send) -> None:
    """Send *problem* as a whole answer."""
    body = problem.content
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.lower().encode(), value.encode()) for name, value in problem.headers.items()),
    ]
    await send({"type": "http.response.start", "status": int(problem.status), "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
