"""Looking at the whole service at once: each store is asked apart, one that is away hides nothing.

Used by `mailworkers status` and `top` on the host and by `GET /status` for everybody else.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
import psycopg
import redis

from mailworkers.adapters import db, stream
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import database_time
from mailworkers.adapters.store.pool import PATIENCE, Pool
from mailworkers.adapters.store.situations import read_mail
from mailworkers.adapters.stream_backlog import count_waiting
from mailworkers.adapters.supervisor_files import ROLES
from mailworkers.core.errors import SchemaTooNew, StoreUnavailable, reason_of
from mailworkers.core.situations import (
    POSTGRES,
    REDIS,
    MailView,
    Situation,
    StoreView,
    StreamView,
    judge,
)

# Counting millions of rows takes a while; longer than this nobody waits.
_LIMIT = timedelta(seconds=10)

View = TypeVar("View")


class Observer:
    """Looks at both stores, over connections of its own that it keeps."""

    def __init__(self, settings: Settings, application: str) -> None:
        self._settings = settings
        self._pool = Pool(settings.postgres_dsn, application, size=1, limit=_LIMIT)
        self._redis: Any = stream.connect(settings, patience=PATIENCE)

    def look(self) -> Situation:
        """Return how it stands now; never an error because a store is away."""
        postgres, found = _try(POSTGRES, self._mail)
        mail, at = found or (None, datetime.now(UTC))
        keyvalue, view = _try(REDIS, self._stream)
        situation = Situation(at, [postgres, keyvalue], mail, view)
        return msgspec.structs.replace(situation, problems=judge(situation))

    def close(self) -> None:
        """Let go of the connections."""
        self._pool.close()
        self._redis.close()

    def _mail(self) -> tuple[MailView, datetime]:
        with self._pool.connection() as conn:
            if conn.info.parameter_status("default_transaction_read_only") == "on":
                raise StoreUnavailable(POSTGRES, "it is read-only (default_transaction_read_only)")
            try:
                if not db.check_schema(conn):
                    raise StoreUnavailable(POSTGRES, "there is no schema yet: mailworkers migrate")
                return read_mail(conn, ROLES), database_time(conn)
            except (SchemaTooNew, psycopg.ProgrammingError) as error:
                raise StoreUnavailable(POSTGRES, f"schema: {reason_of(error)}") from error

    def _stream(self) -> StreamView:
        try:
            return _read_stream(self._redis, self._settings.stream)
        except redis.RedisError as error:
            raise StoreUnavailable(REDIS, reason_of(error)) from error


def _try(name: str, read: Callable[[], View]) -> tuple[StoreView, View | None]:
    try:
        found = read()
    except StoreUnavailable as error:
        return StoreView(name, is_there=False, detail=error.reason), None
    return StoreView(name, is_there=True, detail="reachable"), found


def _read_stream(client: Any, name: str) -> StreamView:
    """Return what waits on the stream; commands this account may not use leave a gap."""
    client.ping()
    try:
        if client.info("replication").get("role") == "slave":
            raise StoreUnavailable(REDIS, "it is a replica: nothing can be put there")
        if not client.exists(name):
            return StreamView(name, waiting=0)
        group = _group(client.xinfo_groups(name))
        if group is None:
            waiting, after, in_hand = int(client.xlen(name)), "-", None
        else:
            after = f"({group['last-delivered-id'].decode()}"
            waiting, in_hand = count_waiting(client, name, group), int(group["pending"])
        oldest = _age_ms(client, name, after) if waiting else None
    except redis.ResponseError:
        return StreamView(name)
    return StreamView(name, waiting, oldest, in_hand)


def _group(groups: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    return next((group for group in groups if group["name"] == stream.GROUP.encode()), None)


def _age_ms(client: Any, name: str, after: str) -> float | None:
    """Return for how long the first entry *after* an id has waited: ids begin with their time."""
    found = client.xrange(name, min=after, count=1)
    if not found:
        return None
    seconds, microseconds = client.time()
    entered_ms = int(found[0][0].partition(b"-")[0])
    now_ms: float = seconds * 1000 + microseconds / 1000
    return max(0.0, now_ms - entered_ms)
