"""Looks on while a drill goes: which alarms fire, how much waits, how much has arrived."""

import contextlib
import threading
import time
from typing import Any, Protocol

import psycopg
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailworkers.gameday.drills.session import Session
from mailworkers.gameday.judging.drill import Alarm
from mailworkers.gameday.service import STREAM, Service

_LOOK_EVERY = 1.0
_TOLD_EVERY = 15.0  # seconds between two lines of how it stands
_WAITING = """
SELECT count(*) FROM mail.deliveries WHERE status IN ('queued', 'rendered')
    OR (status IN ('deferred', 'scheduled')
        AND next_attempt_at < clock_timestamp() - interval '1 s')
"""


class Alarms(Protocol):
    """Whoever knows which alarms fire."""

    def firing(self) -> set[str]:
        """Return their names; OSError when nobody can tell now."""


class Lookout:
    """A thread that looks each second until `stop`; what it saw stays.

    Times of `alarms` and `waiting` are seconds since the fault `began`.
    """

    def __init__(self, service: Service, alarms: Alarms, session: Session) -> None:
        self._service = service
        self._source = alarms
        self._session = session
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._redis: Any = redis.Redis(
            unix_socket_path=service.redis_socket, socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        self._conn: psycopg.Connection[tuple[Any, ...]] | None = None
        self._firing: set[str] = set()
        self._parts = {"producers": 0, "stream": 0, "tables": 0}
        self.began = time.monotonic()
        self.alarms: list[Alarm] = []
        self.waiting: list[tuple[float, int]] = []
        self.arrived = 0

    def begin_fault(self) -> None:
        """Count from now on; alarms of before are forgotten."""
        self.began = time.monotonic()
        self.alarms = []
        self.waiting = []

    @property
    def now(self) -> float:
        """Return the seconds since the fault began."""
        return time.monotonic() - self.began

    @property
    def backlog(self) -> int:
        """How much waited between producers and relay at the last look."""
        return sum(self._parts.values())

    def firing(self) -> set[str]:
        """Return the alarms that fired at the last look."""
        return set(self._firing)

    def note_producers(self, waiting: int) -> None:
        """Take in how many commands wait at the producers."""
        self._parts["producers"] = waiting

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join()
        self._redis.close()
        if self._conn is not None:
            self._conn.close()

    def _work(self) -> None:
        told = time.monotonic()
        while not self._over.wait(_LOOK_EVERY):
            with contextlib.suppress(OSError, ValueError):
                self._look_at_alarms()
            self._look_at_stream()
            self._look_at_tables()
            self.arrived = int(self._service.sink.order(count=True))
            self.waiting.append((self.now, self.backlog))
            if time.monotonic() > told + _TOLD_EVERY:
                told = time.monotonic()
                where = ", ".join(f"{name} {n:,}" for name, n in self._parts.items() if n)
                self._session.say(
                    f"  {self.arrived:,} mails at the relay; waiting: {where or 'nothing'}"
                )

    def _look_at_alarms(self) -> None:
        found = self._source.firing()
        for name in sorted(found - self._firing):
            self.alarms.append(Alarm(name, self.now))
            self._session.say(f"ALARM {name} fires")
        for name in sorted(self._firing - found):
            for alarm in self.alarms:
                if alarm.name == name and alarm.resolved is None:
                    alarm.resolved = self.now
            self._session.say(f"alarm {name} is quiet again")
        self._firing = found

    def _look_at_stream(self) -> None:
        with contextlib.suppress(redis.RedisError):
            groups = self._redis.xinfo_groups(STREAM)
            self._parts["stream"] = sum(g["pending"] + (g.get("lag") or 0) for g in groups)

    def _look_at_tables(self) -> None:
        try:
            if self._conn is None:
                self._conn = self._service.connect()
            row = self._conn.execute(_WAITING).fetchone()
            self._parts["tables"] = int(row[0]) if row else 0
        except psycopg.Error:
            if self._conn is not None:
                self._conn.close()
            self._conn = None
