"""Routes by which operators look at entries of the stream that were refused, and replay them."""

from http import HTTPStatus
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import PathParameter, QueryParameter

from mailworkers.adapters.reinjection import Reinjection, is_secret
from mailworkers.adapters.store.malformed import (
    MalformedCommand,
    MalformedFilter,
    find_malformed,
    list_malformed,
    read_entry,
)
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.adapters.store.pool import Connection
from mailworkers.core.commands import SourceKind
from mailworkers.core.refusals import FailureCode, Refused
from mailworkers.web.answers import Reason
from mailworkers.web.backend import backend_of
from mailworkers.web.cursors import read_numbered_cursor, write_numbered_cursor
from mailworkers.web.dead_letters import From, Until
from mailworkers.web.deliveries import Cursor, Limit, Sources, certain
from mailworkers.web.errors import ErrorCode, Problem, refused
from mailworkers.web.orders import WebRequest, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import Principal, needs, principal_of, require_scope

MalformedId = Annotated[
    int, PathParameter(ge=1, le=2**63 - 1, description="the number of a refused entry")
]
Codes = Annotated[
    list[FailureCode] | None, QueryParameter(description="one of these; may be repeated")
]
Replayed = Annotated[
    bool | None, QueryParameter(description="true: those replayed since; false: the others")
]


class MalformedPage(msgspec.Struct, frozen=True):
    """Refused entries, newest first; `next_cursor` leads to older ones, null at the end.

    A page with filters may be short, even empty, and still have a `next_cursor`: it ends after
    5,000 that were looked at.
    """

    items: list[MalformedCommand]
    next_cursor: str | None


class MalformedDetail(msgspec.Struct, frozen=True):
    """A refused entry, and where `content` was asked for its fields as text.

    `fields` is null where they were not asked for, or not kept as a whole.
    """

    command: MalformedCommand
    fields: dict[str, str] | None


class ReplayEntryRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why an entry is taken in after all; `dry_run`: only say what would become of it."""

    reason: Reason
    dry_run: bool = False


class ReplayedCommand(msgspec.Struct, frozen=True):
    """A refused entry that is a delivery now; `repeated`: it was one before.

    After a dry run nothing was changed, and it would be.
    """

    malformed_id: int
    delivery_id: UUID
    outcome: Literal["accepted", "repeated"]
    dry_run: bool = False


@get(
    "/malformed-commands",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listMalformedCommands",
    summary="Find entries that were refused",
    tags=["malformed commands"],
    opt={"answer": MalformedPage},
)
async def get_malformed_commands(
    request: WebRequest,
    failure_code: Codes = None,
    source: Sources = None,
    replayed: Replayed = None,
    received_from: From = None,
    received_to: Until = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> MalformedPage:
    """List entries of the stream that were refused, newest first, with the reason."""
    wanted = MalformedFilter(
        failure_codes=tuple(failure_code or ()),
        sources=tuple(source or ()),
        is_replayed=replayed,
        received_from=certain("from", received_from),
        received_to=certain("to", received_to),
    )
    before = read_numbered_cursor(cursor) if cursor else None
    found = await backend_of(request).ask(
        lambda conn: list_malformed(conn, wanted, before=before, limit=limit)
    )
    return MalformedPage(found.items, write_numbered_cursor(found.next) if found.next else None)


@get(
    "/malformed-commands/{malformed_id:int}",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getMalformedCommand",
    summary="Show an entry that was refused",
    tags=["malformed commands"],
    opt={"answer": MalformedDetail, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_malformed_command(
    request: WebRequest,
    malformed_id: MalformedId,
    content: Annotated[
        bool, QueryParameter(description="true: what stood in the entry, too")
    ] = False,
) -> MalformedDetail:
    """Show why an entry was refused.

    What stood in one of auth mail, or of nobody knows whom, needs the scope `admin`, and looking at
    it is recorded.
    """
    backend, principal = backend_of(request), principal_of(request)

    def question(conn: Connection) -> MalformedDetail | None:
        found = find_malformed(conn, malformed_id)
        if found is None:
            return None
        fields = _fields(conn, malformed_id, principal, backend.sources) if content else None
        return MalformedDetail(found, fields)

    found = await backend.ask(question)
    if found is None:
        raise _none()
    return found


def _fields(
    conn: Connection, malformed_id: int, principal: Principal, sources: dict[str, SourceKind]
) -> dict[str, str] | None:
    """Return the fields of an entry to *principal*, or raise the answer that refuses them."""
    fields = read_entry(conn, malformed_id)
    if fields is None:
        return None
    if is_secret(fields, sources):
        require_scope(principal, "admin")
        subject = f"malformed command {malformed_id}"
        record_action(conn, actor=principal.name, action="read_content", subject=subject)
    return {n.decode("utf-8", "replace"): v.decode("utf-8", "replace") for n, v in fields.items()}


@post(
    "/malformed-commands/{malformed_id:int}/replay",
    status_code=HTTPStatus.OK,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="replayMalformedCommand",
    summary="Take in an entry that was refused",
    tags=["malformed commands"],
    opt={
        "answer": ReplayedCommand,
        "body": (ReplayEntryRequest,),
        "examples": {
            "replay": {"reason": "the template is there now"},
            "dry_run": {"reason": "is the template there now?", "dry_run": True},
        },
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def post_malformed_replay(request: WebRequest, malformed_id: MalformedId) -> ReplayedCommand:
    """Judge an entry again, as if it stood on the stream now; repeating it is safe.

    With `dry_run` the answer is the same and nothing is changed.

    409 `not_replayable` when it is refused again, with the failure code as `details.reason`, was
    too large to be kept (`incomplete`), or is of auth mail (`auth`).
    """
    order = await read_order(request, "reason", "dry_run")
    try:
        reason, is_dry = order.reason, bool(order.flag("dry_run"))
    except Refused as error:
        raise refused(error.refusal()) from None
    actor, backend = principal_of(request).name, backend_of(request)
    done = await backend.take_in(
        lambda conn, acceptor: acceptor.reinject(
            conn,
            malformed_id,
            sources=backend.sources,
            actor=actor,
            reason=reason,
            is_dry=is_dry,
        )
    )
    if done is None:
        raise _none()
    if done.delivery_id is None:
        raise _not_replayable(done)
    outcome: Literal["accepted", "repeated"] = "accepted" if done.status else "repeated"
    return ReplayedCommand(malformed_id, done.delivery_id, outcome, is_dry)


def _not_replayable(done: Reinjection) -> Problem:
    if done.obstacle is not None:
        reason, words, path = str(done.obstacle), done.obstacle.words, ""
    else:
        refusal = done.refusal
        reason = str(refusal.code) if refusal else ""
        words, path = (refusal.detail, refusal.path) if refusal else ("", "")
    return Problem(
        HTTPStatus.CONFLICT,
        ErrorCode.NOT_REPLAYABLE,
        words,
        details={"reason": reason} | ({"path": path} if path else {}),
    )


def _none() -> Problem:
    return Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is no such refused entry")
