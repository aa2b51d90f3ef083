"""What happens at an armed crash point; imported only by a process that was told to (see
`crash_points.py`).

`kill`, `stop` and `term` are signals to the process itself. `cut` ends network connections under
their owners, who are not told: what has come and was not read is lost, what was sent goes out, then
both ends see the end of the stream. The descriptors stay open, as after a real loss.

Simulated is only the moment. "Sent, its answer not read" is made by waiting until the answer is in
the kernel, where an unarmed process would have read the first of it as it came; so that the other
side has certainly done what it was asked.
"""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.waiting import Ready, Wait

from mailworkers.adapters.crash_points import Act, HasFileno, Order, Point
from mailworkers.adapters.setting_forms import split_address
from mailworkers.adapters.settings import Settings

T = TypeVar("T")

_SIGNALS = {Act.KILL: signal.SIGKILL, Act.STOP: signal.SIGSTOP, Act.TERM: signal.SIGTERM}
_CUTS = {
    Act.CUT: frozenset({"postgres", "redis", "relay", "client"}),
    Act.CUT_POSTGRES: frozenset({"postgres"}),
    Act.CUT_REDIS: frozenset({"redis"}),
    Act.CUT_RELAY: frozenset({"relay"}),
    Act.CUT_CLIENT: frozenset({"client"}),
}
_LONGEST_WAIT = 10_000  # milliseconds, for an answer that does not come
_QUIET = 0.05  # seconds without more of it: the answer is whole
_MOST = 1 << 20  # bytes


class Armed:
    """One order: carried out when its point is reached for the right time, and never again."""

    def __init__(self, order: Order, settings: Settings) -> None:
        self._order = order
        self._settings = settings
        self._left = order.turn

    def _is_waited_for(self, point: Point) -> bool:
        return point is self._order.point and self._left > 0

    def reach(self, point: Point) -> None:
        """Act, if this is the point and the turn."""
        if self._is_waited_for(point):
            self._left -= 1
            if self._left == 0:
                self._act()

    def await_answer(self, point: Point, source: HasFileno) -> None:
        """Reach *point* when *source* has something to read."""
        if self._is_waited_for(point):
            _await_answer(source.fileno())
            self.reach(point)

    def watch(self, point: Point, client: object, *, is_answered: bool) -> None:
        """Reach *point* within the next call of *client*."""
        if not self._is_waited_for(point):
            return
        pausing = _pause_postgres if isinstance(client, psycopg.Connection) else _pause_redis

        def act(fd: int) -> None:
            if is_answered:
                _await_answer(fd)
            self.reach(point)

        pausing(client, act)

    def _act(self) -> None:
        point, act = self._order.point, self._order.act
        if number := _SIGNALS.get(act):
            _announce(f"{point}: {act}")
            # To this thread, which must not go on; but an end in order is the main thread's.
            if number is signal.SIGTERM:
                os.kill(os.getpid(), number)
            else:
                signal.raise_signal(number)
            return
        found = [c for c in connections(self._settings) if c[0] in _CUTS[act]]
        kinds = sorted(kind for kind, _ in found)
        _announce(f"{point}: {act} {' '.join(kinds) or 'nothing'}")
        for _, fd in found:
            _cut(fd)


def _announce(what: str) -> None:
    """Say on standard error, past every buffer, what is going to happen."""
    os.write(2, f"crash point {what}\n".encode())


# Inside of a call.


def _pause_postgres(client: Any, act: Callable[[int], None]) -> None:
    """Let the next call on a connection do *act* between sending and reading."""
    wait = client.wait
    # A statement that is being prepared would have an answer before its answer.
    client.prepare_threshold = None

    def paused(steps: Generator[Wait, Ready, T]) -> Generator[Wait, Ready, T]:
        try:
            wanted = next(steps)
            while wanted != Wait.R:  # there is still something to send
                wanted = steps.send((yield wanted))
            act(client.fileno())
            while True:
                wanted = steps.send((yield wanted))
        except StopIteration as done:
            result: T = done.value
            return result

    def wait_once(steps: Generator[Wait, Ready, T], *args: Any, **options: Any) -> T:
        del client.wait
        result: T = wait(paused(steps), *args, **options)
        return result

    client.wait = wait_once


def _pause_redis(client: Any, act: Callable[[int], None]) -> None:
    """Let the next command of a client do *act* between sending and reading."""
    parse = client.parse_response

    def parse_once(connection: Any, *args: Any, **options: Any) -> Any:
        del client.parse_response
        act(connection._sock.fileno())  # the library gives no other way to its socket
        return parse(connection, *args, **options)

    client.parse_response = parse_once


def _await_answer(fd: int) -> None:
    """Return when an answer is here and no more of it comes, or when none comes for long."""
    readable = select.poll()
    readable.register(fd, select.POLLIN)
    readable.poll(_LONGEST_WAIT)
    with socket.socket(fileno=os.dup(fd)) as same:
        before = -1
        while (now := _waiting_bytes(same)) > before:
            before = now
            time.sleep(_QUIET)


def _waiting_bytes(same: socket.socket) -> int:
    try:
        return len(same.recv(_MOST, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return 0


# Connections.


def connections(settings: Settings) -> Iterator[tuple[str, int]]:
    """Yield kind and descriptor of each connection this process has to others.

    Told apart by the port or path of the other end, in the settings: who is neither the relay nor
    Redis nor a client of the api is Postgres.
    """
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        fd = int(name)
        with suppress(OSError):
            if fd > 2 and Path(f"/proc/self/fd/{fd}").readlink().name.startswith("socket:"):
                with socket.socket(fileno=os.dup(fd)) as same:
                    if kind := _kind(same, settings):
                        yield kind, fd


def _kind(same: socket.socket, settings: Settings) -> str:
    """Return what is at the other end, "" for what is no connection to others."""
    peer = same.getpeername()
    if same.family == socket.AF_UNIX:
        if not peer:  # a pair of our own
            return ""
        return "redis" if settings.redis_addr == f"unix:{peer}" else "postgres"
    if same.getsockname()[1] == _port(settings.internal_http_addr):
        return "client"
    if peer[1] == _port(settings.smtp_addr):
        return "relay"
    return "redis" if peer[1] == _port(settings.redis_addr) else "postgres"


def _port(address: str) -> int:
    """Return the port of `host:port`, 0 where there is none."""
    return 0 if not address or address.startswith("unix:") else split_address(address)[1]


def _cut(fd: int) -> None:
    """End a connection below its owner and lose what waits to be read."""
    with socket.socket(fileno=os.dup(fd)) as same:
        with suppress(OSError):
            same.shutdown(socket.SHUT_RDWR)
        with suppress(OSError):
            while same.recv(_MOST, socket.MSG_DONTWAIT):
                pass
