"""What a hostile relay says in one connection, drawn from a seed: mostly good, here and there not.

A script is a list of moves for each point of a session (BANNER, EHLO, STARTTLS, TLS, AUTH, MAIL,
RCPT, DATA, BODY, DOT, RSET, QUIT), taken one by one; where it has none the relay is good.
"""

import enum
import itertools
from collections.abc import Callable
from random import Random
from typing import NamedTuple

PASSWORD = "hunter2-geheim"
POINTS = (
    "BANNER",
    "EHLO",
    "STARTTLS",
    "TLS",
    "AUTH",
    "MAIL",
    "RCPT",
    "DATA",
    "BODY",
    "DOT",
    "RSET",
)
_WEIGHTS = (3, 4, 2, 2, 2, 4, 4, 4, 3, 8, 2)


class End(enum.Enum):
    """What follows what was said."""

    GO_ON = enum.auto()
    CLOSE = enum.auto()
    RESET = enum.auto()
    HANG = enum.auto()
    HALF_CLOSE = enum.auto()
    REPEAT = enum.auto()  # the last chunk for ever


class Move(NamedTuple):
    """Chunks to send, each after a pause of so many seconds, and how it ends."""

    chunks: tuple[bytes, ...]
    pause: float = 0.0
    end: End = End.GO_ON


Script = dict[str, list[Move]]
_SLOW = (End.HANG, End.HALF_CLOSE)


def script(rng: Random, good: Callable[[str], bytes]) -> Script:
    """Draw a script; *good* returns the proper reply at a point."""
    made: Script = {}
    for point in rng.choices(POINTS, _WEIGHTS, k=rng.choice((0, 1, 1, 1, 2, 3))):
        moves = made.setdefault(point, [])
        while rng.random() < 0.2:  # let one or two pass in good order first
            moves.append(Move((good(point),)))
        moves.append(_move(rng, good(point) or b"250 ok\r\n"))
    return made


def _move(rng: Random, reply: bytes) -> Move:
    kinds, weights = zip(*_KINDS, strict=True)
    (kind,) = rng.choices(kinds, weights)
    made: Move = kind(rng, reply)
    if made.end is End.GO_ON and rng.random() < 0.1:
        return made._replace(end=rng.choice((End.CLOSE, End.RESET)))
    return made


def _whole(*chunks: bytes) -> Move:
    return Move(chunks)


def _code(rng: Random, reply: bytes) -> Move:
    """Another code, any of them or a likely one."""
    likely = (421, 450, 451, 452, 454, 500, 502, 503, 530, 535, 550, 552, 554, 555, 220, 250, 354)
    code = rng.choice(likely) if rng.random() < 0.8 else rng.randrange(1000)
    text = rng.choice((reply[3:], b" 5.7.1 spam\r\n", b" 4.5.3 too many recipients\r\n", b"\r\n"))
    return _whole(b"%03d" % code + text)


def _no_code(rng: Random, _: bytes) -> Move:
    return _whole(
        rng.choice(
            (b"\r\n", b"25\r\n", b"2500 x\r\n", b"abc\r\n", b" 250\r\n", b"250x\r\n", b"-\r\n")
        )
    )


def _junk(rng: Random, reply: bytes) -> Move:
    junk = rng.randbytes(rng.randrange(1, 600))
    return _whole(rng.choice((junk, reply[:4] + junk + b"\r\n", junk + b"\r\n")))


def _long(rng: Random, reply: bytes) -> Move:
    return _whole(reply[:4] + b"x" * rng.choice((500, 2040, 2044, 2048, 5000, 70_000)) + b"\r\n")


def _lines(rng: Random, reply: bytes) -> Move:
    """Several lines, perhaps too many, perhaps of several codes, perhaps without an end."""
    count = rng.choice((1, 2, 5, 99, 100, 101, 300))
    more = reply[:3] + b"-" + rng.randbytes(rng.choice((0, 3, 30, 700))).hex().encode() + b"\r\n"
    last = rng.choice((reply, reply, b"550 no\r\n", b"250 yes\r\n", b""))
    return _whole(more * count + last)


def _endless(rng: Random, reply: bytes) -> Move:
    return Move(
        (rng.choice((reply[:3] + b"-more\r\n", b"x", reply, b"\r\n")) * 50,), end=End.REPEAT
    )


def _line_ends(rng: Random, reply: bytes) -> Move:
    return _whole(reply.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\0\r\n"))))


def _too_much(rng: Random, reply: bytes) -> Move:
    """Said twice, or something behind it, at once or a little later."""
    second = rng.choice((reply, b"250 ok\r\n", b"421 bye\r\n", b"354 go\r\n", b"550 no\r\n", b"2"))
    return Move((reply, second), pause=rng.choice((0.0, 0.002)))


def _cut(rng: Random, reply: bytes) -> Move:
    """A part of it, or nothing, and then the end in some way."""
    end = rng.choice((End.CLOSE, End.RESET, End.CLOSE, End.RESET, *_SLOW))
    return Move((reply[: rng.randrange(len(reply) + 1)],), end=end)


def _split(rng: Random, reply: bytes) -> Move:
    """In pieces, in time."""
    places = sorted(rng.randrange(len(reply)) for _ in range(rng.randrange(1, 6)))
    cuts = [0, *places, len(reply)]
    pieces = tuple(reply[a:b] for a, b in itertools.pairwise(cuts))
    return Move(pieces, pause=rng.choice((0.0, 0.001)))


def _drip(_: Random, reply: bytes) -> Move:
    """A byte at a time, never done in time."""
    drops = (reply + b"and so on " * 30)[:200]
    return Move(tuple(bytes([byte]) for byte in drops), pause=0.02)


def _echo(_: Random, reply: bytes) -> Move:
    return _whole(reply[:4] + PASSWORD.encode() + b" is what you said\r\n")


def _offers(rng: Random, _: bytes) -> Move:
    """A reply to EHLO with odd keywords; elsewhere just a long one."""
    words = (
        b"PIPELINING", b"SIZE", b"SIZE 0", b"SIZE 10", b"SIZE -1", b"SIZE " + b"9" * 40,
        b"STARTTLS",
        b"AUTH PLAIN LOGIN CRAM-MD5", b"AUTH=LOGIN", b"AUTH", b"AUTH CRAM-MD5", b"AUTH XOAUTH2",
        b"LIMITS MAILMAX=1", b"LIMITS MAILMAX=x RCPTMAX=1", b"8BITMIME", b"SMTPUTF8", b"\xff\xfe",
        b"", b" ", b"STARTTLS starttls", b"pipelining",
    )  # fmt: skip
    chosen = [b"relay.test", *rng.sample(words, rng.randrange(1, 8))]
    lines = [b"250-" + word for word in chosen[:-1]] + [b"250 " + chosen[-1]]
    return _whole(b"\r\n".join(lines) + b"\r\n")


_KINDS = (
    (_code, 16), (_no_code, 5), (_junk, 6), (_long, 4), (_lines, 6), (_endless, 3), (_line_ends, 4),
    (_too_much, 8), (_cut, 10), (_split, 6), (_drip, 1), (_echo, 4), (_offers, 6),
)  # fmt: skip
