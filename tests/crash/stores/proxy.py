"""A proxy of our own between a role and its store: what the network and the server can do wrong.

    with Proxy("/run/x/.s.PGSQL.5432") as proxy:    # or ("127.0.0.1", 6379)
        ...connect to proxy.addr...
        proxy.cut()                 # every connection is reset
        proxy.silence()             # nothing passes any more, nothing is closed: no FIN, no RST
        proxy.resume()
        proxy.shut()                # new connections are refused, as when nobody listens
        proxy.open()
        proxy.lead_to(other)        # new connections go to another server: a failover
        proxy.rule = loses_the_answer_to(b"XACK")

A rule sees every chunk of both directions. It returns what is to be passed on, and may cut the
link. Requests of one connection follow one another, so that a rule can count them.
"""

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable
from typing import Self

Upstream = str | tuple[str, int]
_LINGER = struct.pack("ii", 1, 0)
_CHUNK = 256 * 1024


class Rule:
    """What happens to the bytes of every link: as it stands, nothing."""

    def asks(self, link: "Link", data: bytes) -> bytes:  # noqa: ARG002
        """Return what of the client's *data* reaches the server."""
        return data

    def answers(self, link: "Link", data: bytes) -> bytes:  # noqa: ARG002
        """Return what of the server's *data* reaches the client."""
        return data


class Link:
    """One connection of a client with its connection to the server."""

    def __init__(self, proxy: "Proxy", client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self.is_cut = False

    def run(self) -> None:
        """Pass bytes both ways until one side ends or the link is cut."""
        ends = {self._client: self._server, self._server: self._client}
        with contextlib.suppress(OSError):
            while not self.is_cut and not self._proxy.is_over:
                if self._proxy.is_silent:
                    self._proxy.wait_for_a_change()
                    continue
                readable, _, _ = select.select(list(ends), [], [], 0.02)
                for end in readable:
                    if not self._pass_on(end, ends[end]):
                        return self._close(gently=True)
        return self._close(gently=not self.is_cut)

    def _pass_on(self, source: socket.socket, target: socket.socket) -> bool:
        """Pass one chunk on; False when *source* has ended."""
        if self._proxy.is_silent:
            return True
        data = source.recv(_CHUNK)
        if not data:
            return False
        judge = self._proxy.rule.asks if source is self._client else self._proxy.rule.answers
        passed = judge(self, data)
        if passed:
            target.sendall(passed)
        return True

    def cut(self) -> None:
        """Reset both connections."""
        self.is_cut = True

    def _close(self, *, gently: bool) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                if not gently and end.family != socket.AF_UNIX:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            end.close()


class Proxy:
    """Listens on a port of *host*, passes everything on to *upstream*, and spoils it as told."""

    def __init__(self, upstream: Upstream, *, host: str = "127.0.0.1") -> None:
        self._upstream = upstream
        self.rule = Rule()
        self.is_over = False
        self.is_silent = False
        self.host = host
        self.port = 0
        self.connections = 0
        self._changed = threading.Condition()
        self._links: list[tuple[Link, threading.Thread]] = []
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def addr(self) -> str:
        """Return `host:port`."""
        return f"{self.host}:{self.port}"

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_over = True
        self.resume()
        self.shut()
        for pair in self._links:
            pair[1].join(10)

    def open(self) -> None:
        """Listen, on the port it had before if there was one."""
        self._listener = socket.create_server((self.host, self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._listen, args=[self._listener], daemon=True)
        self._thread.start()

    def shut(self) -> None:
        """Refuse new connections and cut those there are."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):  # wakes the thread in accept
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        if self._thread is not None:
            self._thread.join(10)
        self.cut()

    def cut(self) -> None:
        """Reset every connection, and return when that is done."""
        for pair in self._links:
            pair[0].cut()
        for pair in self._links:
            pair[1].join(10)

    def silence(self) -> None:
        """Let nothing pass in either direction; new connections are taken and not answered."""
        self.is_silent = True

    def resume(self) -> None:
        """Pass everything on again, what was held back first."""
        with self._changed:
            self.is_silent = False
            self._changed.notify_all()

    def wait_for_a_change(self) -> None:
        """Return when the silence may be over."""
        with self._changed:
            self._changed.wait(0.02)

    def lead_to(self, upstream: Upstream) -> None:
        """Send new connections to *upstream* and cut those there are."""
        self._upstream = upstream
        self.cut()

    def _listen(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self.connections += 1
            self._join(client)

    def _join(self, client: socket.socket) -> None:
        """Connect a client with the server; reset it when the server is not there."""
        try:
            server = _connect(self._upstream)
        except OSError:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
            client.close()
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(self, client, server)
        thread = threading.Thread(target=link.run, daemon=True)
        self._links = [pair for pair in self._links if pair[1].is_alive()]
        self._links.append((link, thread))
        thread.start()


def _connect(upstream: Upstream) -> socket.socket:
    if isinstance(upstream, str):
        server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            server.connect(upstream)
        except OSError:
            server.close()
            raise
        return server
    return socket.create_connection(upstream, timeout=5)


class _LosesAnswers(Rule):
    """Passes a request with *word* in it on, and loses what the server says to it."""

    def __init__(self, word: bytes, on_loss: Callable[[Link], None] | None) -> None:
        self._word = word
        self._on_loss = on_loss
        self._mute: Link | None = None
        self.losses = 0

    def asks(self, link: Link, data: bytes) -> bytes:
        if self.losses == 0 and self._mute is None and self._word in data:
            self._mute = link
        return data

    def answers(self, link: Link, data: bytes) -> bytes:
        if link is not self._mute:
            return data
        self.losses += 1
        if self._on_loss is not None:
            self._on_loss(link)
        return b""


def loses_the_answer_to(word: bytes) -> _LosesAnswers:
    """Return a rule: the first answer to a request with *word* is lost and the link reset."""
    return _LosesAnswers(word, Link.cut)


def says_nothing_after(word: bytes) -> _LosesAnswers:
    """Return a rule: from the first request with *word* on, its link gets no answer any more."""
    return _LosesAnswers(word, None)
