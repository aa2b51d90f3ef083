"""How a page of the console is made: its frame, who looks at it, what was just done."""

import base64
import hashlib
import hmac
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec
from litestar import Response

from mailworkers.adapters.html_pages import HtmlPages
from mailworkers.web.console.assets import asset
from mailworkers.web.console.paths import CONSOLE, FLASH, cookie_header
from mailworkers.web.console.words import FILTERS
from mailworkers.web.orders import WebRequest
from mailworkers.web.tokens import Principal

_HTML = "text/html"
NAVIGATION = (
    ("", "Overview"),
    ("deliveries", "Deliveries"),
    ("dead-letters", "Dead letters"),
    ("malformed", "Malformed"),
    ("suppressions", "Suppressions"),
    ("pauses", "Pauses"),
    ("templates", "Templates"),
    ("roles", "Roles"),
    ("audit", "Audit log"),
)
PAGES = HtmlPages(
    Path(__file__).parent / "pages",
    filters=FILTERS,
    values={"console": CONSOLE, "asset": asset, "navigation": NAVIGATION},
)


class Flash(msgspec.Struct, frozen=True):
    """What a change came to, told on the next page."""

    kind: Literal["done", "failed"]
    text: str


def page(
    request: WebRequest, name: str, *, status: HTTPStatus = HTTPStatus.OK, **values: Any
) -> Response[str]:
    """Return the page *name* with *values*, in the frame that every page has."""
    principal: Principal | None = request.scope["state"].get("principal")
    is_part = "hx-request" in request.headers
    flash = None if is_part else _flash(request)
    frame = {
        "path": request.scope["path"],
        "principal": principal,
        "scopes": principal.scopes if principal else frozenset(),
        "csrf": csrf_token(request),
        "flash": flash,
    }
    headers = {}
    if flash is not None:
        headers["Set-Cookie"] = cookie_header(FLASH, "", seconds=0, is_secure=False)
    return Response(
        PAGES.render(name, {**frame, **values}),
        status_code=status,
        media_type=_HTML,
        headers=headers,
    )


def redirect(to: str, flash: Flash | None = None, *, cookie: str | None = None) -> Response[str]:
    """Send the browser to *to*, where *flash* is told."""
    headers = {"Location": to}
    if flash is not None:
        value = base64.urlsafe_b64encode(msgspec.json.encode(flash)).decode()
        headers["Set-Cookie"] = cookie_header(FLASH, value, seconds=60, is_secure=False)
    if cookie is not None:
        headers["Set-Cookie"] = cookie
    return Response("", status_code=HTTPStatus.SEE_OTHER, media_type=_HTML, headers=headers)


def _flash(request: WebRequest) -> Flash | None:
    text = request.cookies.get(FLASH)
    if not text:
        return None
    try:
        return msgspec.json.decode(base64.urlsafe_b64decode(text), type=Flash)
    except (ValueError, msgspec.MsgspecError):
        return None


def csrf_token(request: WebRequest) -> str:
    """Return what a form must carry: only a page that this browser was given knows it."""
    browser: str = request.scope["state"].get("browser", "")
    return hashlib.sha256(f"form {browser}".encode()).hexdigest()


def is_csrf_token(request: WebRequest, given: str) -> bool:
    """Whether *given* came from a form of ours, shown to this browser."""
    return hmac.compare_digest(csrf_token(request).encode(), given.encode())
