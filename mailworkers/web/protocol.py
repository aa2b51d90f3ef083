"""HTTP/1.1 with bounds: uvicorn's protocol, which has none on headers and none on time.

A client that drips bytes holds a connection and nothing else, and not for long: its header block
must be there within 2 s and be at most 32 KiB, the whole request within 10 s. What cannot be parsed
is answered in the shape of every other error.
"""

import asyncio
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from mailworkers.web.errors import ErrorCode, Problem

HEADER_SECONDS = 2.0
REQUEST_SECONDS = 10.0
LARGEST_HEADERS = 32 * 1024

_MALFORMED = Problem(
    HTTPStatus.BAD_REQUEST, ErrorCode.BAD_REQUEST, "this is not a valid HTTP/1.1 request"
)
_HEADERS_TOO_LARGE = Problem(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    ErrorCode.HEADERS_TOO_LARGE,
    f"the headers are larger than {LARGEST_HEADERS} bytes",
)
_TOO_SLOW = Problem(
    HTTPStatus.REQUEST_TIMEOUT,
    ErrorCode.REQUEST_TIMEOUT,
    f"the headers must arrive within {HEADER_SECONDS:g} s, the body within {REQUEST_SECONDS:g} s",
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection. The clock runs from its start, and from the first byte of each request."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_begun = False
        self._is_in_headers = False
        self._header_bytes = 0
        self._problem = _MALFORMED
        self._clock: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)  # type: ignore[arg-type]  # TCP: it is a Transport
        self._start_clock(HEADER_SECONDS)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock with the connection."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse *data*. A header block that goes on past the bound ends the connection."""
        was_in_headers = self._is_in_headers
        super().data_received(data)
        # The parser says nothing of a header until it has the whole of it, so bytes are counted
        # here: only those that are header for certain, which leaves out one read at each end.
        if was_in_headers and self._is_in_headers:
            self._header_bytes += len(data)
            if self._header_bytes > LARGEST_HEADERS:
                self._refuse(_HEADERS_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins with its first byte."""
        super().on_message_begin()
        self._has_begun = self._is_in_headers = True
        self._header_bytes = 0
        self._start_clock(HEADER_SECONDS)

    def on_headers_complete(self) -> None:
        """Begin to serve the request; a header block past the bound is refused instead."""
        self._is_in_headers = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > LARGEST_HEADERS:
            self._problem = _HEADERS_TOO_LARGE
            raise _HEADERS_TOO_LARGE  # the parser stops, and asks for `send_400_response`
        self._start_clock(REQUEST_SECONDS)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The whole request is here."""
        self._stop_clock()
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  uvicorn's words are for its log
        """Answer what the parser stopped at."""
        self._refuse(self._problem)

    def _start_clock(self, seconds: float) -> None:
        self._stop_clock()
        self._clock = self.loop.call_later(seconds, self._on_time_up, seconds)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _on_time_up(self, seconds: float) -> None:
        if self.flow.read_paused:  # it is us who do not read: a request before it is being served
            self._start_clock(seconds)
        elif self._has_begun:
            self._refuse(_TOO_SLOW)
        else:
            self.transport.close()  # connected and never said a word

    def _refuse(self, problem: Problem) -> None:
        """Answer *problem*, unless an answer is under way, and end the connection."""
        self._stop_clock()
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle  # declared as if there always were one
        if cycle is None or cycle.response_complete or not cycle.response_started:
            body = problem.content
            self.transport.write(
                STATUS_LINE[problem.status]
                + b"content-type: application/json\r\n"
                + b"content-length: %d\r\n" % len(body)
                + b"connection: close\r\n\r\n"
                + body
            )
        self.transport.close()
