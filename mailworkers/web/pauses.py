"""Routes that hold mail back and let it go."""

from http import HTTPStatus
from typing import Annotated, Literal

import msgspec
from litestar import delete, get, post
from litestar.params import PathParameter
from msgspec import Meta

from mailworkers.adapters.store.pauses import Pause, add_pause, list_pauses, remove_pause
from mailworkers.adapters.store.pool import Connection
from mailworkers.adapters.store.reads import LANES
from mailworkers.core.refusals import Refused, bad_value
from mailworkers.web.answers import Milliseconds, Reason
from mailworkers.web.backend import backend_of
from mailworkers.web.errors import ErrorCode, Problem, refused
from mailworkers.web.orders import Order, WebRequest, WhyParameter, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of

PauseId = Annotated[int, PathParameter(ge=1, le=2**63 - 1, description="the number of a pause")]


class PauseList(msgspec.Struct, frozen=True):
    """What is held back now, oldest first."""

    items: list[Pause]


class PauseRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What to hold back: a lane, a source, both together; without either all mail."""

    reason: Reason
    lane: Literal["auth", "normal", "bulk"] | None = None
    source: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    ends_at_ms: Milliseconds | None = None


@get(
    "/pauses",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listPauses",
    summary="Show what is held back",
    tags=["operating"],
    opt={"answer": PauseList},
)
async def get_pauses(request: WebRequest) -> PauseList:
    """List the pauses that hold now."""
    return await backend_of(request).ask(lambda conn: PauseList(list_pauses(conn)))


@post(
    "/pauses",
    status_code=HTTPStatus.CREATED,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="pauseMail",
    summary="Hold mail back",
    tags=["operating"],
    opt={
        "answer": Pause,
        "body": (PauseRequest,),
        "examples": {
            "a lane": {"lane": "bulk", "reason": "the relay is slow"},
            "all mail": {"reason": "the relay is moved", "ends_at_ms": 4102358400000},
        },
    },
)
async def post_pause(request: WebRequest) -> Pause:
    """Hold mail back from the next lease on; what a sender has in hand still goes out.

    Mail is accepted as before, and waits.
    """
    order = await read_order(request, "reason", "lane", "source", "ends_at_ms")
    actor = principal_of(request).name
    try:
        lane, reason, ends_at = _lane(order), order.reason, order.time("ends_at_ms")
        source = order.text("source", 64)
    except Refused as error:
        raise refused(error.refusal()) from None
    return await backend_of(request).ask(
        lambda conn: add_pause(
            conn,
            lane=LANES[lane] if lane else None,
            source=source,
            actor=actor,
            reason=reason,
            ends_at=ends_at,
        )
    )


def _lane(order: Order) -> str | None:
    lane = order.text("lane", 10)
    if lane is not None and lane not in LANES:
        raise bad_value("lane", f"is none of {', '.join(LANES)}")
    return lane


@delete(
    "/pauses/{pause_id:int}",
    status_code=HTTPStatus.OK,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="resumeMail",
    summary="Let mail go again",
    tags=["operating"],
    opt={"answer": Pause, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def delete_pause(request: WebRequest, pause_id: PauseId, why: WhyParameter) -> Pause:
    """End a pause before its time; what waited goes out at once."""
    actor = principal_of(request).name

    def change(conn: Connection) -> Pause | None:
        return remove_pause(conn, pause_id, actor=actor, reason=why)

    backend = backend_of(request)
    ended = await backend.ask(change)
    if ended is None:
        raise Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is no such pause")
    backend.wake_senders()
    return ended
