"""What the monitor asks the stores: whether they answer, who is alive, how much waits.

Each question has a thread of its own, so that whoever asks waits 2 s at most, whatever the store
does meanwhile, and ten askers at a time are one question.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Generic, TypeVar

import msgspec
import psycopg
import redis

from mailworkers.adapters import stream
from mailworkers.adapters.exposition import Readings
from mailworkers.adapters.journal import DIRECTORY
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import reads
from mailworkers.adapters.store.pool import PATIENCE, Connection, Pool
from mailworkers.adapters.store.signs import Signs, read_signs
from mailworkers.adapters.stream_backlog import count_waiting
from mailworkers.adapters.supervisor_files import ROLES, Slots
from mailworkers.core.errors import StoreUnavailable, reason_of
from mailworkers.core.states import Status

# Three heartbeats.
SILENCE = timedelta(seconds=15)
_QUICK = timedelta(milliseconds=500)
_SLOW = timedelta(seconds=20)
_SCRAPE = timedelta(seconds=2)
_KEPT = timedelta(seconds=60)
_AT_ONCE = 0.04  # seconds
# Counting takes a tenth of the time at most: millions of rows must not make it the main load.
_REST = 10.0

_STORES = ("postgres", "redis")
_SIGNS = {
    "mail.relay.breakers_open": "breakers_open",
    "mail.pauses.active": "pauses",
    "mail.pauses.oldest_age_ms": "oldest_pause_ms",
    "mail.lease.overdue": "leases_overdue",
    "mail.database.connections": "connections",
    "mail.database.connections_max": "connections_max",
    "mail.database.oldest_transaction_ms": "oldest_transaction_ms",
    "mail.database.dead_rows": "dead_rows",
}

Value = TypeVar("Value")
Gauge = dict[tuple[str, ...], float]


class Question(Generic[Value]):
    """A question to *store*, asked in a thread when somebody wants to know.

    An answer counts as new for *fresh*, and for *rest* times as long as it took; while there is no
    newer one it serves for *kept*.
    """

    def __init__(
        self,
        store: str,
        read: Callable[[], Value],
        *,
        fresh: timedelta,
        kept: timedelta = timedelta(0),
        rest: float = 0.0,
    ) -> None:
        self._store = store
        self._read = read
        self._fresh = fresh.total_seconds()
        self._kept = kept.total_seconds()
        self._rest = rest
        self._answer: Value | Exception | None = None
        self._answered_at = self._new_until = float("-inf")
        self._wanted_at: float | None = None
        self._changed = threading.Condition()
        threading.Thread(target=self._run, name=f"ask {store}", daemon=True).start()

    def want(self) -> None:
        """Let the question be asked, unless its answer is new or on its way."""
        with self._changed:
            if self._wanted_at is None and time.monotonic() >= self._new_until:
                self._wanted_at = time.monotonic()
                self._changed.notify_all()

    def ask(self, since: float | None = None) -> Value:
        """Return the answer; StoreUnavailable when there is none within 2 s.

        *since* is when the asker began, on the monotonic clock, if not now: with several questions
        he waits once, and what was answered meanwhile is new to him.
        """
        began = time.monotonic() if since is None else since
        if self._answered_at < began:
            self.want()
        with self._changed:
            # A question that has been stuck for long is not waited for again by each asker.
            first_wanted = min(began, self._wanted_at or began)
            left = first_wanted + PATIENCE.total_seconds() - time.monotonic()
            self._changed.wait_for(lambda: self._is_new(began), max(0.0, left))
            answer = self._answer
            if answer is None or not (self._is_new(began) or self._is_kept()):
                raise StoreUnavailable(self._store, "no answer within 2 s")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def glance(self) -> Value:
        """Return the last answer as long as it is kept; a newer one only if that comes at once.

        Without one, wait for it as `ask` does.
        """
        began = time.monotonic()
        self.want()
        with self._changed:
            self._changed.wait_for(lambda: self._is_new(began), _AT_ONCE)
            answer = self._answer if self._is_kept() else None
        if answer is None or isinstance(answer, Exception):
            return self.ask()
        return answer

    def _is_new(self, began: float) -> bool:
        # What was new when the asker began stays so: he may wait for another store in between.
        return self._answered_at >= began or began < self._new_until

    def _is_kept(self) -> bool:
        return time.monotonic() < self._answered_at + self._kept

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted_at is not None)
            began = time.monotonic()
            answer = self._try()
            now = time.monotonic()
            took = 0.0 if isinstance(answer, Exception) else now - began
            with self._changed:
                self._answer = answer
                self._answered_at = now
                self._new_until = now + max(self._fresh, self._rest * took)
                self._wanted_at = None
                self._changed.notify_all()

    def _try(self) -> Value | Exception:
        """Return the answer, or what went wrong: the thread goes on, and whoever asked is told."""
        try:
            return self._read()
        except Exception as error:
            return error


class Depths(msgspec.Struct, frozen=True):
    """How much waits in Postgres: live deliveries by status and lane, the oldest due by lane."""

    live: dict[tuple[str, str], int]
    oldest_ms: dict[str, float]


class Stores:
    """Both stores as the monitor sees them."""

    def __init__(self, settings: Settings, application: str) -> None:
        self._stream = settings.stream
        self._state_dir = settings.state_dir
        self._redis = _impatient(stream.connect(settings))
        quick = Pool(settings.postgres_dsn, application, size=2, limit=PATIENCE)
        slow = Pool(settings.postgres_dsn, f"{application} gauges", size=1, limit=_SLOW)
        self._pools = (quick, slow)
        self.postgres = Question("postgres", lambda: _ping(quick), fresh=_QUICK)
        self.redis = Question("redis", self._read_lag, fresh=_QUICK)
        self.roles = Question("postgres", lambda: _live_roles(quick), fresh=_QUICK)
        self.signs = Question("postgres", lambda: _signs(quick), fresh=_QUICK)
        self.depths = Question(
            "postgres", lambda: _depths(slow), fresh=_SCRAPE, kept=_KEPT, rest=_REST
        )

    def _read_lag(self) -> int:
        """Return how many entries of the stream no consumer has been handed."""
        try:
            if not self._redis.exists(self._stream):
                return 0
            for group in self._redis.xinfo_groups(self._stream):
                if group["name"] == stream.GROUP.encode():
                    return count_waiting(self._redis, self._stream, group)
            return int(self._redis.xlen(self._stream))
        except redis.RedisError as error:
            raise StoreUnavailable("redis", reason_of(error)) from error

    def readings(self) -> Readings:
        """Return every gauge that can be read now."""
        self.depths.want()
        self.roles.want()
        self.redis.want()
        self.signs.want()
        began = time.monotonic()
        found: dict[str, Gauge] = dict(self._host_gauges())
        away: set[str] = set()
        for read in (self._depth_gauges, self._role_gauges, self._sign_gauges, self._lag_gauges):
            try:
                found |= read(began)
            except StoreUnavailable as error:
                away.add(error.store)
        found["mail.store.up"] = {(name,): float(name not in away) for name in _STORES}
        return found

    def _host_gauges(self) -> Iterator[tuple[str, Gauge]]:
        """Yield what the files of this host tell."""
        if slots := Slots(self._state_dir).names("sender"):
            yield "mail.senders.configured", {(): len(slots)}
        journals = (self._state_dir / DIRECTORY).glob("*.journal")
        yield "mail.journal.files", {(): sum(1 for _ in journals)}

    def _sign_gauges(self, began: float) -> dict[str, Gauge]:
        signs = self.signs.ask(began)
        return {name: {(): getattr(signs, field)} for name, field in _SIGNS.items()}

    def _depth_gauges(self, began: float) -> dict[str, Gauge]:
        depths = self.depths.ask(began)
        deferred = sum(n for (status, _), n in depths.live.items() if status == Status.DEFERRED)
        return {
            "mail.attempt_schedule.depth": {key: float(n) for key, n in depths.live.items()},
            "mail.attempt_schedule.oldest_age_ms": {
                (lane,): age for lane, age in depths.oldest_ms.items()
            },
            "retry_queue_depth": {(): deferred},
        }

    def _role_gauges(self, began: float) -> dict[str, Gauge]:
        alive = self.roles.ask(began)
        return {
            "service_up": {(role,): float(bool(alive[role])) for role in ROLES},
            "mail.roles.live": {(role,): float(alive[role]) for role in ROLES},
        }

    def _lag_gauges(self, began: float) -> dict[str, Gauge]:
        return {"mail.stream_commands.lag": {(): self.redis.ask(began)}}

    def close(self) -> None:
        """Close the connections."""
        for pool in self._pools:
            pool.close()
        self._redis.close()


def _impatient(client: Any) -> Any:
    """Return *client*, whose calls now fail after 2 s."""
    seconds = PATIENCE.total_seconds()
    client.connection_pool.connection_kwargs.update(
        socket_timeout=seconds, socket_connect_timeout=seconds
    )
    return client


@contextmanager
def _lent(pool: Pool) -> Iterator[Connection]:
    """Lend a connection; a database before its first migration is as good as none."""
    try:
        with pool.connection() as conn:
            yield conn
    except psycopg.errors.UndefinedTable:
        raise StoreUnavailable("postgres", "there is no schema yet") from None


def _ping(pool: Pool) -> bool:
    """Return True when the database answers and may be written: no mail goes without that."""
    with _lent(pool) as conn:
        reads.ping(conn)
        if conn.info.parameter_status("default_transaction_read_only") == "on":
            raise StoreUnavailable("postgres", "it is read-only (default_transaction_read_only)")
    return True


def _live_roles(pool: Pool) -> dict[str, int]:
    """Return how many processes of each role live."""
    with _lent(pool) as conn:
        alive = reads.live_roles(conn, silence=SILENCE)
    return {role: alive.get(role, 0) for role in ROLES}


def _signs(pool: Pool) -> Signs:
    with _lent(pool) as conn:
        return read_signs(conn, silence=SILENCE)


def _depths(pool: Pool) -> Depths:
    with _lent(pool) as conn:
        return Depths(reads.count_live(conn), reads.oldest_due(conn))
