"""Logging in to the console with an API token, and out again."""

from datetime import timedelta
from http import HTTPStatus
from typing import Annotated

from litestar import Response, get, post
from litestar.params import QueryParameter

from mailworkers.adapters.store.sessions import close_session, open_session
from mailworkers.web.backend import backend_of
from mailworkers.web.console.asking import read_form
from mailworkers.web.console.pages import page, redirect
from mailworkers.web.console.paths import CONSOLE, COOKIE, LOGIN, cookie_header
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import LONGEST

# A working day: whoever forgets to log out does not stay for long.
LIFE = timedelta(hours=12)
Next = Annotated[str | None, QueryParameter(name="next", max_length=2000)]


@get("/login", before_request=check_query)
async def show_login(request: WebRequest, wanted: Next = None) -> Response[str]:
    """Ask for a token; whoever needs none is sent on."""
    if request.scope["state"]["principal"] is not None:
        return redirect(_inside(wanted))
    return page(request, "login.html", wanted=_inside(wanted), message="")


@post("/login")
async def log_in(request: WebRequest) -> Response[str]:
    """Make a session for a token, under a new name: what the browser was called before is void."""
    form = await read_form(request)
    token, wanted = form.get("token", ""), _inside(form.get("next"))
    session = None
    if 0 < len(token) <= LONGEST:
        session = await backend_of(request).ask(lambda conn: open_session(conn, token, life=LIFE))
    if session is None:
        return page(
            request,
            "login.html",
            status=HTTPStatus.UNAUTHORIZED,
            wanted=wanted,
            message="This token is not valid. It may have been revoked, or its time is over.",
        )
    is_secure = request.headers.get("origin", "").startswith("https://")
    seconds = int(LIFE.total_seconds())
    cookie = cookie_header(COOKIE, session, seconds=seconds, is_secure=is_secure)
    return redirect(wanted, cookie=cookie)


@post("/logout")
async def log_out(request: WebRequest) -> Response[str]:
    """End the session; its cookie is worth nothing from then on."""
    await read_form(request)
    browser: str = request.scope["state"]["browser"]
    await backend_of(request).ask(lambda conn: close_session(conn, browser))
    return redirect(LOGIN, cookie=cookie_header(COOKIE, "", seconds=0, is_secure=False))


def _inside(wanted: str | None) -> str:
    """Return *wanted* if it is a page of ours: nobody is sent elsewhere after logging in."""
    is_ours = wanted is not None and wanted.startswith(f"{CONSOLE}/") and wanted.isprintable()
    return (
        wanted
        if is_ours and wanted and "\\" not in wanted and LOGIN not in wanted
        else (f"{CONSOLE}/")
    )
