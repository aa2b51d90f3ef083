"""Dead letters: deliveries that ended `failed` or `dead_letter`, for somebody to look after."""

import enum
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.db import SQL, Connection, run, run_transaction
from mailworkers.adapters.sqlstates import translated
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.adapters.store.reads import LANES, NumberedPosition, Time
from mailworkers.core.states import Lane, Status

# How many a page looks at for those that are wanted.
_MOST_LOOKED_AT = 5000


class Cause(enum.StrEnum):
    """Why a delivery became a dead letter (contract section 3)."""

    PERMANENT = "permanent"
    EXPIRED = "expired"
    POISON = "poison"
    EXHAUSTED = "exhausted"


class DeadLetterFilter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Which open dead letters are meant; what is empty or None is not asked for.

    `lanes` by their labels; `recipient` is canonical; `created_from` is included, `created_to` is
    not, and both are about the entry, not the delivery.
    """

    causes: tuple[Cause, ...] = ()
    sources: tuple[str, ...] = ()
    lanes: tuple[str, ...] = ()
    recipient: str | None = None
    template_id: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None
    is_resolved: bool | None = None
    dead_letter_ids: tuple[int, ...] = ()

    def parameters(self) -> dict[str, object]:
        """Return this as the statements of `sql/dead_letters.sql` take it."""
        return {
            "causes": [str(cause) for cause in self.causes] or None,
            "sources": list(self.sources) or None,
            "lanes": [int(LANES[label]) for label in self.lanes] or None,
            "canonical": self.recipient,
            "template_id": self.template_id,
            "created_from": self.created_from,
            "created_to": self.created_to,
            "is_resolved": self.is_resolved,
            "dead_letter_ids": list(self.dead_letter_ids) or None,
        }


class DeadLetter(msgspec.Struct, frozen=True):
    """One entry and its delivery as it is now.

    `hindrance` is what keeps it from being sent again, null when nothing does: `auth`,
    `content_deleted`, `expired` (a new `expires_at` helps). `closed_at`: it is a dead letter no
    more, by `replay_id` if a bulk replay did that.
    """

    dead_letter_id: int
    delivery_id: UUID
    status: Status
    cause: Cause
    reason: str
    source: str
    lane: str
    template_id: str | None
    attempt_no: int
    cycle_attempt: int
    expires_at: Time | None
    created_at: Time
    closed_at: Time | None
    resolved_at: Time | None
    resolved_by: str | None
    note: str | None
    replay_id: int | None
    hindrance: str | None
    recipients: list[str]


class FoundLetters(msgspec.Struct, frozen=True):
    """A page of dead letters; *next* is where to go on, None when all were looked at.

    A page may be short, even empty, with more to follow: it ends after so many that were looked at.
    """

    items: list[DeadLetter]
    next: NumberedPosition | None


def list_dead_letters(
    conn: Connection, wanted: DeadLetterFilter, *, before: NumberedPosition | None, limit: int
) -> FoundLetters:
    """Return up to *limit* open dead letters before *before*, newest first."""
    place = {
        "before_at": before and before.at,
        "before_id": before and before.number,
    }
    statement = "list_dead_letters" if wanted.recipient is None else "list_dead_letters_to"
    parameters = {**wanted.parameters(), **place, "most": _MOST_LOOKED_AT}
    found = [_letter(row) for row in _ask(conn, statement, limit=limit + 1, **parameters)]
    if len(found) > limit:
        last = found[limit - 1]
        return FoundLetters(found[:limit], NumberedPosition(last.created_at, last.dead_letter_id))
    if wanted.recipient is not None:
        return FoundLetters(found, None)
    ends = _ask(conn, "dead_letters_looked_at", **parameters)
    return FoundLetters(found, NumberedPosition(*ends[0]) if ends else None)


def _ask(conn: Connection, statement: str, **parameters: object) -> list[tuple[Any, ...]]:
    """Ask with a plan of its own, which leaves out the conditions that are not asked for."""
    with translated():
        return conn.execute(SQL[statement], parameters, prepare=False, binary=True).fetchall()


def find_dead_letter(conn: Connection, dead_letter_id: int) -> DeadLetter | None:
    """Return one dead letter, one that is closed too; None when there is none."""
    rows = run(conn, "find_dead_letter", dead_letter_id=dead_letter_id)
    return _letter(rows[0]) if rows else None


def _letter(row: tuple[Any, ...]) -> DeadLetter:
    facts = dict(zip(DeadLetter.__struct_fields__, row, strict=True))
    facts["lane"] = Lane(facts["lane"]).label
    facts["recipients"] = facts["recipients"] or []
    return msgspec.convert(facts, DeadLetter)


def resolve_dead_letter(
    conn: Connection, dead_letter_id: int, *, actor: str, note: str
) -> DeadLetter | None:
    """Note that *actor* has seen to a dead letter; None when there is none.

    Nothing is sent, the delivery stays as it ended. One that is resolved, or closed, is left as it
    is: the answer says by whom, or since when.
    """

    def work() -> None:
        rows = run(conn, "hold_dead_letter", dead_letter_id=dead_letter_id)
        if not rows or rows[0][0] is not None or rows[0][1] is not None:
            return
        run(conn, "resolve_dead_letter", dead_letter_id=dead_letter_id, actor=actor, note=note)
        record_action(
            conn,
            actor=actor,
            action="resolve",
            subject=f"dead letter {dead_letter_id}",
            before={"resolved_by": None},
            after={"resolved_by": actor, "note": note},
            reason=note,
        )

    run_transaction(conn, work)
    return find_dead_letter(conn, dead_letter_id)
