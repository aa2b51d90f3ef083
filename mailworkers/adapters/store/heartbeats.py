"""Signs of life of processes."""

from uuid import UUID

from psycopg.types.json import Jsonb

from mailworkers.adapters.db import Connection, run


def beat(
    conn: Connection,
    *,
    process_id: UUID,
    role: str,
    host: str,
    pid: int,
    version: str,
    detail: dict[str, object],
) -> None:
    """Say that a process is alive, and in *detail* what it is about."""
    run(
        conn,
        "beat",
        process_id=process_id,
        role=role,
        host=host,
        pid=pid,
        version=version,
        detail=Jsonb(detail),
    )


def leave(conn: Connection, process_id: UUID) -> None:
    """Say that a process has stopped in order."""
    run(conn, "leave", process_id=process_id)


def forget_processes(conn: Connection) -> int:
    """Forget processes that have been silent for a day; return how many."""
    return len(run(conn, "forget_processes"))
