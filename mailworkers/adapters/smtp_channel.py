"""One connection to a relay: bytes out, replies in, every wait bounded by a deadline.

Deadlines are moments of the monotonic clock and belong to a whole phase, however slowly the relay
drips (M-03). While it waits the channel calls `tick` at least every 200 ms. It raises TimeoutError
past the deadline, another OSError at a reset or the end of the stream, BadReply at anything that is
no reply; after any of them the connection is of no more use.
"""

import contextlib
import os
import select
import socket
import ssl
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any

from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.smtp_transcript import Transcript
from mailworkers.core.reply_reader import ReplyReader
from mailworkers.core.wire import BadReply, Reply

_TICK = 0.2  # seconds
_SOON = 0.05  # seconds in which most replies come
_CHUNK = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time
_RECEIVE_SOON = struct.pack("ll", 0, int(_SOON * 1_000_000))


class Refused(Exception):  # noqa: N818  it names the condition
    """The relay said 4yz or 5yz in the set-up."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


def _out_of_time() -> TimeoutError:
    return TimeoutError("the relay did not answer in time")


class Channel:
    """A TCP connection, or TLS on one, with a reply reader."""

    def __init__(self, family: int, transcript: Transcript, tick: Callable[[], None]) -> None:
        self.is_encrypted = False
        self.unsent = 0
        self.transcript = transcript
        self._reader = ReplyReader()
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.settimeout(0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _RECEIVE_SOON)
        self._now = 0  # flags of a call that must not block
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._readable = self._poll(select.POLLIN)
        self._writable = self._poll(select.POLLOUT)
        self._either = self._poll(select.POLLIN | select.POLLOUT)
        self.tick_with(tick)

    def _poll(self, events: int) -> select.poll:
        """Return a poll for *events*; wrapping the socket keeps its fd, so it stays right."""
        poll = select.poll()
        poll.register(self._socket, events)
        return poll

    def tick_with(self, tick: Callable[[], None]) -> None:
        """Call *tick* from now on, first in 200 ms."""
        self._tick = tick
        self._next_tick = monotonic() + _TICK

    # Opening

    def connect(self, address: Any, deadline: float) -> None:
        """Connect to *address*, in the form getaddrinfo gives."""
        with contextlib.suppress(BlockingIOError):
            self._socket.connect(address)
        self._wait(self._writable, deadline)
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, os.strerror(error))
        # From here on a plain connection blocks, for no longer than _SOON and only where it may:
        # to receive at once what comes soon spares asking first whether it is there.
        self._socket.settimeout(None)
        self._now = socket.MSG_DONTWAIT

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        return self._socket.fileno()

    @property
    def peer(self) -> str:
        """Return the IP address of the relay."""
        return str(self._socket.getpeername()[0])

    def start_tls(self, context: ssl.SSLContext, host: str, deadline: float) -> None:
        """Shake hands; *host* is the name the certificate must carry, if *context* asks for that.

        Refused when plaintext bytes are already here: they would count as said under TLS (X-06).
        """
        if not self._reader.is_empty:
            raise BadReply("the relay spoke between its STARTTLS reply and the handshake")
        self._socket.settimeout(0)
        self._now = 0  # TLS knows no flags
        self._socket.getpeername()  # wrapping a socket that was reset would leak it
        encrypted = context.wrap_socket(
            self._socket, server_hostname=host, do_handshake_on_connect=False
        )
        self._socket = encrypted
        self.is_encrypted = True
        while True:
            try:
                encrypted.do_handshake()
            except ssl.SSLWantReadError:
                reached(Point.SHAKING_HANDS)
                self._wait(self._readable, deadline)
            except ssl.SSLWantWriteError:
                self._wait(self._writable, deadline)
            else:
                break
        cipher = encrypted.cipher()
        self.transcript.note(f"{encrypted.version()} {cipher[0] if cipher else ''}")

    # Speaking

    def command(self, data: bytes, deadline: float, *, shown: bytes = b"") -> None:
        """Send one command line or a group; *shown* stands for it in the transcript if secret.

        Refused while an unread reply is here: it would be taken for the answer to this command.
        """
        if not self._reader.is_empty:
            raise BadReply("the relay sent a reply that nothing asked for")
        self.transcript.sent(shown or data)
        self.send(data, deadline)

    def send(self, data: bytes, deadline: float, *, while_quiet: bool = False) -> bool:
        """Send *data*; with *while_quiet* stop and return False once the relay says something.

        `unsent` is the number of bytes that did not reach the network, also when this raises.
        """
        self.unsent = len(data)
        view = memoryview(data)
        while self.unsent:
            if while_quiet and not self.is_quiet():
                return False
            self._check(deadline)
            start = len(data) - self.unsent
            try:
                self.unsent -= self._socket.send(view[start : start + _CHUNK], self._now)
                if self.unsent:
                    reached(Point.IN_BODY)
            except (BlockingIOError, ssl.SSLWantWriteError):
                self._wait(self._either if while_quiet else self._writable, deadline)
            except ssl.SSLWantReadError:
                self._wait(self._readable, deadline)
        return True

    # Listening

    def reply(self, deadline: float) -> Reply:
        """Return the next reply."""
        while (reply := self._reader.next()) is None:
            self._reader.feed(self._receive(deadline))
        return self.transcript.heard(reply)

    def expect(self, deadline: float, digit: int | None = 2) -> Reply:
        """Return the next reply if its code begins with *digit*. Raises Refused as well."""
        reply = self.reply(deadline)
        match reply.code // 100:
            case first if first == digit:
                return reply
            case 4 | 5:
                raise Refused(reply)
        raise BadReply(f"the relay answered out of place: {reply}")

    def ask(self, data: bytes, deadline: float, *, expected: int = 2, shown: bytes = b"") -> Reply:
        """Send one command of the set-up and return its reply, as `expect` does."""
        self.command(data, deadline, shown=shown)
        return self.expect(deadline, expected)

    @property
    def lines(self) -> tuple[bytes, ...]:
        """Return the texts of the last reply if it had several lines, else nothing."""
        return self._reader.lines

    def last_words(self) -> Reply | None:
        """Return the reply that is already here: it may say why sending failed. Never blocks."""
        if self.is_quiet():
            return None
        with contextlib.suppress(BadReply):
            if reply := self._reader.next():
                return self.transcript.heard(reply)
        return None

    def is_quiet(self) -> bool:
        """Whether nothing waits to be read: no reply, no end of stream, no error. Never blocks."""
        if not self._reader.is_empty:
            return False
        if not self._readable.poll(0) and not self._is_decrypted():
            return True
        try:
            self._reader.feed(self._socket.recv(_CHUNK, self._now))
        except (BlockingIOError, ssl.SSLWantReadError):
            return True  # a TLS record without data in it, such as a session ticket
        except OSError:
            return False
        return False

    def _is_decrypted(self) -> bool:
        """Whether bytes wait inside the TLS layer, where poll does not see them."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def _receive(self, deadline: float) -> bytes:
        """Return what comes next, at least one byte."""
        flags = 0 if self._seconds_left(deadline) > _SOON else self._now
        while True:
            try:
                data = self._socket.recv(_CHUNK, flags)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(self._readable, deadline)
                flags = self._now
            except ssl.SSLWantWriteError:
                self._wait(self._writable, deadline)
            else:
                if not data:
                    raise ConnectionError("the relay closed the connection")
                return data

    # Waiting and ending

    def _check(self, deadline: float) -> float:
        """Tick when it is time; return the seconds until the next tick or the deadline.

        Raises TimeoutError past the deadline.
        """
        left = self._seconds_left(deadline)
        if left <= 0:
            raise _out_of_time()
        return left

    def _seconds_left(self, deadline: float) -> float:
        """Tick when it is time; return the seconds until the next tick or the deadline, or less."""
        now = monotonic()
        if now >= self._next_tick:
            self._tick()
            now = monotonic()
            self._next_tick = now + _TICK
        return min(deadline, self._next_tick) - now

    def _wait(self, poll: select.poll, deadline: float) -> None:
        """Return when *poll* has something. Raises TimeoutError past the deadline.

        Never without a last look: what came while a tick took its time is here, and in time.
        """
        while not poll.poll(max(0.0, self._seconds_left(deadline)) * 1000):
            if monotonic() >= deadline and not poll.poll(0):
                raise _out_of_time()

    def quit(self) -> None:
        """Say QUIT and close, without waiting: whatever it answers changes nothing (M-05)."""
        with contextlib.suppress(OSError):
            self._socket.send(b"QUIT\r\n", self._now)
        self.transcript.sent(b"QUIT\r\n")
        self._socket.close()

    def abort(self) -> None:
        """Close by a reset, which drops what still waits to go out.

        An orderly end in the middle of a message could be taken for the end of that message.
        """
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._socket.close()
