"""Pages about deliveries: finding them, and everything about one."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from litestar import Response, get
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter

from mailworkers.adapters.store.reads import LANES
from mailworkers.core.states import FINAL, LIVE, READY, REQUEUEABLE, WAITING, Lane, Status
from mailworkers.web.answers import DeliveryPage
from mailworkers.web.backend import backend_of
from mailworkers.web.console.asking import ask
from mailworkers.web.console.pages import page, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.content import framed_html, read_content
from mailworkers.web.deliveries import (
    Cursor,
    DeliveryId,
    Template,
    To,
    get_attempts,
    get_content,
    get_deliveries,
    get_delivery,
)
from mailworkers.web.errors import Problem, bad_parameter
from mailworkers.web.histories import get_explanation, get_timeline
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs

# What people look for, before any single status.
GROUPS: dict[str, frozenset[Status]] = {
    "live": LIVE,
    "ready": READY,
    "waiting": WAITING,
    "trouble": REQUEUEABLE,
}
_TABS = ("", "live", "trouble", "sent", "suppressed", "cancelled")
_ON_A_PAGE = 50

Show = Annotated[str | None, QueryParameter(name="status", max_length=20)]
OneSource = Annotated[str | None, QueryParameter(name="source", max_length=64)]
OneLane = Annotated[str | None, QueryParameter(name="lane", max_length=10)]
# As <input type="datetime-local"> writes it; in UTC.
FromTime = Annotated[str | None, QueryParameter(name="from", max_length=40)]
ToTime = Annotated[str | None, QueryParameter(name="to", max_length=40)]


# Long: a parameter and a value of the page for each filter there is.
@get("/deliveries", guards=[needs("read")], before_request=check_query)
async def list_deliveries(
    request: WebRequest,
    status: Show = None,
    source: OneSource = None,
    lane: OneLane = None,
    recipient: To = None,
    template: Template = None,
    created_from: FromTime = None,
    created_to: ToTime = None,
    cursor: Cursor = None,
) -> Response[str]:
    """Show deliveries, newest first; a search for an id leads to its delivery."""
    if recipient is not None and (found := _as_id(recipient)) is not None:
        return redirect(f"{CONSOLE}/deliveries/{found}")
    wanted: dict[str, Any] = {"recipient": recipient, "template": template, "cursor": cursor}
    hint = ""
    try:
        answer: DeliveryPage = await ask(
            get_deliveries,
            request,
            status=_statuses(status),
            source=[source] if source else None,
            lane=[_lane(lane)] if lane else None,
            created_from=_time("from", created_from),
            created_to=_time("to", created_to),
            limit=_ON_A_PAGE,
            **wanted,
        )
    except Problem as problem:
        if problem.body.details.get("path") != "recipient":
            raise
        answer, hint = DeliveryPage([], None), problem.body.message
    asked = {k: v for k, v in request.query_params.items() if k != "cursor"}
    return page(
        request,
        "deliveries.html",
        found=answer,
        hint=hint,
        asked=asked,
        is_later=cursor is not None,
        older=_link({**asked, "cursor": answer.next_cursor}) if answer.next_cursor else "",
        newest=_link(asked),
        tabs=[(tab, _link({**asked, "status": tab})) for tab in _TABS],
        statuses=list(Status),
        groups=list(GROUPS),
        lanes=[each.label for each in Lane],
    )


def _link(asked: dict[str, Any]) -> str:
    query = urlencode({name: value for name, value in asked.items() if value})
    return f"{CONSOLE}/deliveries{'?' if query else ''}{query}"


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text) if len(text) == 36 else None
    except ValueError:
        return None


def _statuses(shown: str | None) -> list[Status] | None:
    """Return the statuses that a group, or one status, stands for."""
    if shown is None:
        return None
    if shown in GROUPS:
        return sorted(GROUPS[shown])
    if shown not in set(Status):
        raise bad_parameter("status", "is no status of a delivery")
    return [Status(shown)]


def _lane(name: str) -> str:
    if name not in LANES:
        raise bad_parameter("lane", f"is none of {', '.join(LANES)}")
    return name


def _time(name: str, text: str | None) -> datetime | None:
    """Return the time that a form gave; without an offset it is UTC."""
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise bad_parameter(name, "is not a time like 2026-11-21T12:00") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


@get("/deliveries/{delivery_id:uuid}", guards=[needs("read")], before_request=check_query)
async def show_delivery(request: WebRequest, delivery_id: DeliveryId) -> Response[str]:
    """Show one delivery: how it stands and why, what happened, to whom, what can be done."""
    routes: dict[str, HTTPRouteHandler] = {
        "delivery": get_delivery,
        "explanation": get_explanation,
        "timeline": get_timeline,
        "attempts": get_attempts,
    }
    answers = await asyncio.gather(
        *(ask(route, request, delivery_id=delivery_id) for route in routes.values())
    )
    found = dict(zip(routes, answers, strict=True))
    delivery = found["delivery"]
    return page(
        request,
        "delivery.html",
        **found,
        is_live=delivery.status not in FINAL,
        is_requeueable=delivery.status in REQUEUEABLE,
        is_overdue=delivery.expires_at is not None and delivery.expires_at <= datetime.now(UTC),
        is_auth=is_auth(request, delivery.lane, delivery.source),
    )


def is_auth(request: WebRequest, lane: str, source: str) -> bool:
    """Whether the content of a delivery is a secret: shown when asked for only, and recorded."""
    kind = backend_of(request).sources.get(source)
    return lane == Lane.AUTH.label or (kind is not None and kind.auth)


@get("/deliveries/{delivery_id:uuid}/content", guards=[needs("read")], before_request=check_query)
async def show_content(request: WebRequest, delivery_id: DeliveryId) -> Response[str]:
    """Show the message as it is sent: its headers, texts, files and source."""
    mime: bytes = await ask(get_content, request, delivery_id=delivery_id, raw=True)
    content = await asyncio.to_thread(read_content, delivery_id, mime)
    return page(
        request,
        "content.html",
        content=content,
        source=mime[:_SHOWN].decode("utf-8", "replace"),
        is_cut=len(mime) > _SHOWN,
        size=len(mime),
    )


_SHOWN = 100_000
# The mail's own HTML may show its text, its style and its own pictures, and nothing else.
FRAME_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:;"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'; sandbox"
)


@get("/deliveries/{delivery_id:uuid}/html", guards=[needs("read")], before_request=check_query)
async def frame_html(request: WebRequest, delivery_id: DeliveryId) -> Response[str]:
    """Serve the HTML of a message for a frame that may do nothing but show it."""
    mime: bytes = await ask(get_content, request, delivery_id=delivery_id, raw=True)
    html = await asyncio.to_thread(framed_html, mime)
    return framed(html)


def framed(html: str) -> Response[str]:
    """Return *html*, a stranger's, as what stands in a frame."""
    headers = {"Content-Security-Policy": FRAME_POLICY}
    return Response(html, media_type="text/html", headers=headers)


@get("/deliveries/{delivery_id:uuid}/source", guards=[needs("read")], before_request=check_query)
async def download_source(request: WebRequest, delivery_id: DeliveryId) -> Response[bytes]:
    """Hand the message out as a file."""
    mime: bytes = await ask(get_content, request, delivery_id=delivery_id, raw=True)
    disposition = f'attachment; filename="{delivery_id}.eml"'
    return Response(mime, media_type="message/rfc822", headers={"Content-Disposition": disposition})
