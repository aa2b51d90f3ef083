"""The door of the operator console: who may see a page, decided before anything is read.

While no API token exists the console is open to browsers of this host, by the rules of the API's
gate. With tokens a browser logs in with one and is known by its cookie from then on.
"""

import asyncio
import secrets
from collections.abc import Callable
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, quote, urlencode

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.store.sessions import find_session
from mailworkers.core.errors import StoreUnavailable
from mailworkers.web.console.errors import send_problem
from mailworkers.web.console.paths import COOKIE, LOGIN, STATIC, cookie_header
from mailworkers.web.errors import ErrorCode, Problem, internal_error, store_unavailable
from mailworkers.web.gate import Headers, check_is_local, single_headers
from mailworkers.web.tokens import LOCAL, Principal, Tokens

# Few people look at a time; whatever opens more pages than this must not keep the API busy.
MOST_AT_ONCE = 32
_FORM = b"application/x-www-form-urlencoded"
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; frame-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)
_ALWAYS = {
    b"x-content-type-options": b"nosniff",
    b"cache-control": b"no-store",
    b"content-security-policy": _POLICY.encode(),
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
}


class ConsoleGate:
    """An ASGI application around the console; *report* takes errors nobody foresaw."""

    def __init__(
        self, app: ASGIApp, pool: Pool, tokens: Tokens, *, report: Callable[[Exception], None]
    ) -> None:
        self._app = app
        self._pool = pool
        self._tokens = tokens
        self._report = report
        self._at_once = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through with its `principal` and `browser` in the scope's state."""
        if scope["type"] != ScopeType.HTTP:
            raise RuntimeError("the listener speaks HTTP only")
        self._at_once += 1
        try:
            await self._serve(scope, receive, _with_headers(send))
        except Problem as problem:
            await send_problem(problem, _with_headers(send))
        except StoreUnavailable:
            await send_problem(store_unavailable(), _with_headers(send))
        except Exception as error:
            self._report(error)
            await send_problem(internal_error(), _with_headers(send))
        finally:
            self._at_once -= 1

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        if self._at_once > MOST_AT_ONCE:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                ErrorCode.OVERLOADED,
                "too many pages are being read at a time; try again",
                headers={"Retry-After": "1", "Connection": "close"},
            )
        scope["query_string"] = _without_empty(scope["query_string"])
        if scope["path"].startswith(f"{STATIC}/"):
            return await self._app(scope, receive, send)
        headers = single_headers(scope)
        browser, is_new = _browser(headers)
        principal = await self._principal(scope, headers, None if is_new else browser)
        if scope["method"] == "POST":
            _check_form(headers)
        if principal is None and scope["path"] != LOGIN:
            return await _ask_to_log_in(scope, headers, send)
        scope["state"] |= {"principal": principal, "browser": browser}
        return await self._app(scope, receive, _with_cookie(send, browser) if is_new else send)

    async def _principal(
        self, scope: HTTPScope, headers: Headers, browser: str | None
    ) -> Principal | None:
        """Return who looks; None when that has to log in first."""
        if not await self._tokens.current():
            check_is_local(scope, _as_seen(scope, headers))
            return LOCAL
        if browser is None:
            return None
        session = await asyncio.to_thread(self._find, browser)
        return None if session is None else Principal(session.name, session.scopes)

    def _find(self, browser: str) -> Principal | None:
        with self._pool.connection() as conn:
            found = find_session(conn, browser)
        return None if found is None else Principal(found.name, found.scopes)


def _as_seen(scope: HTTPScope, headers: Headers) -> Headers:
    """Return *headers* without where a visit comes from: a link on another page may lead here.

    Only what a person sees as a whole page: nothing changes by it, the other page learns nothing.
    """
    is_visit = headers.get(b"sec-fetch-mode") == b"navigate" and scope["method"] == "GET"
    if not is_visit or headers.get(b"sec-fetch-dest") != b"document":
        return headers
    return {name: value for name, value in headers.items() if name != b"sec-fetch-site"}


def _without_empty(query: bytes) -> bytes:
    """Return *query* without the fields of a form that were left empty."""
    try:
        pairs = parse_qsl(query.decode("ascii"), max_num_fields=50, errors="strict")
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST, ErrorCode.BAD_REQUEST, "the address of this page is malformed"
        ) from None
    return urlencode(pairs).encode()


def _browser(headers: Headers) -> tuple[str, bool]:
    """Return by what the browser is known, and whether it is so only from now on."""
    try:
        found = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        found = None
    if found is not None and 20 <= len(found.value) <= 100:
        return found.value, False
    return secrets.token_urlsafe(32), True


def _check_form(headers: Headers) -> None:
    """Refuse what a page of ours would not send: other sites' forms, other kinds of bodies."""
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    host = headers.get(b"host", b"").decode("latin-1").lower()
    site = headers.get(b"sec-fetch-site", b"same-origin")
    is_ours = origin in ("", f"http://{host}", f"https://{host}")
    if not is_ours or site not in (b"same-origin", b"none"):
        raise Problem(HTTPStatus.FORBIDDEN, ErrorCode.FORBIDDEN, "pages of other sites may not ask")
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _FORM:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            ErrorCode.UNSUPPORTED_MEDIA_TYPE,
            "the console takes forms only; programs use the API",
        )


async def _ask_to_log_in(scope: HTTPScope, headers: Headers, send: Send) -> None:
    """Send the browser to the login page, and from there back to what it wanted to see."""
    is_page = scope["method"] == "GET" and b"hx-request" not in headers
    wanted = scope["path"] + (f"?{scope['query_string'].decode()}" if scope["query_string"] else "")
    to = f"{LOGIN}?next={quote(wanted, safe='')}" if is_page else LOGIN
    status = HTTPStatus.UNAUTHORIZED if b"hx-request" in headers else HTTPStatus.SEE_OTHER
    name = b"hx-redirect" if b"hx-request" in headers else b"location"
    await send(
        {
            "type": "http.response.start",
            "status": int(status),
            "headers": [(name, to.encode()), (b"content-length", b"0")],
        }
    )
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def _with_cookie(send: Send, browser: str) -> Send:
    """Return *send* that makes a new browser known, unless the answer does so itself."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            header = cookie_header(COOKIE, browser, seconds=None, is_secure=False).encode()
            names = [
                value.partition(b"=")[0]
                for name, value in message["headers"]
                if name == b"set-cookie"
            ]
            if COOKIE.encode() not in names:
                message["headers"] = [*message["headers"], (b"set-cookie", header)]
        await send(message)

    return wrapped


def _with_headers(send: Send) -> Send:
    """Return *send* that adds the headers every page has, where it has not set them itself."""

    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            more = [(name, value) for name, value in _ALWAYS.items() if name not in given]
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return wrapped
