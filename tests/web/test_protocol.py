"""HTTP at the level of bytes: what is malformed, too large or too slow (X-36)."""

import socket
import time

import pytest

from mailworkers.web.protocol import HEADER_SECONDS, LARGEST_HEADERS, REQUEST_SECONDS
from tests.web.conftest import RunningApi, encoded, exchange, receive_answer
from tests.web.conftest import command as delivery

GET = b"GET /api/v1/internal/deliveries HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = (
    b"POST /api/v1/internal/deliveries HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    b"Content-Type: application/json\r\n"
)


def connect(running: RunningApi) -> socket.socket:
    """Return a connection to the API whose reads end after 15 s."""
    return socket.create_connection(("127.0.0.1", running.listener.port), timeout=15)


def is_error(answer: bytes, status: int, code: str) -> bool:
    """Whether *answer* is the one with *status* and *code*, and ends the connection."""
    return (
        answer.startswith(b"HTTP/1.1 %d " % status)
        and b"content-type: application/json\r\n" in answer
        and b"connection: close\r\n" in answer
        and b'"code":"%b"' % code.encode() in answer
    )


@pytest.mark.parametrize(
    "sent",
    [
        b"hello\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"BREW /pot HTTP/1.1\r\nHost: x\r\n\r\n",
        GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: -1\r\n\r\n",
        POST + b"Content-Length: 2x\r\n\r\n{}",
        POST + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        GET + b"No Colon\r\n\r\n",
        GET + b"Sp ace: x\r\n\r\n",
        GET + b"X: a\x00b\r\n\r\n",
        GET + b": empty\r\n\r\n",
    ],
)
def test_what_is_not_http_is_400_in_the_shape_of_every_error(
    running: RunningApi, sent: bytes
) -> None:
    """Two lengths, length and chunks, NUL in a header: nobody is to guess where a request ends."""
    answer = exchange(running, sent)

    assert is_error(answer, 400, "bad_request"), answer


def test_a_bad_chunk_ends_the_connection(running: RunningApi) -> None:
    """The headers were good, the body is not."""
    answer = exchange(running, POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n")

    assert is_error(answer, 400, "bad_request"), answer


@pytest.mark.parametrize("name", [b"X-Long", b"Cookie", b"Authorization"])
def test_a_header_of_a_megabyte_is_431(running: RunningApi, name: bytes) -> None:
    """It is not kept in memory until its end comes."""
    with connect(running) as sock:
        answer = b""
        try:
            sock.sendall(GET + name + b": ")
            for _ in range(64):
                sock.sendall(b"a" * 16 * 1024)
        except OSError:
            pass  # cut off in the middle, as it should be; the answer may be lost with it
        try:
            answer = receive_answer(sock)
        except ConnectionError:
            return

    assert is_error(answer, 431, "headers_too_large"), answer


@pytest.mark.parametrize(
    "headers",
    [
        b"X: " + b"a" * LARGEST_HEADERS + b"\r\n",
        b"".join(b"X-%d: aaaaaaaaaa\r\n" % n for n in range(4000)),
    ],
)
def test_headers_that_come_whole_are_bounded_too(running: RunningApi, headers: bytes) -> None:
    """One large or many small ones."""
    answer = exchange(running, GET + headers + b"\r\n")

    assert is_error(answer, 431, "headers_too_large"), answer[:300]


def test_a_path_of_a_megabyte_is_431(running: RunningApi) -> None:
    """The request line counts, too."""
    answer = exchange(running, b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")

    assert is_error(answer, 431, "headers_too_large"), answer[:300]


def test_ordinary_headers_pass(running: RunningApi) -> None:
    """Half of what is allowed."""
    answer = exchange(running, GET + b"X: " + b"a" * (LARGEST_HEADERS // 2) + b"\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 200 ")


def test_a_client_that_drips_its_headers_is_cut_after_two_seconds(running: RunningApi) -> None:
    """Slowloris (MS-59): each byte comes in time, the whole does not."""
    began = time.monotonic()
    with connect(running) as sock:
        sock.settimeout(0.1)
        answer = b""
        for byte in GET + b"X: " + b"a" * 1000:
            try:
                sock.sendall(bytes([byte]))
                answer = sock.recv(1000)
            except TimeoutError:
                continue
            except OSError:
                break
            if answer:
                break

    assert HEADER_SECONDS - 0.1 < time.monotonic() - began < HEADER_SECONDS + 2
    assert answer == b"" or is_error(answer, 408, "request_timeout"), answer


def test_a_client_that_says_nothing_is_cut_without_a_word(running: RunningApi) -> None:
    """It asked for nothing."""
    with connect(running) as sock:
        assert sock.recv(1000) == b""


@pytest.mark.slow
def test_a_client_that_drips_its_body_is_cut_after_ten_seconds(running: RunningApi) -> None:
    """The bound is on the whole request, not on each read."""
    began = time.monotonic()
    with connect(running) as sock:
        sock.sendall(POST + b"Content-Length: 1000\r\n\r\n")
        sock.settimeout(0.5)
        answer = b""
        while not answer:
            try:
                sock.sendall(b" ")
                answer = sock.recv(1000)
            except TimeoutError:
                continue

    assert REQUEST_SECONDS - 0.5 < time.monotonic() - began < REQUEST_SECONDS + 2
    assert is_error(answer, 408, "request_timeout"), answer


def test_a_body_that_breaks_off_harms_nothing(running: RunningApi) -> None:
    """Half a body, then the end: no delivery, no surprise, the next request is served."""
    with connect(running) as sock:
        sock.sendall(POST + b'Content-Length: 100\r\n\r\n{"half":')
        sock.shutdown(socket.SHUT_WR)
    with connect(running) as sock:
        sock.sendall(POST + b'Content-Length: 100\r\n\r\n{"half":')

    assert exchange(running, GET + b"\r\n").startswith(b"HTTP/1.1 200 ")


def test_requests_one_behind_the_other_are_answered_in_order(running: RunningApi) -> None:
    """Pipelining is rare and allowed (RFC 9112 section 9.3.2)."""
    body = encoded(delivery())
    post = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with connect(running) as sock:
        sock.sendall(post + GET + b"\r\n" + post)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 3 or not answers.endswith(b"}"):
            answers += sock.recv(65536)

    statuses = [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [b"202", b"200", b"202"]


def test_the_connection_is_kept_and_its_clock_starts_anew(running: RunningApi) -> None:
    """A pause between two requests is not a slow request."""
    with connect(running) as sock:
        sock.sendall(GET + b"\r\n")
        assert receive_answer(sock).startswith(b"HTTP/1.1 200 ")
        sock.settimeout(HEADER_SECONDS + 0.3)
        with pytest.raises(TimeoutError):  # neither closed nor told anything
            sock.recv(1)
        sock.settimeout(5)
        sock.sendall(GET + b"\r\n")

        assert receive_answer(sock).startswith(b"HTTP/1.1 200 ")


def test_what_expects_a_continue_is_told_only_when_it_is_wanted(running: RunningApi) -> None:
    """RFC 9110 section 10.1.1: a body that will be refused is not asked for."""
    large = exchange(running, POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
    with connect(running) as sock:
        sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        told = sock.recv(1000)
        sock.sendall(b"{}")
        small = receive_answer(sock)

    assert large.startswith(b"HTTP/1.1 413 ")
    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert small.startswith(b"HTTP/1.1 400 ")
