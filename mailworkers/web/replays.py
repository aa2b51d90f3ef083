"""Routes by which operators send dead letters again in bulk, watch that, and stop it."""

from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from litestar import Response, get, post
from litestar.params import PathParameter
from msgspec import Meta

from mailworkers.adapters.store import database_time
from mailworkers.adapters.store.dead_letters import Cause, DeadLetterFilter
from mailworkers.adapters.store.pool import Connection
from mailworkers.adapters.store.reads import LANES
from mailworkers.adapters.store.replays import (
    Replay,
    ReplayPlan,
    cancel_replay,
    find_replay,
    list_replays,
    order_replay,
    plan_replay,
)
from mailworkers.core.refusals import Refused, bad_value
from mailworkers.web.answers import Milliseconds, Reason, ReasonRequest
from mailworkers.web.backend import backend_of
from mailworkers.web.cursors import read_number_cursor, write_number_cursor
from mailworkers.web.deliveries import Cursor, Limit
from mailworkers.web.errors import ErrorCode, Problem, refused
from mailworkers.web.examples import REPLAY
from mailworkers.web.orders import Order, WebRequest, address_of, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of

SLOWEST, USUAL, FASTEST = 0.001, 10.0, 1000.0  # a second
MOST_NAMED = 1000
_FILTER = (
    "cause",
    "source",
    "lane",
    "recipient",
    "template",
    "from_ms",
    "to_ms",
    "resolved",
    "dead_letter_ids",
)

ReplayId = Annotated[int, PathParameter(ge=1, le=2**63 - 1, description="the number of a replay")]


class ReplayFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which dead letters to send again: the filters of their list, or their numbers, or both.

    Without `resolved` those that somebody has seen to are left out; null takes them all.
    """

    cause: list[Cause] = []
    source: list[Annotated[str, Meta(min_length=1, max_length=64)]] = []
    lane: list[Literal["auth", "normal", "bulk"]] = []
    recipient: Annotated[str, Meta(min_length=3, max_length=1000)] | None = None
    template: Annotated[str, Meta(min_length=1, max_length=100)] | None = None
    from_ms: Milliseconds | None = None
    to_ms: Milliseconds | None = None
    resolved: bool | None = False
    dead_letter_ids: Annotated[list[Annotated[int, Meta(ge=1)]], Meta(max_length=1000)] = []


class ReplayRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to send again, why, and how many a second; `dry_run` only counts.

    `expires_at_ms` replaces the deliveries' own, needed for those past theirs.
    """

    reason: Reason
    filter: ReplayFilter = ReplayFilter()
    rate_per_second: Annotated[float, Meta(ge=SLOWEST, le=FASTEST)] = USUAL
    dry_run: bool = False
    expires_at_ms: Milliseconds | None = None


class ReplayAnswer(msgspec.Struct, frozen=True):
    """What a replay does, or with `dry_run` would do; `replay_id` is null then."""

    replay_id: int | None
    plan: ReplayPlan


class ReplayPage(msgspec.Struct, frozen=True):
    """Replays, newest first, without outcomes; `next_cursor` leads to older ones."""

    items: list[Replay]
    next_cursor: str | None


@post(
    "/dead-letters:replay",
    status_code=HTTPStatus.ACCEPTED,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="replayDeadLetters",
    summary="Send dead letters again",
    tags=["dead letters"],
    opt={
        "answer": ReplayAnswer,
        "also_answers": {HTTPStatus.OK: "The counts of a dry run; nothing was changed."},
        "body": (ReplayRequest,),
        "examples": REPLAY,
    },
)
async def post_replay(request: WebRequest) -> Response[ReplayAnswer]:
    """Order that dead letters are sent again, so many a second: 202, and a scheduler does it.

    Those that cannot be are left as they are: auth mail, mail whose content was deleted, mail past
    its `expires_at` unless a new one is given. When that is all of them: 409 `nothing_to_replay`.
    """
    order = await read_order(
        request, "reason", "filter", "rate_per_second", "dry_run", "expires_at_ms"
    )
    try:
        is_dry, wanted = bool(order.flag("dry_run")), _filter(order)
        rate = order.number("rate_per_second", SLOWEST, FASTEST) or USUAL
        reason, expires_at = order.reason, order.time("expires_at_ms")
    except Refused as error:
        raise refused(error.refusal()) from None
    actor = principal_of(request).name

    def act(conn: Connection) -> ReplayAnswer:
        if expires_at is not None and expires_at <= database_time(conn):
            raise refused(bad_value("expires_at_ms", "has passed").refusal())
        plan = plan_replay(conn, wanted, rate=rate, expires_at=expires_at)
        if is_dry:
            return ReplayAnswer(None, plan)
        made = order_replay(
            conn, wanted, rate=rate, actor=actor, reason=reason, expires_at=expires_at
        )
        if made is None:
            raise _nothing(plan)
        return ReplayAnswer(made.replay_id, plan)

    backend = backend_of(request)
    answer = await backend.ask(act)
    if is_dry:
        return Response(answer, status_code=HTTPStatus.OK)
    backend.wake_scheduler()
    return Response(answer)


def _filter(order: Order) -> DeadLetterFilter:
    """Return which dead letters the body means; Refused where it cannot be read."""
    inner = order.inner("filter", *_FILTER)
    recipient = inner.text("recipient", 1000)
    return DeadLetterFilter(
        causes=tuple(map(Cause, inner.choices("cause", tuple(Cause)))),
        sources=inner.texts("source", 100, 64),
        lanes=inner.choices("lane", tuple(LANES)),
        recipient=address_of(recipient, "filter.recipient") if recipient else None,
        template_id=inner.text("template", 100),
        created_from=inner.time("from_ms"),
        created_to=inner.time("to_ms"),
        is_resolved=inner.flag("resolved") if inner.has("resolved") else False,
        dead_letter_ids=inner.numbers("dead_letter_ids", MOST_NAMED),
    )


def _nothing(plan: ReplayPlan) -> Problem:
    hindered = {f"{c.hindrance}": c.count for c in plan.counts if c.hindrance}
    return Problem(
        HTTPStatus.CONFLICT,
        ErrorCode.NOTHING_TO_REPLAY,
        "none of these dead letters can be sent again" if plan.matched else "no dead letter is it",
        details={"matched": plan.matched, "hindered": hindered},
    )


@get(
    "/replays",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listReplays",
    summary="Show the replays that were ordered",
    tags=["dead letters"],
    opt={"answer": ReplayPage},
)
async def get_replays(request: WebRequest, limit: Limit = 50, cursor: Cursor = None) -> ReplayPage:
    """List replays of dead letters, newest first."""
    before_id = read_number_cursor(cursor) if cursor else None

    def question(conn: Connection) -> ReplayPage:
        rows = list_replays(conn, before_id=before_id, limit=limit + 1)
        items = rows[:limit]
        more = write_number_cursor(items[-1].replay_id) if len(rows) > limit else None
        return ReplayPage(items, more)

    return await backend_of(request).ask(question)


@get(
    "/replays/{replay_id:int}",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getReplay",
    summary="Show how far a replay is",
    tags=["dead letters"],
    opt={"answer": Replay, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_replay(request: WebRequest, replay_id: ReplayId) -> Replay:
    """Show a replay with what has become of its deliveries; `scheduled` ones are still to come."""
    return await backend_of(request).ask(lambda conn: find_replay(conn, replay_id)) or _none()


@post(
    "/replays/{replay_id:int}/cancel",
    status_code=HTTPStatus.ACCEPTED,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="cancelReplay",
    summary="Stop a replay",
    tags=["dead letters"],
    opt={
        "answer": Replay,
        "body": (ReasonRequest,),
        "examples": {"stop": {"reason": "the relay is down again"}},
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def post_replay_cancel(request: WebRequest, replay_id: ReplayId) -> Replay:
    """Stop a replay: what it left `scheduled` is put back as it was; what has gone on is not.

    A scheduler does it; repeating it is safe.
    """
    order = await read_order(request, "reason")
    try:
        reason = order.reason
    except Refused as error:
        raise refused(error.refusal()) from None
    actor, backend = principal_of(request).name, backend_of(request)
    found = await backend.ask(
        lambda conn: cancel_replay(conn, replay_id, actor=actor, reason=reason)
    )
    backend.wake_scheduler()
    return found or _none()


def _none() -> Replay:
    raise Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is no such replay")
