"""Redis: the command stream with its consumer group, and the wake-ups between roles.

Every client here is told its timeouts and not to repeat commands by itself: the library's defaults
turn a blocking read into a minute of silence and an XADD into two entries (M-01, M-02).
"""

import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailworkers.adapters.crash_points import Point, reached, when_answered
from mailworkers.adapters.sentinels import master_client
from mailworkers.adapters.settings import Settings
from mailworkers.core.errors import ConfigError, StoreUnavailable

GROUP = "mailworkers"
SENDER_WAKE = "mail:wake:sender"
SCHEDULER_WAKE = "mail:wake:scheduler"
# Enough tokens for every sender of a host; more would only make idle ones look for nothing.
_MOST_TOKENS = 64
# A consumer that has not touched its entries for this long is dead: a living one keeps them fresh.
STALE_AFTER = timedelta(seconds=15)
# Entries handed out this often without success are set aside unread.
MOST_HANDOUTS = 3

_MOST_FORGOTTEN = 500  # at a time: thousands of names must not hold up a step

_WAKE_PATIENCE = timedelta(milliseconds=250)
_WAKE_PAUSE = timedelta(seconds=10)

Fields = Mapping[bytes, bytes]


class GroupMadeAnew(StoreUnavailable):
    """The consumer group was gone and begins at 0 again: what was asked of it is to be asked anew.

    Redis came back without its data, or somebody deleted the stream or the group.
    """

    def __init__(self) -> None:
        super().__init__("redis", "the consumer group was gone")


class Entry(msgspec.Struct, frozen=True):
    """One element of the stream; `fields` is None when it was trimmed away while pending."""

    entry_id: str
    fields: Fields | None


def connect(
    settings: Settings,
    *,
    longest_wait: timedelta = timedelta(0),
    patience: timedelta = timedelta(seconds=5),
) -> redis.Redis:
    """Return a client whose calls fail after *patience*, plus *longest_wait* if they block."""
    options: dict[str, Any] = {
        "password": settings.redis_password,
        "socket_connect_timeout": patience.total_seconds(),
        "socket_timeout": (longest_wait + patience).total_seconds(),
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }
    if settings.redis_tls:
        options["ssl"] = True
    if settings.redis_sentinels:
        sentinels = [_split(address) for address in settings.redis_sentinels]
        return master_client(settings, sentinels, options, patience)
    if settings.redis_addr.startswith("unix:"):
        options.pop("socket_keepalive")
        return redis.Redis(unix_socket_path=settings.redis_addr.removeprefix("unix:"), **options)
    host, port = _split(settings.redis_addr)
    return redis.Redis(host=host, port=port, **options)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn everything Redis may answer while it is away or unwell into StoreUnavailable (R-14)."""
    try:
        yield
    except redis.RedisError as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise StoreUnavailable("redis", reason) from error


class Stream:
    """The command stream as one named consumer of the group sees it."""

    def __init__(
        self,
        settings: Settings,
        consumer: str,
        block: timedelta,
        *,
        on_new_group: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = settings.stream
        self._on_new_group = on_new_group
        self.consumer = consumer
        self._block = int(block.total_seconds() * 1000)
        # Any: the library types every answer as the union of all its protocols' forms.
        self._redis: Any = connect(settings, longest_wait=block)
        # The library's reading of this answer knows no JUSTID, or else drops the cursor.
        self._redis.set_response_callback("XAUTOCLAIM", lambda answer, **_: answer)

    def ensure_group(self) -> None:
        """Create a missing group, at `0`: entries added before it must not be skipped."""
        with _translated():
            try:
                self._redis.xgroup_create(self.name, GROUP, id="0", mkstream=True)
            except redis.ResponseError as error:
                if "WRONGTYPE" in str(error):
                    raise ConfigError(
                        f"MAIL_REDIS_COMMAND_STREAM: the key {self.name} holds something that is "
                        "not a stream; name another key or remove that one"
                    ) from None
                if "BUSYGROUP" not in str(error):
                    raise

    @contextmanager
    def _group(self) -> Iterator[None]:
        """Make the group anew when a command finds it gone (Redis came back empty, R-05)."""
        with _translated():
            try:
                yield
            except redis.ResponseError as error:
                if "NOGROUP" not in str(error) and "no such key" not in str(error):
                    raise
                self.ensure_group()
                self._on_new_group()
                raise GroupMadeAnew from error

    def read(self, count: int, *, waits: bool = True) -> list[Entry]:
        """Return up to *count* entries nobody has seen; *waits* for the first at most one block."""
        with self._group():
            answer = self._redis.xreadgroup(
                GROUP,
                self.consumer,
                {self.name: ">"},
                count=count,
                block=self._block if waits else None,
            )
        return [_entry(*found) for _, entries in answer or () for found in entries]

    def adopt_stale(self) -> list[str]:
        """Take over the entries of dead consumers, undelivered; return ids that were trimmed."""
        idle = int(STALE_AFTER.total_seconds() * 1000)
        cursor: Any = "0-0"
        trimmed: list[str] = []
        with self._group():
            while True:
                # JUSTID leaves the count of hand-outs alone: taking over is no failure.
                cursor, _, gone = self._xautoclaim(idle, cursor)
                trimmed.extend(entry_id.decode() for entry_id in gone)
                if cursor in (b"0-0", "0-0"):
                    return trimmed
                reached(Point.WALKING_STALE)

    def _xautoclaim(self, idle: int, cursor: Any) -> Any:
        return self._redis.execute_command(
            "XAUTOCLAIM", self.name, GROUP, self.consumer, idle, cursor, "COUNT", 100, "JUSTID"
        )

    def held(self, limit: int = 100) -> list[tuple[str, int]]:
        """Return entry id and number of hand-outs of entries this consumer holds, oldest first."""
        with self._group():
            found = self._redis.xpending_range(
                self.name, GROUP, min="-", max="+", count=limit, consumername=self.consumer
            )
        return [(row["message_id"].decode(), row["times_delivered"]) for row in found]

    def take(self, entry_id: str) -> Entry:
        """Hand one held entry out again, which counts."""
        with self._group():
            found = self._redis.xclaim(self.name, GROUP, self.consumer, 0, [entry_id])
        return _entry(*found[0]) if found else Entry(entry_id, None)

    def look_at(self, entry_id: str) -> Entry:
        """Return one entry without handing it out."""
        with self._group():
            found = self._redis.xrange(self.name, entry_id, entry_id)
        return _entry(*found[0]) if found else Entry(entry_id, None)

    def keep_fresh(self, entry_ids: Sequence[str]) -> None:
        """Say that we still work on these: waiting for Postgres must not look like dying."""
        if entry_ids:
            with self._group():
                self._redis.xclaim(
                    self.name, GROUP, self.consumer, 0, list(entry_ids), retrycount=0, justid=True
                )

    def acknowledge(self, entry_ids: Sequence[str]) -> None:
        """Say that these are done with. A group that is gone has nothing to acknowledge."""
        if entry_ids:
            with self._group():
                when_answered(Point.ACKNOWLEDGED, self._redis)
                self._redis.xack(self.name, GROUP, *entry_ids)

    def trim(self) -> int:
        """Delete the entries that every group has finished with; return how many.

        The last delivered id is read before the pending ones: the other way round, an entry handed
        out in between would be in neither.
        """
        with self._group():
            groups = self._redis.xinfo_groups(self.name)
            if not groups:
                return 0
            bounds = [self._finished_up_to(group) for group in groups]
            return int(self._redis.xtrim(self.name, minid=_format(min(bounds)), approximate=False))

    def _finished_up_to(self, group: Mapping[str, Any]) -> tuple[int, int]:
        """Return the id below which *group* needs nothing any more."""
        milliseconds, sequence = _parse(group["last-delivered-id"])
        bound = (milliseconds, sequence + 1)
        lowest = self._redis.xpending(self.name, group["name"])["min"]
        return min(bound, _parse(lowest)) if lowest else bound

    def forget_dead_consumers(self, after: timedelta = timedelta(days=1)) -> None:
        """Remove some of the other consumers that hold nothing and were silent so long (R-10).

        With a consumer its pending entries would go, so those that have any are left alone.
        """
        milliseconds = after / timedelta(milliseconds=1)
        with self._group():
            found = self._redis.xinfo_consumers(self.name, GROUP)
            dead = [
                row["name"]
                for row in found
                if row["pending"] == 0
                and row["idle"] >= milliseconds
                and row["name"] != self.consumer.encode()
            ]
            for name in dead[:_MOST_FORGOTTEN]:
                self._redis.xgroup_delconsumer(self.name, GROUP, name)

    def close(self) -> None:
        """Close the connection."""
        self._redis.close()


def _entry(entry_id: bytes, fields: Fields | None) -> Entry:
    return Entry(entry_id.decode(), fields)


def _parse(entry_id: bytes | str) -> tuple[int, int]:
    text = entry_id.decode() if isinstance(entry_id, bytes) else entry_id
    milliseconds, _, sequence = text.partition("-")
    return int(milliseconds), int(sequence)


def _format(entry_id: tuple[int, int]) -> str:
    return f"{entry_id[0]}-{entry_id[1]}"


def consumer_name() -> str:
    """Return a name that a respawned process has again, so that it finds the entries it held."""
    program = os.environ.get("SUPERVISOR_PROCESS_NAME")
    return f"{socket.gethostname()}:{program or os.getpid()}"


class Waker:
    """Wake-ups by tokens in Redis lists. Never raises: a lost token costs one poll."""

    def __init__(self, settings: Settings) -> None:
        self._poll = settings.poll
        self._redis: Any = connect(settings, longest_wait=settings.poll, patience=_WAKE_PATIENCE)
        self._pusher: Any = connect(settings, patience=_WAKE_PATIENCE)
        self._away_until = 0.0

    def wake_senders(self) -> None:
        """Tell one idle sender that there is work."""
        self._push(SENDER_WAKE)

    def wake_scheduler(self) -> None:
        """Tell a scheduler that there is an earlier due time than it knows."""
        self._push(SCHEDULER_WAKE)

    def _push(self, key: str) -> None:
        if time.monotonic() < self._away_until:
            return
        try:
            with self._pusher.pipeline(transaction=False) as pipe:
                pipe.lpush(key, b"1").ltrim(key, 0, _MOST_TOKENS - 1).execute()
        except redis.RedisError:
            self._note_loss()

    def wait(self, key: str, timeout: timedelta) -> bool:
        """Wait for a token at most *timeout*; False at once when Redis cannot be asked."""
        if time.monotonic() < self._away_until:
            return False
        seconds = min(timeout, self._poll).total_seconds()
        try:
            if self._redis.blpop([key], timeout=max(seconds, 0.01)):
                # Whoever woke looks at everything; what it leaves, it wakes others for.
                self._redis.delete(key)
        except redis.RedisError:
            self._note_loss()
            return False
        return True

    def _note_loss(self) -> None:
        """Leave Redis alone for a moment: a silent one must not slow down whoever wakes others."""
        self._away_until = time.monotonic() + _WAKE_PAUSE.total_seconds()
        self._redis.connection_pool.disconnect()
        self._pusher.connection_pool.disconnect()

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()
        self._pusher.close()
