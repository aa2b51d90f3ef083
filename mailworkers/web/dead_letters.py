"""Routes by which operators look after dead letters one by one."""

from datetime import datetime
from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import get, post
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from mailworkers.adapters.store.dead_letters import (
    Cause,
    DeadLetter,
    DeadLetterFilter,
    find_dead_letter,
    list_dead_letters,
    resolve_dead_letter,
)
from mailworkers.adapters.store.pool import Connection
from mailworkers.adapters.store.reads import NumberedPosition
from mailworkers.core.refusals import Refused, missing_field
from mailworkers.web.backend import backend_of
from mailworkers.web.cursors import read_numbered_cursor, write_numbered_cursor
from mailworkers.web.deliveries import Cursor, Lanes, Limit, Sources, Template, To, certain
from mailworkers.web.errors import ErrorCode, Problem, refused
from mailworkers.web.orders import LONGEST_REASON, WebRequest, address_of, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of

DeadLetterId = Annotated[
    int, PathParameter(ge=1, le=2**63 - 1, description="the number of a dead letter")
]
Causes = Annotated[list[Cause] | None, QueryParameter(description="one of these; may be repeated")]
Resolved = Annotated[
    bool | None,
    QueryParameter(description="true: those somebody has seen to; false: the others"),
]
From = Annotated[
    datetime | None,
    QueryParameter(name="from", description="ended at this time or later, RFC 3339"),
]
Until = Annotated[
    datetime | None, QueryParameter(name="to", description="ended before this time, RFC 3339")
]


class DeadLetterPage(msgspec.Struct, frozen=True):
    """Dead letters, newest first; `next_cursor` leads to older ones, null at the end.

    A page with filters may be short, even empty, and still have a `next_cursor`: it ends after
    5,000 that were looked at.
    """

    items: list[DeadLetter]
    next_cursor: str | None


class ResolveRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was done about a dead letter."""

    note: Annotated[
        str, Meta(min_length=1, max_length=500, description="stands in the audit trail")
    ]


@get(
    "/dead-letters",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listDeadLetters",
    summary="Find dead letters",
    tags=["dead letters"],
    opt={"answer": DeadLetterPage},
)
async def get_dead_letters(
    request: WebRequest,
    cause: Causes = None,
    source: Sources = None,
    lane: Lanes = None,
    recipient: To = None,
    template: Template = None,
    received_from: From = None,
    received_to: Until = None,
    resolved: Resolved = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> DeadLetterPage:
    """List deliveries that are failed or dead_letter now, newest first."""
    wanted = DeadLetterFilter(
        causes=tuple(cause or ()),
        sources=tuple(source or ()),
        lanes=tuple(lane or ()),
        recipient=address_of(recipient, "recipient") if recipient else None,
        template_id=template,
        created_from=certain("from", received_from),
        created_to=certain("to", received_to),
        is_resolved=resolved,
    )
    before = read_numbered_cursor(cursor) if cursor else None
    return await backend_of(request).ask(lambda conn: _page(conn, wanted, before, limit))


def _page(
    conn: Connection, wanted: DeadLetterFilter, before: NumberedPosition | None, limit: int
) -> DeadLetterPage:
    found = list_dead_letters(conn, wanted, before=before, limit=limit)
    return DeadLetterPage(found.items, write_numbered_cursor(found.next) if found.next else None)


@get(
    "/dead-letters/{dead_letter_id:int}",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getDeadLetter",
    summary="Show one dead letter",
    tags=["dead letters"],
    opt={"answer": DeadLetter, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_dead_letter(request: WebRequest, dead_letter_id: DeadLetterId) -> DeadLetter:
    """Show a dead letter, also one that is closed: its delivery was sent again since."""
    found = await backend_of(request).ask(lambda conn: find_dead_letter(conn, dead_letter_id))
    return found or _none()


@post(
    "/dead-letters/{dead_letter_id:int}/resolve",
    status_code=HTTPStatus.OK,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="resolveDeadLetter",
    summary="Note that a dead letter was seen to",
    tags=["dead letters"],
    opt={
        "answer": DeadLetter,
        "body": (ResolveRequest,),
        "examples": {"resolve": {"note": "they were told by phone"}},
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def post_resolve(request: WebRequest, dead_letter_id: DeadLetterId) -> DeadLetter:
    """Take a dead letter off the list of what is to be seen to; its delivery stays as it ended.

    One that was resolved before is answered as it was then. One that is closed: 409
    `not_resolvable`.
    """
    order = await read_order(request, "note")
    try:
        note = order.text("note", LONGEST_REASON)
        if note is None:
            raise missing_field("note", "is needed: it says what was done")
    except Refused as error:
        raise refused(error.refusal()) from None
    actor = principal_of(request).name
    found = await backend_of(request).ask(
        lambda conn: resolve_dead_letter(conn, dead_letter_id, actor=actor, note=note)
    )
    if found is not None and found.closed_at is not None and found.resolved_at is None:
        raise Problem(
            HTTPStatus.CONFLICT,
            ErrorCode.NOT_RESOLVABLE,
            f"it is no dead letter any more: its delivery is {found.status}",
            details={"status": found.status},
        )
    return found or _none()


def _none() -> DeadLetter:
    raise Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is no such dead letter")
