"""Routes that tell what became of deliveries."""

import asyncio
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.params import PathParameter, QueryParameter

from mailworkers.adapters.store import reads
from mailworkers.adapters.store.delivery_pages import page_deliveries
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.adapters.store.pool import Connection
from mailworkers.adapters.store.reads import LANES, Delivery, DeliveryFilter, Position
from mailworkers.core.commands import SourceKind
from mailworkers.core.states import Lane, Status
from mailworkers.web.answers import AttemptPage, Content, DeliveryPage
from mailworkers.web.backend import backend_of
from mailworkers.web.content import read_content
from mailworkers.web.cursors import (
    read_cursor,
    read_number_cursor,
    write_cursor,
    write_number_cursor,
)
from mailworkers.web.errors import ErrorCode, Problem, bad_parameter, no_delivery
from mailworkers.web.orders import WebRequest, address_of
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import Principal, needs, principal_of, require_scope

Limit = Annotated[int, QueryParameter(ge=1, le=200, description="most items on the page")]
Cursor = Annotated[
    str | None, QueryParameter(max_length=500, description="`next_cursor` of the page before")
]
DeliveryId = Annotated[UUID, PathParameter(description="the id of a delivery")]


# The filters of the list. A misspelt one is refused, so that it does not show everything.
Statuses = Annotated[
    list[Status] | None, QueryParameter(description="one of these; may be repeated")
]
Sources = Annotated[list[str] | None, QueryParameter(description="one of these; may be repeated")]
Lanes = Annotated[
    list[Literal["auth", "normal", "bulk"]] | None,
    QueryParameter(description="one of these; may be repeated"),
]
To = Annotated[
    str | None, QueryParameter(max_length=1000, description="in To, Cc or Bcc, in any case")
]
Template = Annotated[str | None, QueryParameter(max_length=100, description="a template_id")]
From = Annotated[
    datetime | None,
    QueryParameter(name="from", description="accepted at this time or later, RFC 3339"),
]
Until = Annotated[
    datetime | None, QueryParameter(name="to", description="accepted before this time, RFC 3339")
]


@get(
    "/deliveries",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listDeliveries",
    summary="Find deliveries",
    tags=["deliveries"],
    opt={"answer": DeliveryPage},
)
async def get_deliveries(
    request: WebRequest,
    status: Statuses = None,
    source: Sources = None,
    lane: Lanes = None,
    recipient: To = None,
    template: Template = None,
    created_from: From = None,
    created_to: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeliveryPage:
    """List deliveries, newest first.

    A page neither skips nor repeats what was there when the first one was read, whatever comes in
    meanwhile. With filters a page may be short, even empty, and still have a `next_cursor`: it ends
    after 10,000 that were looked at.
    """
    wanted = DeliveryFilter(
        statuses=tuple(status or ()),
        sources=tuple(source or ()),
        lanes=tuple(LANES[label] for label in lane or ()),
        template_id=template,
        created_from=certain("from", created_from),
        created_to=certain("to", created_to),
    )
    before = read_cursor(cursor) if cursor else None
    address = address_of(recipient, "recipient") if recipient else None
    return await backend_of(request).ask(lambda conn: _page(conn, wanted, address, before, limit))


def certain(name: str, at: datetime | None) -> datetime | None:
    """Return *at*, which must say where on earth it is that time."""
    if at is not None and at.tzinfo is None:
        raise bad_parameter(name, "has no offset; write 2026-11-21T12:00:00Z")
    return at


def _page(
    conn: Connection,
    wanted: DeliveryFilter,
    address: str | None,
    before: Position | None,
    limit: int,
) -> DeliveryPage:
    if address is None:
        found = page_deliveries(conn, wanted, before=before, limit=limit)
        return DeliveryPage(found.items, write_cursor(found.next) if found.next else None)
    # One row more than is shown tells whether there is another page.
    rows = reads.list_deliveries_to(conn, address, wanted, before=before, limit=limit + 1)
    items = rows[:limit]
    if len(rows) == len(items):
        return DeliveryPage(items, None)
    last = items[-1]
    return DeliveryPage(items, write_cursor(Position(last.created_at, last.delivery_id)))


@get(
    "/deliveries/{delivery_id:uuid}",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getDelivery",
    summary="Show one delivery",
    tags=["deliveries"],
    opt={"answer": Delivery, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_delivery(request: WebRequest, delivery_id: DeliveryId) -> Delivery:
    """Show everything about a delivery but its content and its attempts."""
    return await backend_of(request).ask(lambda conn: find(conn, delivery_id))


def find(conn: Connection, delivery_id: UUID) -> Delivery:
    """Return one delivery with its recipients, or raise the answer 404."""
    found = reads.find_delivery(conn, delivery_id)
    if found is None:
        raise no_delivery()
    return msgspec.structs.replace(found, recipients=reads.list_recipients(conn, delivery_id))


@get(
    "/deliveries/{delivery_id:uuid}/attempts",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listAttempts",
    summary="Show the attempts of a delivery",
    tags=["deliveries"],
    opt={"answer": AttemptPage, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_attempts(
    request: WebRequest, delivery_id: DeliveryId, limit: Limit = 50, cursor: Cursor = None
) -> AttemptPage:
    """List the SMTP transactions of a delivery, newest first, with what the relay answered."""
    before_no = read_number_cursor(cursor) if cursor else None

    def question(conn: Connection) -> AttemptPage:
        rows = reads.list_attempts(conn, delivery_id, before_no=before_no, limit=limit + 1)
        if not rows and reads.find_delivery(conn, delivery_id) is None:
            raise no_delivery()
        items = rows[:limit]
        has_more = len(rows) > limit
        return AttemptPage(items, write_number_cursor(items[-1].attempt_no) if has_more else None)

    return await backend_of(request).ask(question)


@get(
    "/deliveries/{delivery_id:uuid}/content",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getContent",
    summary="Show what a delivery says",
    tags=["deliveries"],
    opt={
        "answer": Content,
        "also": ("message/rfc822",),
        "errors": (HTTPStatus.NOT_FOUND, HTTPStatus.GONE),
    },
)
async def get_content(
    request: WebRequest,
    delivery_id: DeliveryId,
    raw: Annotated[
        bool, QueryParameter(description="true: the message itself, as message/rfc822")
    ] = False,
) -> Response[Content | bytes]:
    """Show the message as it is sent.

    Auth mail holds secrets: its content needs the scope `admin`, and looking at it is recorded.
    The content goes before the delivery does: 410 then.
    """
    backend = backend_of(request)
    principal = principal_of(request)
    mime = await backend.ask(lambda conn: _mime(conn, delivery_id, principal, backend.sources))
    if raw:
        return Response(mime, media_type="message/rfc822")
    return Response(await asyncio.to_thread(read_content, delivery_id, mime))


def _mime(
    conn: Connection, delivery_id: UUID, principal: Principal, sources: dict[str, SourceKind]
) -> bytes:
    """Return the bytes of a delivery to *principal*, or raise the answer that refuses them."""
    delivery = find(conn, delivery_id)
    kind = sources.get(delivery.source)
    is_auth = delivery.lane == Lane.AUTH.label or (kind is not None and kind.auth)
    if is_auth:
        require_scope(principal, "admin")
    mime = reads.find_mime(conn, delivery_id)
    if mime is None:
        raise Problem(
            HTTPStatus.GONE, ErrorCode.CONTENT_DELETED, "the content was deleted, its time is over"
        )
    if is_auth:
        record_action(
            conn, actor=principal.name, action="read_content", subject=f"delivery {delivery_id}"
        )
    return mime
