"""The breaker of one relay, shared by all senders through Redis.

Redis is asked once before each lease; while a message is under way only by the prober, to keep its
right. It is left alone for a while when it does not answer at once: a silent one must not slow down
the mail.

Whoever opens it opens it for everybody; when its pause is over one sender probes, and what it finds
holds for everybody, so that a relay that is back is not overrun. Redis may lose all of this: then,
and while it is away, each sender judges for itself.
"""

import time
from datetime import timedelta
from typing import Any

import msgspec
import redis

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.stream import connect
from mailworkers.core.breaker import LONGEST_WAIT, Breaker, State
from mailworkers.core.states import Stage

_LOOK_EVERY = 0.1  # seconds between two looks while all is well
_PATIENCE = timedelta(milliseconds=250)
_ALONE_FOR = 10.0  # seconds without asking a Redis that did not answer
_FORGET_AFTER = timedelta(minutes=10)
# The prober renews its right while it lives; one that died is followed by another after this.
_PROBE_FOR = timedelta(seconds=3)
_RENEW_EVERY = 1.0


class Shared(msgspec.Struct, frozen=True):
    """What Redis holds while the breaker is not closed; `until_ms` is of Redis' own clock."""

    until_ms: int
    openings: int
    reason: str


class SharedBreaker:
    """One sender's view of the breaker: `state` before a lease, then `note_*` what came of it."""

    def __init__(self, settings: Settings, relay: str) -> None:
        self._key = f"mail:breaker:{relay}"
        self._probe_key = f"{self._key}:probe"
        self._redis: Any = connect(settings, patience=_PATIENCE)
        self._own = Breaker()
        self._seen: Shared | None = None
        self._seen_until = 0.0
        self._look_at = 0.0
        self._alone_until = 0.0
        self._holds_probe = False
        self._renew_at = 0.0

    @property
    def reason(self) -> str:
        """Return why it is not closed, "" when it is."""
        return self._own.reason

    def state(self) -> State:
        """Return what may pass now by what we know; half open for one sender of all only."""
        return self._own.state(time.monotonic())

    def look(self) -> None:
        """Make our own judgement the common one, where there is one and it can be asked."""
        now = time.monotonic()
        if now >= self._look_at and now >= self._alone_until:
            self._look(now)

    def keep_probe(self) -> None:
        """Renew the right to probe, when it is ours and time: a transaction may take long."""
        now = time.monotonic()
        if self._holds_probe and now >= self._renew_at:
            self._renew_at = now + _RENEW_EVERY
            self._ask(lambda: self._redis.set(self._probe_key, b"1", px=_PROBE_FOR))

    def seconds_to_probe(self) -> float:
        """Return how long nothing may pass, 0 when something may."""
        return self._own.seconds_to_probe(time.monotonic())

    def note_fault(self, stage: Stage, reason: str, chance: float) -> bool:
        """Take in a fault of the relay; return whether the breaker opened by it."""
        now = time.monotonic()
        opened = self._own.note_fault(stage, reason, now, chance)
        if self._own.probe_at is not None:
            self._tell(now)
        return opened

    def note_success(self) -> bool:
        """Take in that the relay served us; return whether the breaker closes by it."""
        closed = self._own.note_success()
        if closed:
            self._ask(lambda: self._redis.delete(self._key, self._probe_key))
            self._holds_probe = False
        return closed

    def close(self) -> None:
        """Leave the probe to others and close the connection."""
        if self._holds_probe:
            self._ask(lambda: self._redis.delete(self._probe_key))
        self._redis.close()

    def _look(self, now: float) -> None:
        self._look_at = now + _LOOK_EVERY
        answer = self._ask(self._read)
        if answer is None:
            return
        found, (seconds, microseconds) = answer
        shared = self._understand(found)
        if shared is None:
            self._follow_closing()
            return
        wait = self._seconds_left(shared, seconds + microseconds / 1e6, now)
        self._own.openings = shared.openings
        self._own.reason = shared.reason
        if wait <= 0 and not self._may_probe():
            wait = _LOOK_EVERY
        self._own.probe_at = now + max(wait, 0.0)

    def _seconds_left(self, shared: Shared, redis_now: float, now: float) -> float:
        """Return how long *shared* says to wait, never longer than it could when we first saw it.

        Redis' clock may be set back: by it alone, an hour's step would stop the mail for an hour.
        """
        left = shared.until_ms / 1000 - redis_now
        if shared != self._seen:
            self._seen, self._seen_until = shared, now + min(left, LONGEST_WAIT)
        return min(left, self._seen_until - now)

    def _read(self) -> Any:
        with self._redis.pipeline(transaction=False) as pipe:
            return pipe.get(self._key).time().execute()

    def _understand(self, found: bytes | None) -> Shared | None:
        """Return what stands in Redis; what nobody of us wrote is removed, and is nothing."""
        if found is None:
            return None
        try:
            return msgspec.json.decode(found, type=Shared)
        except msgspec.MsgspecError:
            self._ask(lambda: self._redis.delete(self._key))
            return None

    def _follow_closing(self) -> None:
        """Somebody closed it, or Redis forgot it: faults in a row so far are still ours."""
        if self._own.probe_at is not None:
            self._own.note_success()
        self._holds_probe = False

    def _may_probe(self) -> bool:
        """Whether we are the one sender that tries the relay."""
        if not self._holds_probe:
            taken = self._ask(
                lambda: self._redis.set(self._probe_key, b"1", nx=True, px=_PROBE_FOR)
            )
            self._holds_probe = bool(taken)
        self.keep_probe()
        return self._holds_probe

    def _tell(self, now: float) -> None:
        """Open it for everybody, until the time of our own next probe."""
        pause = self._own.seconds_to_probe(now)

        def write() -> bool:
            seconds, microseconds = self._redis.time()
            until_ms = int((seconds + microseconds / 1e6 + pause) * 1000)
            shared = Shared(until_ms, self._own.openings, self._own.reason)
            with self._redis.pipeline(transaction=True) as pipe:
                pipe.set(self._key, msgspec.json.encode(shared), px=_FORGET_AFTER)
                pipe.delete(self._probe_key).execute()
            return True

        self._ask(write)
        self._holds_probe = False

    def _ask(self, call: Any) -> Any:
        """Return what Redis answers, None when it does not: then we are alone for a while."""
        if time.monotonic() < self._alone_until:
            return None
        try:
            return call()
        except redis.RedisError:
            self._redis.connection_pool.disconnect()
            self._alone_until = time.monotonic() + _ALONE_FOR
            return None
