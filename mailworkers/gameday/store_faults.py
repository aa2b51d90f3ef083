"""What happens to the stores: connections cut, servers killed, restarted, come back empty."""

import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import redis

from mailworkers.gameday.plan import Fault
from mailworkers.gameday.service import GROUP, STREAM, Service

PATIENCE = 60.0  # seconds a fault waits for its victim
PAUSE = 0.05


class StoreFaults:
    """Faults of PostgreSQL and Redis; those who restart a server must live on (PDEATHSIG)."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def on_postgres(self, fault: Fault) -> dict[str, Any]:
        """Cut connections, or restart it as after a crash."""
        if fault.action == "cut":
            return self._cut_postgres(fault.about["connections"])
        how = signal.SIGQUIT if fault.action == "immediate" else signal.SIGKILL
        server = self._service.servers.postgres
        was_up = server.pid is not None
        server.stop(how)
        time.sleep(fault.about["down"])
        server.start()
        return {"is_done": was_up}

    def _cut_postgres(self, connections: int) -> dict[str, Any]:
        """Terminate backends of the service, at most *connections*, whatever they are doing."""

        def cut() -> int:
            with self._service.connect() as conn:
                rows = conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
                    " WHERE application_name LIKE 'mailworkers %%'"
                    " ORDER BY random() LIMIT %s) AS victims",
                    [connections],
                ).fetchall()
            return rows.count((True,))

        return until_cut(cut)

    def on_redis(self, fault: Fault) -> dict[str, Any]:
        """Cut connections; or restart it with its data, in good order or not, or without."""
        if fault.action == "cut":
            return self._cut_redis()
        server, servers = self._service.servers.keyvalue, self._service.servers
        how = signal.SIGTERM if fault.action == "restart" else signal.SIGKILL
        was_up = server.pid is not None
        left = self._left_in_stream() if fault.action == "restart_empty" else {}
        server.stop(how)
        if fault.action == "restart_empty":
            _empty(servers.places.keyvalue)
        time.sleep(fault.about["down"])
        server.start()
        return {"is_done": was_up, **left}

    def _redis(self) -> Any:
        return redis.Redis(unix_socket_path=self._service.redis_socket, socket_timeout=5)

    def _cut_redis(self) -> dict[str, Any]:
        """Cut every connection but our own, of producers and of the service."""

        def cut() -> int:
            with self._redis() as client:
                killed = client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            return int(killed)

        return until_cut(cut)

    def _left_in_stream(self) -> dict[str, Any]:
        """Return what is lost with Redis: entries after `delivered`, and those `pending`."""
        with self._redis() as client, client.pipeline(transaction=True) as pipe:
            pipe.xinfo_groups(STREAM).xpending_range(STREAM, GROUP, "-", "+", 100_000)
            groups, pending = pipe.execute(raise_on_error=False)
        if isinstance(groups, redis.ResponseError) or not groups:
            return {"delivered": "0-0", "pending": []}
        rows = [] if isinstance(pending, redis.ResponseError) else pending
        delivered = groups[0]["last-delivered-id"].decode()
        return {"delivered": delivered, "pending": [row["message_id"].decode() for row in rows]}


def until_cut(cut: Callable[[], int], patience: float = PATIENCE) -> dict[str, Any]:
    """Cut until somebody was connected; whoever we ask may be away meanwhile."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError, redis.RedisError):
            if count := cut():
                return {"is_done": True, "cut": count}
        time.sleep(PAUSE)
    return {"is_done": False, "error": "nobody was connected"}


def _empty(directory: Path) -> None:
    """Remove every file below *directory*."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.unlink()
