"""What operators do to deliveries: cancel and requeue, one way for HTTP and the command line.

A verb locks its rows, moves them in a statement that guards itself, and writes the audit trail, all
in one transaction. Many are done together as far as nobody else has them locked; the rest follows
one by one, since waiting with locks in hand could end in a deadlock with a sender's settle.
"""

import enum
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.db import Connection, run, run_transaction
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.core.states import CANCELLABLE, FINAL, REQUEUEABLE, Lane, Status


class Snapshot(msgspec.Struct, frozen=True):
    """A delivery as it was before a verb, or as it is after it."""

    delivery_id: UUID
    source: str
    lane: int
    status: str
    failure: str | None
    attempt_no: int
    cycle_attempt: int
    expires_at: datetime | None
    cancel_requested_at: datetime | None
    traceparent: str | None


class Hindrance(enum.StrEnum):
    """Why a verb left a delivery as it was."""

    ENDED = "ended"
    NOT_IN_TROUBLE = "not_in_trouble"
    AUTH = "auth"
    CONTENT_DELETED = "content_deleted"
    EXPIRED = "expired"


_WORDS = {
    Hindrance.ENDED: "it is {status}: there is nothing left to withdraw",
    Hindrance.NOT_IN_TROUBLE: (
        "it is {status}: only what is failed, dead_letter or uncertain is sent again"
    ),
    Hindrance.AUTH: "auth mail is not sent again: whoever signs in asks for a new code",
    Hindrance.CONTENT_DELETED: "its content was deleted, its time is over",
    Hindrance.EXPIRED: "it would expire before it is sent: give an expires_at in the future",
}


class Effect(msgspec.Struct, frozen=True):
    """What a verb did to one delivery; nothing where it met a *hindrance*, or was done before."""

    before: Snapshot
    after: Snapshot
    hindrance: Hindrance | None = None

    @property
    def is_change(self) -> bool:
        """Whether anything is different now."""
        return self.before != self.after

    @property
    def is_pending(self) -> bool:
        """Whether a sender has it: a cancel holds unless the mail was sent already."""
        return self.after.status == Status.SENDING and self.after.cancel_requested_at is not None

    @property
    def explanation(self) -> str:
        """Return the hindrance in words, "" without one."""
        return _WORDS[self.hindrance].format(status=self.after.status) if self.hindrance else ""


def cancel(
    conn: Connection, delivery_ids: Sequence[UUID], *, actor: str, reason: str
) -> dict[UUID, Effect]:
    """Withdraw deliveries; those missing from the answer do not exist.

    What waits ends by the recipients' rule; what a sender has becomes pending; what had ended stays
    as it is, `cancelled` without a hindrance.
    """

    def act(before: dict[UUID, Snapshot]) -> _Hindrances:
        if waiting := [key for key, was in before.items() if was.status in CANCELLABLE]:
            run(conn, "cancel", delivery_ids=waiting)
        if leased := [key for key, was in before.items() if was.status == Status.SENDING]:
            run(conn, "request_cancel", delivery_ids=leased)
        return {key: Hindrance.ENDED for key, was in before.items() if was.status in _WAS_OVER}

    trail = partial(record_action, conn, actor=actor, action="cancel", reason=reason)
    return _change(conn, delivery_ids, act, trail)


def requeue(
    conn: Connection,
    delivery_ids: Sequence[UUID],
    *,
    actor: str,
    reason: str,
    expires_at: datetime | None = None,
) -> dict[UUID, Effect]:
    """Send again what is failed, dead_letter or uncertain; those missing do not exist.

    A new cycle begins at once for the recipients that gave the status. *expires_at* replaces the
    delivery's own, which must not have passed otherwise.
    """

    def act(before: dict[UUID, Snapshot]) -> _Hindrances:
        rows = run(conn, "requeue", delivery_ids=list(before), expires_at=expires_at)
        whole = {row[0] for row in rows}
        return {key: _hindrance(was, has_content=key in whole) for key, was in before.items()}

    trail = partial(record_action, conn, actor=actor, action="requeue", reason=reason)
    return _change(conn, delivery_ids, act, trail)


_WAS_OVER = FINAL - {Status.CANCELLED}
_Hindrances = dict[UUID, Hindrance]
# Moves what is held; returns what stood in the way where nothing moved.
_Act = Callable[[dict[UUID, Snapshot]], _Hindrances]
_Trail = Callable[..., None]


def _hindrance(before: Snapshot, *, has_content: bool) -> Hindrance:
    """Return what a requeue has met if it did not move the delivery that was *before*."""
    if before.status not in REQUEUEABLE:
        return Hindrance.NOT_IN_TROUBLE
    if before.lane == Lane.AUTH:
        return Hindrance.AUTH
    return Hindrance.EXPIRED if has_content else Hindrance.CONTENT_DELETED


def _change(
    conn: Connection, delivery_ids: Sequence[UUID], act: _Act, trail: _Trail
) -> dict[UUID, Effect]:
    """Do *act* to every delivery there is, each in a transaction with its line of the trail."""
    effects: dict[UUID, Effect] = {}
    if len(delivery_ids) > 1:
        hold = partial(_hold_free, conn, delivery_ids)
        effects = run_transaction(conn, partial(_change_held, hold, act, trail))
    for delivery_id in dict.fromkeys(delivery_ids):
        if delivery_id not in effects:
            hold = partial(_hold, conn, delivery_id)
            effects |= run_transaction(conn, partial(_change_held, hold, act, trail))
    return effects


def _change_held(
    hold: Callable[[], dict[UUID, Snapshot]], act: _Act, trail: _Trail
) -> dict[UUID, Effect]:
    """Hold rows, do *act* to them and look again: inside a transaction."""
    before = hold()
    hindrances = act(before)
    after = hold() if before else {}
    effects = {}
    for delivery_id, was in before.items():
        now = after[delivery_id]
        if was == now:
            effects[delivery_id] = Effect(was, now, hindrances.get(delivery_id))
        else:
            effects[delivery_id] = Effect(was, now)
            trail(subject=f"delivery {delivery_id}", before=_facts(was), after=_facts(now))
    return effects


def _hold(conn: Connection, delivery_id: UUID) -> dict[UUID, Snapshot]:
    return _snapshots(run(conn, "hold_delivery", delivery_id=delivery_id))


def _hold_free(conn: Connection, delivery_ids: Sequence[UUID]) -> dict[UUID, Snapshot]:
    return _snapshots(run(conn, "hold_free_deliveries", delivery_ids=list(delivery_ids)))


def _snapshots(rows: Iterable[tuple[Any, ...]]) -> dict[UUID, Snapshot]:
    return {row[0]: Snapshot(*row) for row in rows}


def _facts(delivery: Snapshot) -> dict[str, object]:
    """Return what the audit trail keeps of *delivery*."""
    return {
        "status": delivery.status,
        "failure": delivery.failure,
        "cycle_attempt": delivery.cycle_attempt,
        "expires_at": delivery.expires_at and delivery.expires_at.isoformat(),
        "cancel_requested_at": (
            delivery.cancel_requested_at and delivery.cancel_requested_at.isoformat()
        ),
    }
