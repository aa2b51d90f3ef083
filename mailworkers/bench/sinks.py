"""Where mail goes in a measurement: our own sink, or Postfix's `smtp-sink`, as processes."""

import contextlib
import enum
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from mailworkers.bench.arrivals import Arrival
from mailworkers.bench.postfix_tools import PostfixTools
from mailworkers.bench.sink import COUNT, LENGTH, TAKE
from mailworkers.embedded.ports import free_port

_COUNTER = re.compile(rb"mesg=(\d+)")
_MESSAGE_ID = re.compile(r"^Message-ID:\s*(<[^>\s]+>)", re.IGNORECASE | re.MULTILINE)


class SinkKind(enum.StrEnum):
    """Which sink to send to."""

    LEAN = "lean"
    SMTP_SINK = "smtp-sink"


class Sink(Protocol):
    """What a measurement needs of a sink."""

    address: str
    pid: int

    def count(self) -> int:
        """Return how many messages have arrived since the start."""

    def take(self) -> list[Arrival]:
        """Return what arrived since the last call."""

    def __enter__(self) -> Self:
        """Return the running sink."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""


class LeanSink:
    """`mailworkers.bench.sink` in a process of its own, which ends with this one.

    It answers a message after *dot_delay* seconds.
    """

    def __init__(self, dot_delay: float = 0.0) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "mailworkers.bench.sink",
                    str(theirs.fileno()),
                    str(dot_delay),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self.pid = self._process.pid
        self.address = f"127.0.0.1:{self._number()}"

    def count(self) -> int:
        """Return how many messages have arrived since the start."""
        self._control.sendall(COUNT)
        return self._number()

    def take(self) -> list[Arrival]:
        """Return what arrived since the last call, in order."""
        self._control.sendall(TAKE)
        return msgspec.msgpack.decode(self._read(self._number()), type=list[Arrival])

    def _number(self) -> int:
        return int(LENGTH.unpack(self._read(LENGTH.size))[0])

    def _read(self, size: int) -> bytes:
        parts = []
        while size:
            part = self._control.recv(size)
            if not part:
                raise ConnectionError("the sink ended")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self._process.wait(10)


class PostfixSink:
    """`smtp-sink`, which writes every message to a file; times are those of our looking.

    It tells its count on a pipe, so a message's time is at most one look late.
    """

    def __init__(self, tools: PostfixTools, directory: Path) -> None:
        self._dump = directory / "smtp-sink.mbox"
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        self._process = tools.start_sink(port, "-c", "-D", str(self._dump))
        self.pid = self._process.pid
        self._looks: list[tuple[int, int]] = []
        self._count = 0
        self._taken = 0
        self._read_up_to = 0

    def count(self) -> int:
        """Return how many messages have arrived since the start."""
        if self._process.stdout is None:
            raise RuntimeError("smtp-sink was started without a pipe")
        with contextlib.suppress(BlockingIOError):
            if said := self._process.stdout.read():
                self._count = max(self._count, *(int(n) for n in _COUNTER.findall(said)), 0)
                self._looks.append((self._count, time.time_ns()))
        return self._count

    def take(self) -> list[Arrival]:
        """Return what arrived since the last call, in the order of the file."""
        self.count()
        with self._dump.open(encoding="latin-1") as dump:
            dump.seek(self._read_up_to)
            found = _MESSAGE_ID.findall(dump.read())
            self._read_up_to = dump.tell()
        arrivals = [
            Arrival(message_id, self._time_of(number))
            for number, message_id in enumerate(found, self._taken + 1)
        ]
        self._taken += len(found)
        return arrivals

    def _time_of(self, number: int) -> int:
        """Return when the count was first seen to have reached *number*."""
        return next((at for count, at in self._looks if count >= number), self._looks[-1][1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)
        if self._process.stdout is not None:
            self._process.stdout.close()
