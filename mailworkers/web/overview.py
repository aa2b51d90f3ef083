"""Routes that tell how the whole service does: counts, ages, processes, the audit trail."""

from typing import Annotated

import msgspec
from litestar import get
from litestar.params import QueryParameter

from mailworkers.adapters.store.operator_actions import Action, list_actions
from mailworkers.adapters.store.overview import Process, Stats, list_processes, read_stats
from mailworkers.adapters.store.pool import Connection
from mailworkers.core.situations import Situation
from mailworkers.web.backend import backend_of
from mailworkers.web.cursors import read_number_cursor, write_number_cursor
from mailworkers.web.deliveries import Cursor, Limit
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs

Subject = Annotated[
    str | None,
    QueryParameter(max_length=400, description="what was changed: `delivery <id>`, `pause 3`, ..."),
]


class ProcessList(msgspec.Struct, frozen=True):
    """The processes that gave a sign of life in the last minute, by role."""

    items: list[Process]


class ActionPage(msgspec.Struct, frozen=True):
    """Lines of the audit trail, newest first; `next_cursor` leads to older ones."""

    items: list[Action]
    next_cursor: str | None


@get(
    "/status",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getStatus",
    summary="Show how the whole service stands",
    tags=["operating"],
    opt={"answer": Situation},
)
async def get_status(request: WebRequest) -> Situation:
    """Tell what `mailworkers status` shows: stores, roles, queue, relay, troubles.

    Answers while a store is away, too: then without what that store would tell. `problems` is what
    is wrong now, each with what to do next; an empty list means that all is well.
    """
    return await backend_of(request).look()


@get(
    "/stats",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getStats",
    summary="Show counts, ages and rates",
    tags=["operating"],
    opt={"answer": Stats},
)
async def get_stats(request: WebRequest) -> Stats:
    """Tell how many deliveries live and how old they are, and what has ended lately."""
    return await backend_of(request).ask(read_stats)


@get(
    "/roles",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listRoles",
    summary="Show the processes that are alive",
    tags=["operating"],
    opt={"answer": ProcessList},
)
async def get_roles(request: WebRequest) -> ProcessList:
    """List the processes of every host, with what they say of themselves."""
    return await backend_of(request).ask(lambda conn: ProcessList(list_processes(conn)))


@get(
    "/actions",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="listActions",
    summary="Show what operators did",
    tags=["operating"],
    opt={"answer": ActionPage},
)
async def get_actions(
    request: WebRequest, subject: Subject = None, limit: Limit = 50, cursor: Cursor = None
) -> ActionPage:
    """List the audit trail, newest first: who did what to what, before, after, why."""
    before_id = read_number_cursor(cursor) if cursor else None

    def question(conn: Connection) -> ActionPage:
        rows = list_actions(conn, subject=subject, before_id=before_id, limit=limit + 1)
        items = rows[:limit]
        more = write_number_cursor(items[-1].action_id) if len(rows) > limit else None
        return ActionPage(items, more)

    return await backend_of(request).ask(question)
