"""Connections for processes that answer many askers at a time: the api and the monitor.

Not psycopg_pool: while the server is away that one lets every caller wait out a timeout and keeps
the reason to itself. This one connects in the caller's thread, so that an absent server is an
answer at once, and a server that froze is noticed by a clock of ours.
"""

import select
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

from psycopg.pq import TransactionStatus

from mailworkers.adapters.db import Connection, connection_parameters
from mailworkers.adapters.primaries import connect_primary
from mailworkers.adapters.sqlstates import translated
from mailworkers.adapters.watchdog import Watchdog
from mailworkers.core.errors import StoreUnavailable

__all__ = ["PATIENCE", "Connection", "Pool"]

PATIENCE = timedelta(seconds=2)
# The server gives up first where it can.
_GRACE = timedelta(milliseconds=250)


class Pool:
    """Up to *size* autocommit connections, each lent to one thread at a time.

    No caller waits longer than `PATIENCE` for a connection, nor longer than *limit* (and a little)
    for what it does with it: StoreUnavailable then. Connections are opened when they are needed.
    """

    def __init__(self, dsn: str, application: str, *, size: int, limit: timedelta) -> None:
        parameters = connection_parameters(dsn, application)
        # The server gives up first where it can: our own clock only catches one that is frozen.
        milliseconds = int(limit / timedelta(milliseconds=1))
        # People ask differently each time, and a plan for a small table must not outlive it.
        parameters["options"] += (
            f" -c statement_timeout={milliseconds} -c plan_cache_mode=force_custom_plan"
        )
        parameters["connect_timeout"] = int(PATIENCE.total_seconds())
        self._parameters = parameters
        self._size = size
        self._permits = threading.BoundedSemaphore(size)
        self._idle: deque[Connection] = deque()
        self._watchdog = Watchdog(limit + _GRACE)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; driver errors that mean "away" come out as StoreUnavailable."""
        if not self._permits.acquire(timeout=PATIENCE.total_seconds()):
            raise StoreUnavailable("postgres", f"all {self._size} connections are busy")
        try:
            with translated():
                conn = self._take()
                try:
                    with self._watchdog.watching(conn):
                        yield conn
                finally:
                    self._give_back(conn)
        except StoreUnavailable:
            self.drop_idle()
            raise
        finally:
            self._permits.release()

    def _take(self) -> Connection:
        """Return an idle connection that is alive, the one used last first, or a new one."""
        with suppress(IndexError):
            while True:
                conn = self._idle.pop()
                if not _has_been_left(conn):
                    return conn
                conn.close()
        return connect_primary(self._parameters)

    def _give_back(self, conn: Connection) -> None:
        if conn.closed or conn.info.transaction_status != TransactionStatus.IDLE:
            conn.close()
        else:
            self._idle.append(conn)

    def drop_idle(self) -> None:
        """Close what is not lent: after a failure the others are not to be trusted either."""
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def close(self) -> None:
        """Close what is not lent, and stop watching the rest."""
        self._watchdog.close()
        self.drop_idle()


def _has_been_left(conn: Connection) -> bool:
    """Whether the server has something to say to an idle connection: its farewell, or its end."""
    watch = select.poll()
    watch.register(conn.fileno(), select.POLLIN)
    return bool(watch.poll(0))
