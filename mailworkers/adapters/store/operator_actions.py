"""The audit trail: what operators and trusted services did, or looked at."""

from collections.abc import Mapping

from psycopg.types.json import Jsonb

from mailworkers.adapters.db import Connection, run


def record_action(
    conn: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
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
