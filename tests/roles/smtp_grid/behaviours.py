"""The columns b1..b16: what a relay does instead of saying what it should, in one or more forms."""

from collections.abc import Callable
from typing import NamedTuple

from tests.conversation import formatted
from tests.relay import Step, close, drip, endless, hang, raw, reset

TITLES = {
    "b1": "says nothing",
    "b2": "cuts the connection with a reset",
    "b3": "closes the connection in order",
    "b4": "421 and closes",
    "b5": "4yz",
    "b6": "5yz",
    "b7": "another 2yz",
    "b8": "1yz or 3yz out of place",
    "b9": "bytes that are no reply",
    "b10": "a line longer than 2,048 bytes",
    "b11": "continuation lines without end",
    "b12": "a byte now and then, never done in time",
    "b13": "the reply split at every byte",
    "b14": "two replies at once",
    "b15": "bare LF, bare CR, or several codes in one reply",
    "b16": "control characters and bytes that are no UTF-8 in the text",
}


class Replies(NamedTuple):
    """What a relay may say at one place: properly (`good`), and as a refusal."""

    good: str
    later: str = "451 4.3.0 later"
    no: str = "554 5.3.0 no"


class Behaviour(NamedTuple):
    """One form of a column; `waits`: it lasts until a deadline ends it."""

    number: str
    form: str
    act: Callable[[Replies], Step]
    waits: bool = False

    @property
    def name(self) -> str:
        """Return the column and, where there are several, the form."""
        return f"{self.number} {self.form}".strip()


def _with_code(reply: str, code: str) -> str:
    return code + reply[3:]


def _never_in_time(reply: str) -> Step:
    return drip(reply + " and so on" * 20, every=0.05)


def _bare_cr(reply: str) -> Step:
    return raw(formatted(reply).replace(b"\r\n", b" a\rb\r\n"))


def _mixed_codes(reply: str) -> Step:
    other = b"250" if reply.startswith("5") else b"550"
    return raw(b"%s-one\r\n%s two\r\n" % (reply[:3].encode(), other))


def _odd_text(reply: str) -> Step:
    return raw(formatted(reply).replace(b"\r\n", b" \x00\x1b[2J\x85\xc3\xbc\r\n"))


BEHAVIOURS = (
    Behaviour("b1", "", lambda _: hang, waits=True),
    Behaviour("b2", "", lambda _: reset),
    Behaviour("b3", "", lambda _: close),
    Behaviour("b4", "", lambda _: "421 4.3.2 bye"),
    Behaviour("b5", "", lambda replies: replies.later),
    Behaviour("b6", "", lambda replies: replies.no),
    Behaviour("b7", "", lambda replies: _with_code(replies.good, "299")),
    Behaviour("b8", "1yz", lambda replies: _with_code(replies.good, "150")),
    Behaviour("b8", "3yz", lambda replies: _with_code(replies.good, "399")),
    Behaviour("b9", "", lambda _: raw(b"\x80\xff\x00!\r\n")),
    Behaviour("b10", "", lambda replies: raw(replies.good[:3].encode() + b" " * 3000 + b"\r\n")),
    Behaviour("b11", "", lambda replies: endless(replies.good[:3].encode() + b"-more\r\n")),
    Behaviour("b12", "", lambda replies: _never_in_time(replies.good), waits=True),
    Behaviour("b13", "", lambda replies: drip(replies.good, every=0.0002)),
    Behaviour("b14", "", lambda replies: raw(formatted(replies.good) + b"250 2.0.0 two\r\n")),
    Behaviour(
        "b15", "bare LF", lambda replies: raw(formatted(replies.good).replace(b"\r\n", b"\n"))
    ),
    Behaviour("b15", "bare CR", lambda replies: _bare_cr(replies.good)),
    Behaviour("b15", "mixed codes", lambda replies: _mixed_codes(replies.good)),
    Behaviour("b16", "", lambda replies: _odd_text(replies.good)),
)
