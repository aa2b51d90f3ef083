"""Bulk replays: sending dead letters again, spread over time.

An operator writes an order; the scheduler carries it out, a batch a transaction, so that it goes on
where it was whoever is killed. Each delivery becomes `scheduled` at a time of its own and is marked
with the order's number; cancelling the order puts those back that are `scheduled` still.
"""

import enum
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from mailworkers.adapters.db import Connection, run, run_transaction
from mailworkers.adapters.store.dead_letters import DeadLetterFilter
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.adapters.store.reads import Time
from mailworkers.core.states import Lane, Status


class ReplayStatus(enum.StrEnum):
    """How far an order has come; `requeued`: every delivery has its time, some perhaps to come."""

    REQUEUEING = "requeueing"
    REQUEUED = "requeued"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"


class LetterCount(msgspec.Struct, frozen=True):
    """How many dead letters of one cause and lane; `hindrance` is what keeps them, if anything."""

    cause: str
    lane: str
    hindrance: str | None
    count: int


class ReplayPlan(msgspec.Struct, frozen=True):
    """What a replay would do: `matched` are wanted, `replayable` of them can be sent again.

    `duration_seconds` is from the first to the last at the rate.
    """

    matched: int
    replayable: int
    counts: list[LetterCount]
    duration_seconds: float


class Replay(msgspec.Struct, frozen=True):
    """An order and what became of it.

    `matched` were counted when it was given; `requeued` have got a time since, `skipped` could not
    be sent again (any more), `returned` were put back when it was cancelled. `next_at`: when the
    next to be requeued would be due. `outcomes`, where they are given: what those requeued are now,
    by status; `scheduled` ones are still to be sent.
    """

    replay_id: int
    status: ReplayStatus
    wanted: DeadLetterFilter
    rate: float
    expires_at: Time | None
    actor: str
    reason: str
    matched: int
    requeued: int
    skipped: int
    returned: int
    next_at: Time
    created_at: Time
    outcomes: dict[Status, int] = {}


class Batch(msgspec.Struct, frozen=True):
    """What one step of a replay did: how many it `requeued`, and how many it put back."""

    replay_id: int
    requeued: int
    returned: int


def plan_replay(
    conn: Connection, wanted: DeadLetterFilter, *, rate: float, expires_at: datetime | None = None
) -> ReplayPlan:
    """Return what a replay of *wanted* at *rate* a second would do; nothing is changed."""
    parameters = wanted.parameters()
    rows = run(conn, "count_dead_letters", expires_at=expires_at, **parameters)
    counts = [LetterCount(c, Lane(lane).label, h, count) for c, lane, h, count in rows]
    replayable = sum(found.count for found in counts if found.hindrance is None)
    return ReplayPlan(
        matched=sum(found.count for found in counts),
        replayable=replayable,
        counts=counts,
        duration_seconds=round(max(0, replayable - 1) / rate, 3),
    )


def order_replay(
    conn: Connection,
    wanted: DeadLetterFilter,
    *,
    rate: float,
    actor: str,
    reason: str,
    expires_at: datetime | None = None,
) -> Replay | None:
    """Order that *wanted* are sent again, *rate* a second; None when none of them can be.

    *expires_at* replaces the deliveries' own. The scheduler does it; wake it.
    """

    def work() -> Replay | None:
        plan = plan_replay(conn, wanted, rate=rate, expires_at=expires_at)
        if not plan.replayable:
            return None
        conditions = Jsonb(msgspec.to_builtins(wanted))
        after = {"wanted": conditions.obj, "rate": rate, "matched": plan.matched}
        rows = run(
            conn,
            "order_replay",
            wanted=conditions,
            after=Jsonb(after),
            rate=rate,
            expires_at=expires_at,
            actor=actor,
            reason=reason,
            matched=plan.matched,
        )
        return find_replay(conn, rows[0][0])

    return run_transaction(conn, work)


def list_replays(conn: Connection, *, before_id: int | None, limit: int) -> list[Replay]:
    """Return up to *limit* orders before order *before_id*, newest first, without outcomes."""
    return [_replay(row) for row in run(conn, "list_replays", before_id=before_id, limit=limit)]


def find_replay(conn: Connection, replay_id: int) -> Replay | None:
    """Return one order with its outcomes, None when there is none."""
    rows = run(conn, "find_replay", replay_id=replay_id)
    if not rows:
        return None
    counted = run(conn, "count_replayed", replay_id=replay_id)
    outcomes = {Status(status): count for status, count in counted}
    return msgspec.structs.replace(_replay(rows[0]), outcomes=outcomes)


def _replay(row: tuple[Any, ...]) -> Replay:
    return msgspec.convert(dict(zip(Replay.__struct_fields__, row, strict=False)), Replay)


def cancel_replay(conn: Connection, replay_id: int, *, actor: str, reason: str) -> Replay | None:
    """Stop an order and have put back what it left scheduled; None when there is none.

    Repeating it changes nothing. The scheduler does it; wake it.
    """

    def work() -> None:
        if run(conn, "cancel_replay", replay_id=replay_id):
            record_action(
                conn,
                actor=actor,
                action="cancel_replay",
                subject=f"replay {replay_id}",
                after={"status": ReplayStatus.CANCELLING},
                reason=reason,
            )

    run_transaction(conn, work)
    return find_replay(conn, replay_id)


class _Order(msgspec.Struct, frozen=True):
    """An order that is held: where it has come to, and when the next delivery is due."""

    replay_id: int
    status: ReplayStatus
    wanted: DeadLetterFilter
    rate: float
    expires_at: datetime | None
    walked_at: datetime
    walked_id: int
    created_at: datetime
    next_at: datetime


def continue_replay(conn: Connection, *, limit: int) -> Batch | None:
    """Do the next batch of an unfinished order; None when there is none that nobody else does."""

    def work() -> Batch | None:
        rows = run(conn, "hold_replay")
        if not rows:
            return None
        order = msgspec.convert(dict(zip(_Order.__struct_fields__, rows[0], strict=True)), _Order)
        return _STEPS[order.status](conn, order, limit)

    return run_transaction(conn, work)


def _requeue_batch(conn: Connection, order: _Order, limit: int) -> Batch:
    """Give the next of the wanted their times; after the last one the order is `requeued`."""
    rows = run(
        conn,
        "walk_dead_letters",
        walked_at=order.walked_at,
        walked_id=order.walked_id,
        ordered_at=order.created_at,
        limit=limit,
        **order.wanted.parameters(),
    )
    delivery_ids = [delivery_id for _, _, delivery_id, is_wanted in rows if is_wanted]
    due = _requeue(conn, order, delivery_ids)
    gap = timedelta(seconds=1 / order.rate)
    _advance(
        conn,
        order,
        status=order.status if len(rows) == limit else ReplayStatus.REQUEUED,
        walked=(rows[-1][1], rows[-1][0]) if rows else (order.walked_at, order.walked_id),
        next_at=max(due) + gap if due else order.next_at,
        requeued=len(due),
        skipped=len(delivery_ids) - len(due),
    )
    return Batch(order.replay_id, len(due), 0)


def _requeue(conn: Connection, order: _Order, delivery_ids: list[UUID]) -> list[datetime]:
    """Requeue what nobody else has in hand; return the times they are due."""
    if not delivery_ids:
        return []
    held = {row[0] for row in run(conn, "hold_free_deliveries", delivery_ids=delivery_ids)}
    rows = run(
        conn,
        "replay",
        replay_id=order.replay_id,
        delivery_ids=[delivery_id for delivery_id in delivery_ids if delivery_id in held],
        first_at=order.next_at,
        gap=timedelta(seconds=1 / order.rate),
        expires_at=order.expires_at,
    )
    return [due_at for _, due_at in rows]


def _return_batch(conn: Connection, order: _Order, limit: int) -> Batch:
    """Put the next of those back that are scheduled still; after the last one it is `cancelled`."""
    rows = run(
        conn,
        "hold_replayed",
        replay_id=order.replay_id,
        walked_id=order.walked_id,
        limit=limit,
    )
    numbers = [number for number, _ in rows]
    returned = run(conn, "undo_replay", replay_id=order.replay_id, dead_letter_ids=numbers)
    _advance(
        conn,
        order,
        status=order.status if len(rows) == limit else ReplayStatus.CANCELLED,
        walked=(order.walked_at, numbers[-1] if numbers else order.walked_id),
        next_at=order.next_at,
        returned=len(returned),
    )
    return Batch(order.replay_id, 0, len(returned))


def _advance(
    conn: Connection,
    order: _Order,
    *,
    status: ReplayStatus,
    walked: tuple[datetime, int],
    next_at: datetime,
    requeued: int = 0,
    skipped: int = 0,
    returned: int = 0,
) -> None:
    run(
        conn,
        "advance_replay",
        replay_id=order.replay_id,
        status=str(status),
        walked_at=walked[0],
        walked_id=walked[1],
        next_at=next_at,
        requeued=requeued,
        skipped=skipped,
        returned=returned,
    )


_STEPS: dict[ReplayStatus, Callable[[Connection, _Order, int], Batch]] = {
    ReplayStatus.REQUEUEING: _requeue_batch,
    ReplayStatus.CANCELLING: _return_batch,
}
