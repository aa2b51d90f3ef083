"""The sink: a server that takes every message as fast as Python can, and remembers when.

A process of its own, `python -m mailworkers.bench.sink FD DELAY`, which answers a message after
DELAY seconds. FD is one end of a socket pair whose other end is `sinks.LeanSink`: the sink first
writes its port there; `count` is answered by the number of messages so far, `take` by what arrived
since the last `take`. When the other end closes, the sink ends. Messages are remembered before the
250 goes out.
"""

import contextlib
import gc
import re
import select
import socket
import struct
import sys
import time
from collections import deque
from collections.abc import Callable

import msgspec

from mailworkers.bench.arrivals import Arrival

LENGTH = struct.Struct("!I")
COUNT = b"c"
TAKE = b"t"

_RECEIVE = 64 * 1024  # below the size for which malloc asks the kernel each time
_LONGEST_HEADER = 64 * 1024
_OURS = b"\r\nMessage-ID: "
_MESSAGE_ID = re.compile(rb"\r\nMessage-ID:\s*(<[^>\r\n]+>)", re.IGNORECASE)
_OK = b"250 2.0.0 ok\r\n"
_GO_AHEAD = b"354 go ahead\r\n"
_EHLO = (
    b"250-sink\r\n250-PIPELINING\r\n250-SIZE 104857600\r\n250-8BITMIME\r\n"
    b"250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
)
_REPLIES = {
    b"EHLO": _EHLO,
    b"DATA": _GO_AHEAD,
    b"QUIT": b"221 2.0.0 bye\r\n",
}


class Conversation:
    """What one client said so far; `is_over` after its QUIT."""

    def __init__(self, keep: Callable[[bytes], None]) -> None:
        self.is_over = False
        self._keep = keep
        self._unread = b""
        self._searched = 0
        self._is_data = False

    def hear(self, data: bytes) -> bytes:
        """Take in *data* and return the replies it calls for."""
        if not self._unread and data.startswith(b"MAIL") and data.endswith(b"\r\nDATA\r\n"):
            # The group a pipelining client sends, whole: MAIL, RCPT.., DATA (RFC 2920).
            self._begin_message()
            return _OK * (data.count(b"\r\n") - 1) + _GO_AHEAD
        self._unread = self._unread + data if self._unread else data
        replies = []
        while reply := self._message() if self._is_data else self._command():
            replies.append(reply)
        return b"".join(replies)

    def _command(self) -> bytes:
        """Return the reply to the next command; b"" while it is not here."""
        line, end, rest = self._unread.partition(b"\r\n")
        if not end:
            return b""
        self._unread = rest
        verb = line[:4].upper()
        if verb == b"DATA":
            self._begin_message(rest)
        elif verb == b"QUIT":
            self.is_over = True
        return _REPLIES.get(verb, _OK)

    def _begin_message(self, unread: bytes = b"") -> None:
        self._is_data, self._searched = True, 0
        self._unread = b"\r\n" + unread  # so that a lone dot ends an empty message as well

    def _message(self) -> bytes:
        """Return the reply to the next message; b"" while its end is not here."""
        end = self._unread.find(b"\r\n.\r\n", self._searched)
        if end < 0:
            self._searched = max(0, len(self._unread) - 4)
            return b""
        self._keep(_message_id(self._unread, end))
        self._unread = self._unread[end + 5 :]
        self._is_data = False
        return _OK


def _message_id(message: bytes, end: int) -> bytes:
    """Return the Message-ID of the message that ends there; written as we do it is found faster."""
    if (start := message.find(_OURS, 0, end)) >= 0:
        start += len(_OURS)
        return message[start : message.find(b"\r\n", start)]
    found = _MESSAGE_ID.search(message, 0, min(end, _LONGEST_HEADER))
    return found[1] if found else b""


class Sink:
    """Everything that one thread serves: the listener, its clients, and who asks for the count."""

    def __init__(self, control: socket.socket, dot_delay: float) -> None:
        self._control = control
        self._dot_delay = dot_delay
        self._delayed: deque[tuple[float, socket.socket, bytes]] = deque()
        self._arrivals: list[tuple[bytes, int]] = []
        self._taken = 0
        self._clients: dict[int, tuple[socket.socket, Conversation]] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._poll = select.epoll()
        self._poll.register(control, select.EPOLLIN)
        self._poll.register(self._listener, select.EPOLLIN)

    @property
    def port(self) -> int:
        """Return the port it listens on."""
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Serve until the other end of the control socket closes."""
        control, listener = self._control.fileno(), self._listener.fileno()
        while True:
            for fd, _ in self._poll.poll(self._answer_delayed()):
                if client := self._clients.get(fd):
                    self._converse(*client)
                elif fd == listener:
                    self._greet()
                elif fd == control and not self._answer():
                    return

    def _greet(self) -> None:
        client, _ = self._listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"220 sink ESMTP\r\n")
        self._clients[client.fileno()] = (client, Conversation(self._keep))
        self._poll.register(client, select.EPOLLIN)

    def _keep(self, message_id: bytes) -> None:
        self._arrivals.append((message_id, time.time_ns()))

    def _converse(self, client: socket.socket, conversation: Conversation) -> None:
        try:
            data = client.recv(_RECEIVE)
            known = len(self._arrivals)
            if replies := conversation.hear(data):
                if self._dot_delay and len(self._arrivals) > known:
                    self._delayed.append((time.monotonic() + self._dot_delay, client, replies))
                else:
                    client.sendall(replies)
        except OSError:
            data = b""
        if not data or conversation.is_over:
            self._poll.unregister(client)
            del self._clients[client.fileno()]
            client.close()

    def _answer_delayed(self) -> float | None:
        """Answer whoever has waited long enough; return for how long there is nothing to do."""
        while self._delayed:
            left = self._delayed[0][0] - time.monotonic()
            if left > 0:
                return left
            _, client, replies = self._delayed.popleft()
            with contextlib.suppress(OSError):
                client.sendall(replies)
        return None

    def _answer(self) -> bool:
        """Answer one question; False when nobody will ask again."""
        question = self._control.recv(1)
        if question == COUNT:
            self._control.sendall(LENGTH.pack(self._taken + len(self._arrivals)))
        elif question == TAKE:
            answer = msgspec.msgpack.encode(
                [Arrival(name.decode("ascii", "replace"), at) for name, at in self._arrivals]
            )
            self._taken += len(self._arrivals)
            self._arrivals.clear()
            self._control.sendall(LENGTH.pack(len(answer)) + answer)
        return bool(question)


def main() -> None:
    """Serve on a free port of the loopback interface."""
    control = socket.socket(fileno=int(sys.argv[1]))
    sink = Sink(control, float(sys.argv[2]))
    gc.disable()  # nothing here is cyclic, and a collection would walk all arrivals
    control.sendall(LENGTH.pack(sink.port))
    sink.serve()


if __name__ == "__main__":
    main()
