"""Pages of deliveries whose filters hardly anything passes: short ones, rather than slow ones.

There is no index for each filter: every index of `deliveries` is paid for with every move. A page
looks at so many of the newest, gives what is wanted of them, and says where to go on. Statuses that
are rare have indexes of their own, so each group of them that shares one is looked for apart.
"""

from typing import NamedTuple

import msgspec

from mailworkers.adapters.db import SQL, Connection
from mailworkers.adapters.sqlstates import translated
from mailworkers.adapters.store.reads import DeliveryFilter, DeliverySummary, Position, list_as
from mailworkers.core.states import READY, REQUEUEABLE, WAITING, Status

# How many a page looks at for those that are wanted.
_MOST_LOOKED_AT = 10_000
# Statuses that one partial index holds, and hardly anything else.
_GROUPS = (REQUEUEABLE, READY, WAITING, frozenset({Status.SENDING}))


class FoundDeliveries(msgspec.Struct, frozen=True):
    """A page of deliveries; *next* is where to go on, None when all were looked at."""

    items: list[DeliverySummary]
    next: Position | None


class _Part(NamedTuple):
    """What one group gave: its deliveries, and down to where it has looked if not to the end."""

    items: list[DeliverySummary]
    stopped_at: Position | None


def page_deliveries(
    conn: Connection, wanted: DeliveryFilter, *, before: Position | None, limit: int
) -> FoundDeliveries:
    """Return up to *limit* deliveries older than *before*, newest first, whoever they are for.

    The page may be short, even empty, with more to follow.
    """
    parts = [_look(conn, group, before, limit) for group in _groups(wanted)]
    items = sorted((item for part in parts for item in part.items), key=_rank, reverse=True)
    stops = [part.stopped_at for part in parts if part.stopped_at is not None]
    # Below the highest place where one part stopped, it may have something that is newer.
    stop = max(stops, key=_place) if stops else None
    if stop is not None:
        items = [item for item in items if _rank(item) >= _place(stop)]
    if len(items) > limit:
        stop = _position(items[limit - 1])
    return FoundDeliveries(items[:limit], stop)


def _look(
    conn: Connection, parameters: dict[str, object], before: Position | None, limit: int
) -> _Part:
    """Return the next of one group, one more than is asked for where there is one."""
    found = list_as(conn, "list_deliveries", parameters, before, limit + 1)
    if len(found) > limit:
        return _Part(found, _position(found[-1]))
    place = {
        **parameters,
        "before_at": before and before.created_at,
        "before_id": before and before.delivery_id,
    }
    with translated():
        row = conn.execute(SQL["deliveries_looked_at"], place, prepare=False).fetchone()
    return _Part(found, Position(*row) if row else None)


def _groups(wanted: DeliveryFilter) -> list[dict[str, object]]:
    """Return the parameters by which each group of the statuses wanted is looked for."""
    asked = {**wanted.parameters(), "most": _MOST_LOOKED_AT, "wanted_statuses": None}
    rest = frozenset(wanted.statuses)
    groups: list[dict[str, object]] = []
    for group in _GROUPS:
        if chosen := rest & group:
            groups.append({**asked, "statuses": sorted(chosen)})
            rest -= group
    if rest:  # not rare: looked for among all
        groups.append({**asked, "statuses": None, "wanted_statuses": sorted(rest)})
    return groups or [asked]


def _rank(item: DeliverySummary) -> tuple[object, ...]:
    return (item.created_at, item.delivery_id)


def _place(position: Position) -> tuple[object, ...]:
    return (position.created_at, position.delivery_id)


def _position(item: DeliverySummary) -> Position:
    return Position(item.created_at, item.delivery_id)
