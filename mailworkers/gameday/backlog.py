"""How much waits between producer and relay: a load slows down before it piles up.

Otherwise a slow machine would be judged by what expires in its queues, and a run of an hour would
end with an hour of catching up, without faults.
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

MOST = 2500  # commands and deliveries that may wait at a time
_LOOK_EVERY = 1.0
_PAUSE = 0.1
_READY = "SELECT count(*) FROM mail.deliveries WHERE status IN ('queued', 'rendered')"


class Backlog:
    """Asks both stores now and then; while one is away its last figure holds."""

    def __init__(self, dsn: str, redis_socket: str, stream: str) -> None:
        self._dsn = dsn
        self._stream = stream
        self._redis: Any = redis.Redis(
            unix_socket_path=redis_socket, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        self._conn: psycopg.Connection[tuple[Any, ...]] | None = None
        self._looked_at = 0.0
        self._ready = 0
        self._entries = 0

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        if self._conn is not None:
            self._conn.close()

    def wait_until_small(self, waiting: Callable[[], int], deadline: float) -> float:
        """Return how many seconds it took until it was small; *waiting* counts what is not sent."""
        began = time.monotonic()
        while True:
            if time.monotonic() > self._looked_at + _LOOK_EVERY:
                self._look()
                self._looked_at = time.monotonic()
            if self._ready + self._entries + waiting() <= MOST or time.monotonic() > deadline:
                return time.monotonic() - began
            time.sleep(_PAUSE)

    def _look(self) -> None:
        with contextlib.suppress(redis.RedisError):
            groups = self._redis.xinfo_groups(self._stream)
            told = sum(group["pending"] + (group.get("lag") or 0) for group in groups)
            # After a failover Redis' lag is too high for good; no more wait than there are.
            self._entries = min(told, self._redis.xlen(self._stream))
        try:
            if self._conn is None:
                self._conn = psycopg.connect(
                    self._dsn, autocommit=True, application_name="chaos", connect_timeout=2
                )
            row = self._conn.execute(_READY).fetchone()
            self._ready = int(row[0]) if row else 0
        except psycopg.Error:
            if self._conn is not None:
                self._conn.close()
            self._conn = None
