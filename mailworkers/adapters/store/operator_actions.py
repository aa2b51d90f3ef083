"""The audit trail: what operators and trusted services did, or looked at."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from mailworkers.adapters.db import Connection, run

Facts = Mapping[str, object]


class Action(msgspec.Struct, frozen=True):
    """One line of the trail: *actor* did *action* to *subject*; null facts: there were none."""

    action_id: int
    actor: str
    action: str
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    acted_at: datetime


class Change(msgspec.Struct, frozen=True):
    """What one action made of one subject; None: it was not there, or is not any more."""

    subject: str
    before: Facts | None
    after: Facts | None


def record_action(
    conn: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    before: Facts | None = None,
    after: Facts | None = None,
    reason: str = "",
) -> None:
    """Add to the trail: *actor* did *action* to *subject*, which was *before* and is *after*."""
    run(
        conn,
        "record_action",
        actor=actor,
        action=action,
        subject=subject,
        before=None if before is None else Jsonb(before),
        after=None if after is None else Jsonb(after),
        reason=reason,
    )


def record_actions(
    conn: Connection, changes: Sequence[Change], *, actor: str, action: str, reason: str
) -> None:
    """Add one line for each of *changes*, all made by one action."""
    if not changes:
        return
    run(
        conn,
        "record_actions",
        actor=actor,
        action=action,
        reason=reason,
        subjects=[change.subject for change in changes],
        befores=[_json(change.before) for change in changes],
        afters=[_json(change.after) for change in changes],
    )


def _json(facts: Facts | None) -> str | None:
    return None if facts is None else msgspec.json.encode(facts).decode()


def list_actions(
    conn: Connection, *, subject: str | None, before_id: int | None, limit: int
) -> list[Action]:
    """Return up to *limit* lines before line *before_id*, newest first; of one subject, or all."""
    rows = run(conn, "list_actions", subject=subject, before_id=before_id, limit=limit)
    return [Action(*row) for row in rows]
