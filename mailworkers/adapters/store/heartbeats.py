"""Signs of life of processes."""

from datetime import datetime, timedelta
from uuid import UUID

from psycopg.types.json import Jsonb

from mailworkers.adapters.db import Connection, run


def database_time(conn: Connection) -> datetime:
    """Return the database's time."""
    now: datetime = run(conn, "database_time")[0][0]
    return now


def beat(
    conn: Connection,
    *,
    process_id: UUID,
    role: str,
    host: str,
    pid: int,
    version: str,
    detail: dict[str, object],
) -> datetime:
    """Say that a process is alive, and in *detail* what it is about; return the database's time."""
    rows = run(
        conn,
        "beat",
        process_id=process_id,
        role=role,
        host=host,
        pid=pid,
        version=version,
        detail=Jsonb(detail),
    )
    now: datetime = rows[0][0]
    return now


def leave(conn: Connection, process_id: UUID) -> None:
    """Say that a process has stopped in order."""
    run(conn, "leave", process_id=process_id)


def forget_processes(conn: Connection) -> int:
    """Forget processes that have been silent for a day; return how many."""
    return len(run(conn, "forget_processes"))


def namesakes(conn: Connection, *, host: str, boot: str, silence: timedelta) -> list[str]:
    """Return the roles alive on a host called *host* whose kernel is not that of *boot*."""
    rows = run(conn, "namesakes", host=host, boot=boot, silence=silence)
    return [role for (role,) in rows]


def other_installations(
    conn: Connection, *, works_with: str, silence: timedelta
) -> list[tuple[str, str, str]]:
    """Return role, host and what it works with of one living process for each other such text."""
    rows = run(conn, "other_installations", works_with=works_with, silence=silence)
    return [(role, host, other) for role, host, other in rows]
