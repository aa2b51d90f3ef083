"""Refused entries taken in after all: by the way the stream goes, once whatever is asked.

An entry is refused for what it says or for what we were: a template that was missing, a source
nobody had named. When that is mended an operator has it judged again.
"""

import enum
from collections.abc import Mapping
from typing import NamedTuple
from uuid import UUID

import msgspec

from mailworkers.adapters import db
from mailworkers.adapters.intake import Intake, Prepared, write
from mailworkers.adapters.refusals import refusal_of
from mailworkers.adapters.store import Verdict
from mailworkers.adapters.store.malformed import (
    MalformedCommand,
    find_malformed,
    hold_malformed,
    mark_malformed_replayed,
    read_entry,
)
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.core.commands import SourceKind, decode_entry
from mailworkers.core.refusals import Refusal
from mailworkers.core.states import Lane


class Obstacle(enum.StrEnum):
    """Why a refused entry is not even judged again."""

    INCOMPLETE = "incomplete"
    AUTH = "auth"

    @property
    def words(self) -> str:
        """Return this as a sentence for people."""
        return _WORDS[self]


_WORDS = {
    Obstacle.INCOMPLETE: "it was larger than what is kept of an entry: only its producer has it",
    Obstacle.AUTH: "auth mail is not sent again: whoever signs in asks for a new code",
}


class Reinjection(msgspec.Struct, frozen=True):
    """What became of a replay: a delivery, or why there is none.

    `status` is what a new delivery was stored with, "" where nothing new was stored: the entry was
    replayed before, or its producer sent the same again meanwhile.
    """

    entry: MalformedCommand
    delivery_id: UUID | None = None
    status: str = ""
    source: str = ""
    refusal: Refusal | None = None
    obstacle: Obstacle | None = None


class _Held(NamedTuple):
    delivery_id: UUID | None
    status: str
    refusal: Refusal | None


def reinject(
    conn: db.Connection,
    intake: Intake,
    sources: Mapping[str, SourceKind],
    malformed_id: int,
    *,
    actor: str,
    reason: str,
    is_dry: bool = False,
) -> Reinjection | None:
    """Judge a refused entry again and accept it if nothing speaks against it; None: no such entry.

    Replaying it twice, or by two at once, gives the same delivery. What is refused again stays as
    it is, and nothing is recorded. A dry run does the same and takes it back.
    """
    entry = find_malformed(conn, malformed_id)
    if entry is None:
        return None
    if entry.replayed_as is not None:
        return Reinjection(entry, entry.replayed_as)
    fields = read_entry(conn, malformed_id) if entry.is_complete else None
    if fields is None:
        return Reinjection(entry, obstacle=Obstacle.INCOMPLETE)
    command = decode_entry(fields, sources=sources)
    if isinstance(command, Refusal):
        return Reinjection(entry, refusal=command)
    if command.lane is Lane.AUTH or sources[command.source].auth:
        return Reinjection(entry, obstacle=Obstacle.AUTH)
    prepared = intake.prepare(command)

    def work() -> _Held | None:
        with conn.transaction(force_rollback=is_dry):
            return _accept(conn, entry, prepared, actor=actor, reason=reason)

    done = db.run_transaction(conn, work)
    now = find_malformed(conn, malformed_id)
    if done is None or now is None:  # retention has deleted it meanwhile
        return None
    return Reinjection(now, done.delivery_id, done.status, command.source, done.refusal)


def _accept(
    conn: db.Connection, entry: MalformedCommand, prepared: Prepared, *, actor: str, reason: str
) -> _Held | None:
    """Store what was prepared and say so in the entry and in the trail: inside a transaction."""
    held = hold_malformed(conn, entry.malformed_id)
    if held is None:
        return None
    if held[0] is not None:
        return _Held(held[0], "", None)
    (result,) = write(conn, [prepared])
    refusal = result if isinstance(result, Refusal) else refusal_of(result, prepared.command)
    if refusal is not None or isinstance(result, Refusal):
        return _Held(None, "", refusal)
    mark_malformed_replayed(conn, entry.malformed_id, result.delivery_id)
    record_action(
        conn,
        actor=actor,
        action="replay",
        subject=f"malformed command {entry.malformed_id}",
        before={"failure_code": entry.failure_code},
        after={"delivery_id": str(result.delivery_id)},
        reason=reason,
    )
    is_new = result.verdict is Verdict.ACCEPTED
    return _Held(result.delivery_id, result.status if is_new else "", None)


def is_secret(fields: Mapping[bytes, bytes], sources: Mapping[str, SourceKind]) -> bool:
    """Whether a refused entry may hold what only administrators see: auth mail, or who knows."""
    kind = sources.get(fields.get(b"source", b"").decode("ascii", "replace"))
    lane = fields.get(b"lane", b"").strip().lower()
    return kind is None or kind.auth or lane not in (b"", b"normal", b"bulk")
