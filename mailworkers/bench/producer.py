"""A producer that costs as little as possible: ready-made XADDs, pipelined on a plain socket.

Only the bytes of the Redis protocol are written here, so that the measured machine does not spend
its time in a client library.
"""

import socket
import time
from collections.abc import Mapping, Sequence

from mailworkers.core.errors import MailworkersError

_BATCH = 200  # commands that are on their way before their replies are awaited
_CHUNK = 64 * 1024


class XaddRefused(MailworkersError):  # noqa: N818  it names the condition
    """Redis answered an XADD with an error."""


def xadd(stream: str, fields: Mapping[str, str]) -> bytes:
    """Return the command that appends *fields* to *stream*, ready to be written."""
    words = ["XADD", stream, "*"]
    for name, value in fields.items():
        words += [name, value]
    parts = [f"*{len(words)}\r\n".encode()]
    for word in words:
        encoded = word.encode()
        parts += [b"$%d\r\n" % len(encoded), encoded, b"\r\n"]
    return b"".join(parts)


class Producer:
    """One connection to the Redis at a Unix socket (`unix:/path`)."""

    def __init__(self, redis_addr: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(30)
        self._socket.connect(redis_addr.removeprefix("unix:"))

    def put(self, commands: Sequence[bytes]) -> int:
        """Run all *commands*, XADDs, and return when the first was written, in ns of the epoch."""
        started = time.time_ns()
        for first in range(0, len(commands), _BATCH):
            batch = commands[first : first + _BATCH]
            self._socket.sendall(b"".join(batch))
            self._await_ids(len(batch))
        return started

    def _await_ids(self, count: int) -> None:
        """Wait for *count* replies, each a bulk string of two lines."""
        answer = b""
        while answer.count(b"\r\n") < 2 * count:
            part = self._socket.recv(_CHUNK)
            if not part:
                raise ConnectionError("Redis closed the connection")
            answer += part
            if answer.startswith(b"-") or b"\r\n-" in answer:
                raise XaddRefused(answer.decode("utf-8", "replace"))

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
