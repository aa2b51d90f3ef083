"""Listeners: sockets of our own, uvicorn behind them, in a thread beside the role's loop.

The role's loop keeps its signals, heartbeats and waiting for stores; the thread answers meanwhile.
`ping` goes through the event loop, so a loop that hangs silences the heartbeats of its process.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from datetime import timedelta
from errno import EADDRINUSE

import uvicorn
from litestar.types import ASGIApp

from mailworkers.core.errors import ConfigError, MailworkersError
from mailworkers.web.protocol import BoundedProtocol

_KEEP_ALIVE = 60  # seconds
_BACKLOG = 1024
_UNREAD = timedelta(seconds=30)


class Listener:
    """A bound socket and the application that answers on it. *setting* names it in errors.

    `is_shared` lets several processes of one user take turns on one port.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, *, setting: str, is_shared: bool = False
    ) -> None:
        self.app = app
        self.socket = bind(host, port, setting=setting, is_shared=is_shared)

    @property
    def port(self) -> int:
        """Return the port, also where the system chose it."""
        found: int = self.socket.getsockname()[1]
        return found


def bind(host: str, port: int, *, setting: str, is_shared: bool) -> socket.socket:
    """Return a listening socket; ConfigError when *setting* names what this host does not have."""
    family, kind, protocol, _, address = _resolve(host, port, setting)
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        # Inherited by connections: a client that stops reading its answer is cut.
        unread = int(_UNREAD / timedelta(milliseconds=1))
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, unread)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
        listening.settimeout(0)
    except OSError as error:
        listening.close()
        reason = f"{setting}: cannot listen on {host} port {port}: {error.strerror}"
        if error.errno == EADDRINUSE:  # whoever holds it may go: not worth giving up for
            raise MailworkersError(reason) from error
        raise ConfigError(
            f"{reason}; give an address of this host and a port above 1023"
        ) from error
    return listening


def _resolve(host: str, port: int, setting: str) -> tuple[int, int, int, str, tuple[object, ...]]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise ConfigError(f"{setting}: {host} is not a name or address: {error.strerror}") from None


class Server:
    """Serves *listeners* in a thread until it is closed, which takes at most *grace*."""

    def __init__(self, listeners: Sequence[Listener], *, grace: timedelta) -> None:
        for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
            logging.getLogger(name).disabled = True  # what matters is logged as events of ours
        self._grace = grace
        self._sockets = [listener.socket for listener in listeners]
        self._servers = [_Quiet(_configuration(listener.app, grace)) for listener in listeners]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._is_ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="listeners", daemon=True)
        self._thread.start()
        self._is_ready.wait()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # told to the role by its next ping
            self._failure = error
        finally:
            self._is_ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_ready.set()
        await asyncio.gather(
            *(
                server.serve(sockets=[listening])
                for server, listening in zip(self._servers, self._sockets, strict=True)
            )
        )

    def ping(self, timeout: timedelta) -> bool:
        """Return whether the loop answers within *timeout*; raise what ended it, if it ended."""
        if self._failure is not None:
            raise self._failure
        if self._loop is None or not self._thread.is_alive():
            raise RuntimeError("the listeners ended by themselves")
        answered: Future[None] = Future()
        try:
            self._loop.call_soon_threadsafe(answered.set_result, None)
            answered.result(timeout.total_seconds())
        except (TimeoutError, RuntimeError):
            return False
        return True

    def close(self) -> None:
        """Stop listening, let requests under way finish, end the thread."""
        for server in self._servers:
            server.should_exit = True
        self._thread.join(self._grace.total_seconds() + 1)


def _configuration(app: ASGIApp, grace: timedelta) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, int(grace.total_seconds())),
    )


class _Quiet(uvicorn.Server):
    """uvicorn without signals: they belong to the role's loop."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Capture nothing."""
        return nullcontext()
