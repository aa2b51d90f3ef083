"""A clock of our own for servers that froze: they take packets and never answer.

Neither statement_timeout nor the kernel's timeouts see that: a suspended machine, a disk that
hangs, a proxy in between whose own server is gone.
"""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import psycopg

_TICK = timedelta(milliseconds=250)


class Watchdog:
    """Cuts the connections whose thread has waited longer than *limit* for the server."""

    def __init__(self, limit: timedelta, *, tick: timedelta = _TICK) -> None:
        self._limit = limit.total_seconds()
        self._tick = tick.total_seconds()
        self._watched: dict[object, tuple[float, psycopg.Connection[Any]]] = {}
        self._lock = threading.Lock()
        self._closed = threading.Event()
        threading.Thread(target=self._patrol, name="watchdog", daemon=True).start()

    @contextmanager
    def watching(self, conn: psycopg.Connection[Any]) -> Iterator[None]:
        """Watch *conn* while the block runs."""
        key = object()
        with self._lock:
            self._watched[key] = (time.monotonic() + self._limit, conn)
        try:
            yield
        finally:
            with self._lock:
                self._watched.pop(key, None)

    def _patrol(self) -> None:
        while not self._closed.wait(self._tick):
            now = time.monotonic()
            with self._lock:
                # Under the lock: once its block has ended, a connection is no longer ours to cut.
                for key, (deadline, conn) in list(self._watched.items()):
                    if now > deadline:
                        del self._watched[key]
                        _cut(conn)

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()


def _cut(conn: psycopg.Connection[Any]) -> None:
    """End the network connection below *conn*: whoever waits for it is told at once."""
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(conn.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
