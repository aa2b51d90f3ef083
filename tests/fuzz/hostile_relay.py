"""A relay in a thread that plays scripts, one connection after the other, and keeps what it heard.

It has no opinion: it reads lines and says the next move of that point, until one side ends it.
"""

import contextlib
import socket
import ssl
import struct
import threading
from typing import Self

from tests.fuzz.hostile_scripts import End, Move, Script

_RESET = struct.pack("ii", 1, 0)
_PATIENCE = 5.0  # seconds: nobody waits that long here
_GOOD = {
    "BANNER": b"220 relay.test ESMTP\r\n",
    "EHLO": b"250-relay.test\r\n250-AUTH PLAIN LOGIN CRAM-MD5\r\n250-SIZE 1000000\r\n",
    "HELO": b"250 relay.test\r\n",
    "STARTTLS": b"220 go\r\n",
    "TLS": b"",
    "AUTH": b"235 2.7.0 in\r\n",
    "MAIL": b"250 2.1.0 ok\r\n",
    "RCPT": b"250 2.1.5 ok\r\n",
    "DATA": b"354 go\r\n",
    "BODY": b"",
    "DOT": b"250 2.0.0 queued\r\n",
    "RSET": b"250 2.0.0 ok\r\n",
    "QUIT": b"221 2.0.0 bye\r\n",
}
DOT = b"\r\n.\r\n"


class Over(Exception):  # noqa: N818
    """The connection has ended."""


class Scene:
    """One connection as it is played: whether TLS and pipelining are offered, and the script."""

    def __init__(self, script: Script, *, tls: str, pipelining: bool) -> None:
        self.script = script
        self.tls = tls  # "", "starttls" or "implicit"
        self.pipelining = pipelining
        self.heard = bytearray()  # all that came, decrypted

    def good(self, point: str) -> bytes:
        """Return the proper reply at *point*."""
        reply = _GOOD[point]
        if point != "EHLO":
            return reply
        offers = [b"250-PIPELINING\r\n"] * self.pipelining
        offers += [b"250-STARTTLS\r\n"] * (self.tls == "starttls")
        return reply + b"".join(offers) + b"250 ENHANCEDSTATUSCODES\r\n"


class HostileRelay:
    """The server: `plays` tells it what comes next, `finish` what it heard since it was last asked.

    A connection for which there is no scene meets a good relay.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._context.sslsocket_class = _Encrypted
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._scene: Scene | None = None
        self._heard = bytearray()
        self._last_port = 0  # who comes from there comes from `finish`
        self._is_finished = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_PATIENCE)
        self._listener.close()

    def plays(self, scene: Scene) -> None:
        """Play *scene* in the next connection."""
        self._scene = scene

    def finish(self) -> bytes:
        """Return all that was heard, when the connections there were are over.

        They are served one after the other: what it says to one more comes after all others.
        """
        self._is_finished.clear()
        with socket.socket() as last:
            last.bind(("127.0.0.1", 0))
            self._last_port = last.getsockname()[1]
            last.connect(("127.0.0.1", self.port))
            if not self._is_finished.wait(3 * _PATIENCE):
                raise RuntimeError("the relay does not come to an end")
        heard, self._heard, self._scene = bytes(self._heard), bytearray(), None
        return heard

    def _serve(self) -> None:
        while True:
            try:
                connection, (_, port) = self._listener.accept()
            except OSError:
                return
            if port == self._last_port:
                connection.close()
                self._is_finished.set()
                continue
            scene = self._scene or Scene({}, tls="", pipelining=True)
            self._scene = None
            connection.settimeout(_PATIENCE)
            _Play(scene, connection, self._context).run()
            self._heard += scene.heard


class _Play:
    """One connection."""

    def __init__(self, scene: Scene, connection: socket.socket, context: ssl.SSLContext) -> None:
        self._scene = scene
        self._socket = connection
        self._context = context
        self._unread = b""
        self._said = b""

    def run(self) -> None:
        """Talk until one side ends it."""
        with contextlib.suppress(Over, OSError, ValueError):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._scene.tls == "implicit":
                self._encrypt()
            self._say("BANNER")
            while True:
                self._answer(self._line())
        self._socket.close()

    def _answer(self, line: bytes) -> None:
        verb = line[:4].upper().decode("ascii", "replace")
        point = {"STAR": "STARTTLS"}.get(verb, verb)
        if point not in _GOOD:
            point = "AUTH"  # a line of a login, or nothing we know
        if point == "AUTH" and line.upper() in (b"AUTH LOGIN", b"AUTH CRAM-MD5", b"AUTH PLAIN"):
            self._say(point, b"334 PDEuMkByZWxheT4=\r\n")
        else:
            self._say(point)
        if point == "STARTTLS" and self._said.startswith(b"2"):
            self._encrypt()
        elif point == "DATA" and self._said.startswith(b"3"):
            self._say("BODY")
            self._body()
            self._say("DOT")
        elif point == "QUIT":
            raise Over

    def _say(self, point: str, good: bytes | None = None) -> None:
        moves = self._scene.script.get(point)
        move = moves.pop(0) if moves else Move((good or self._scene.good(point),))
        self._said = b"".join(move.chunks)
        for chunk in move.chunks:
            self._send(chunk)
            if move.pause:
                self._wait(move.pause)
        match move.end:
            case End.CLOSE:
                raise Over
            case End.RESET:
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                raise Over
            case End.HALF_CLOSE:
                self._socket.shutdown(socket.SHUT_WR)
                self._swallow()
            case End.HANG:
                self._swallow()
            case End.REPEAT:
                while True:
                    self._send(move.chunks[-1])

    def _encrypt(self) -> None:
        self._say("TLS")
        self._unread = b""
        self._socket = self._context.wrap_socket(self._socket, server_side=True)

    def _send(self, data: bytes) -> None:
        if data:
            self._socket.sendall(data)

    def _wait(self, seconds: float) -> None:
        """Wait, but not longer than the client."""
        self._socket.settimeout(seconds)
        try:
            self._read()
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(_PATIENCE)

    def _swallow(self) -> None:
        """Hear what still comes, and say nothing."""
        while True:
            self._read()

    def _line(self) -> bytes:
        while b"\n" not in self._unread:
            self._read()
        line, _, self._unread = self._unread.partition(b"\n")
        return line.rstrip(b"\r")

    def _body(self) -> None:
        self._unread = b"\r\n" + self._unread
        while DOT not in self._unread:
            self._read()
        self._unread = self._unread.partition(DOT)[2]

    def _read(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise Over
        self._scene.heard += data
        self._unread += data


class _Encrypted(ssl.SSLSocket):
    """TLS to a client that may be gone before it begins: then `wrap_socket` loses the socket."""

    def __del__(self) -> None:
        self.close()
