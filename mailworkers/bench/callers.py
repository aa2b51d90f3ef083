"""Clients of the api that cost as little as possible: ready-made requests on kept connections."""

import http.client
import socket
import time
from collections.abc import Sequence
from contextlib import closing, suppress

import msgspec

from mailworkers.core.errors import MailworkersError

_CHUNK = 64 * 1024
_PATIENCE = 60.0  # seconds for one answer
_LOOK_EVERY = 0.01


class Unanswered(MailworkersError):  # noqa: N818  it names the condition
    """The api did not answer as it should; the message says how."""


_NOT_YET = (OSError, http.client.HTTPException, Unanswered)


def post(path: str, body: object) -> bytes:
    """Return the request that posts *body* as JSON, ready to be written."""
    text = msgspec.json.encode(body)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(text) + text


class Callers:
    """*count* connections to the api at a port of this host, each with one request at a time."""

    def __init__(self, port: int, count: int) -> None:
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
        for one in self._sockets:
            one.settimeout(_PATIENCE)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def call(self, requests: Sequence[bytes]) -> None:
        """Make all *requests*, as many at a time as there are callers; each must get 202."""
        count = len(self._sockets)
        for first in range(0, len(requests), count):
            group = requests[first : first + count]
            for one, request in zip(self._sockets, group, strict=False):
                one.sendall(request)
            for one, _ in zip(self._sockets, group, strict=False):
                _await_answer(one)

    def close(self) -> None:
        """Close all connections."""
        for one in self._sockets:
            one.close()


def _await_answer(connection: socket.socket) -> None:
    """Read one answer, head and body."""
    answer = b""
    while (end := answer.find(b"\r\n\r\n")) < 0:
        answer += _more(connection)
    if not answer.startswith(b"HTTP/1.1 202"):
        raise Unanswered(f"the api answered {answer[:300].decode('utf-8', 'replace')}")
    name = b"\r\ncontent-length: "
    at = answer.lower().index(name) + len(name)
    missing = int(answer[at : answer.index(b"\r\n", at)]) - (len(answer) - end - 4)
    while missing > 0:
        missing -= len(_more(connection))


def _more(connection: socket.socket) -> bytes:
    part = connection.recv(_CHUNK)
    if not part:
        raise Unanswered("the api closed the connection")
    return part


class Reader:
    """One client that reads page after page, on one connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_PATIENCE)

    def read(self, path: str) -> float:
        """Return how many ms it took until the whole answer to GET *path* was here."""
        started = time.perf_counter()
        self._connection.request("GET", path)
        answer = self._connection.getresponse()
        answer.read()
        took = time.perf_counter() - started
        if answer.status != 200:
            raise Unanswered(f"the api answered {answer.status} to GET {path}")
        return took * 1000

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def await_api(port: int, path: str, *, seconds: float) -> None:
    """Return when GET *path* is answered, after *seconds* at the latest."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with closing(Reader(port)) as reader, suppress(*_NOT_YET):
            reader.read(path)
            return
        time.sleep(_LOOK_EVERY)
    raise Unanswered("the api did not start in time")
