"""Routes of the list of addresses that get no mail."""

from http import HTTPStatus
from typing import Annotated

import msgspec
from litestar import delete, get, put
from litestar.params import PathParameter, QueryParameter
from msgspec import Meta

from mailworkers.adapters.store import database_time
from mailworkers.adapters.store.pool import Connection
from mailworkers.adapters.store.suppressions import (
    EVERYTHING,
    Key,
    Listing,
    Suppression,
    list_suppressions,
    put_suppressions,
    remove_suppressions,
)
from mailworkers.core.refusals import Refused, bad_value
from mailworkers.web.answers import Milliseconds, Reason
from mailworkers.web.backend import backend_of
from mailworkers.web.cursors import read_pair_cursor, write_pair_cursor
from mailworkers.web.deliveries import Cursor, Limit
from mailworkers.web.errors import ErrorCode, Problem, refused
from mailworkers.web.orders import WebRequest, WhyParameter, address_of, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of

Address = Annotated[str, PathParameter(description="an address, in any case or form")]
Scope = Annotated[
    str | None,
    QueryParameter(name="scope", max_length=64, description="a source, or `*` for all mail"),
]


class SuppressionPage(msgspec.Struct, frozen=True):
    """Suppressions by address; `next_cursor` leads to more, null at the end."""

    items: list[Suppression]
    next_cursor: str | None


class SuppressRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why an address gets no mail: of one source (`scope`) or none at all; for ever, or until."""

    reason: Reason
    scope: Annotated[str, Meta(min_length=1, max_length=64)] = EVERYTHING
    expires_at_ms: Milliseconds | None = None


@get(
    "/suppressions",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listSuppressions",
    summary="Show the addresses that get no mail",
    tags=["operating"],
    opt={"answer": SuppressionPage},
)
async def get_suppressions(
    request: WebRequest, of_scope: Scope = None, limit: Limit = 50, cursor: Cursor = None
) -> SuppressionPage:
    """List suppressed addresses by address and scope; what has expired is left out."""
    after = read_pair_cursor(cursor) if cursor else None
    return await backend_of(request).ask(lambda conn: _page(conn, None, of_scope, after, limit))


@get(
    "/suppressions/{address:path}",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getSuppression",
    summary="Show whether an address gets mail",
    tags=["operating"],
    opt={"answer": SuppressionPage, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_suppression(request: WebRequest, address: Address) -> SuppressionPage:
    """List in which scopes an address is suppressed; 404 when in none."""
    wanted = address_of(address.removeprefix("/"), "address")
    found = await backend_of(request).ask(lambda conn: _page(conn, wanted, None, None, 200))
    if not found.items:
        raise _not_listed()
    return found


def _page(
    conn: Connection, canonical: str | None, scope: str | None, after: Key | None, limit: int
) -> SuppressionPage:
    rows = list_suppressions(conn, canonical=canonical, scope=scope, after=after, limit=limit + 1)
    items = rows[:limit]
    more = write_pair_cursor((items[-1].canonical, items[-1].scope)) if len(rows) > limit else None
    return SuppressionPage(items, more)


@put(
    "/suppressions/{address:path}",
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="suppressAddress",
    summary="Send an address no more mail",
    tags=["operating"],
    opt={
        "answer": Suppression,
        "body": (SuppressRequest,),
        "examples": {
            "for ever": {"reason": "they complained"},
            "one source": {
                "reason": "unsubscribed",
                "scope": "newsletter",
                "expires_at_ms": 4102358400000,
            },
        },
    },
)
async def put_suppression(request: WebRequest, address: Address) -> Suppression:
    """Put an address on the list, or give it another reason and end.

    It holds for mail that was accepted already, unless a sender has it in hand.
    """
    order = await read_order(request, "reason", "scope", "expires_at_ms")
    canonical, actor = address_of(address.removeprefix("/"), "address"), principal_of(request).name
    try:
        scope = order.text("scope", 64) or EVERYTHING
        listing = Listing(canonical, order.reason, scope, order.time("expires_at_ms"))
    except Refused as error:
        raise refused(error.refusal()) from None

    def change(conn: Connection) -> Suppression:
        if listing.expires_at is not None and listing.expires_at <= database_time(conn):
            raise refused(bad_value("expires_at_ms", "has passed").refusal())
        put_suppressions(conn, [listing], actor=actor, reason=listing.reason)
        return list_suppressions(conn, canonical=canonical, scope=scope, limit=1)[0]

    return await backend_of(request).ask(change)


@delete(
    "/suppressions/{address:path}",
    status_code=HTTPStatus.OK,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="unsuppressAddress",
    summary="Send an address mail again",
    tags=["operating"],
    opt={"answer": SuppressionPage, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def delete_suppression(
    request: WebRequest, address: Address, why: WhyParameter, of_scope: Scope = None
) -> SuppressionPage:
    """Take an address off the list: of one scope, or without `scope` of all mail (`*`)."""
    key = (address_of(address.removeprefix("/"), "address"), of_scope or EVERYTHING)
    actor = principal_of(request).name
    gone = await backend_of(request).ask(
        lambda conn: remove_suppressions(conn, [key], actor=actor, reason=why)
    )
    if not gone:
        raise _not_listed()
    return SuppressionPage(gone, None)


def _not_listed() -> Problem:
    return Problem(
        HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "this address is not on the list in this scope"
    )
