"""What SMTP says on the wire (RFC 5321): the words of it, and commands and bodies as bytes. No I/O.

Replies are read in `reply_reader.py`; what they mean is judged in `replies.py`.
"""

import enum
import re
from collections.abc import Sequence
from typing import Self

import msgspec

from mailworkers.core.states import Stage

MAX_TEXT = 512

FINAL_DOT = b".\r\n"


class Broken(enum.StrEnum):
    """Why a transaction ended without the reply it waited for."""

    TIMEOUT = "timeout"
    CLOSED = "closed"  # reset or end of stream
    PROTOCOL = "protocol"  # not SMTP, out of place, or past a cap
    ABORTED = "aborted"  # our own decision just before the final dot


class BadReply(ValueError):  # noqa: N818  it names the condition
    """What the relay sent is no reply, or none that belongs here; the connection is useless now."""


class UnsafeOnWire(ValueError):  # noqa: N818
    """What we were about to send could be read as something else (X-02, X-03); nothing was sent."""


class Reply(msgspec.Struct, frozen=True):
    """A relay's answer: code 100..599, enhanced status code (RFC 3463) or "", printable text.

    `text` is one line of at most 512 characters without the enhanced code; control characters,
    bidirectional marks and undecodable bytes are escaped.
    """

    code: int
    enhanced: str = ""
    text: str = ""

    def __str__(self) -> str:
        return " ".join(part for part in (str(self.code), self.enhanced, self.text) if part)


class Envelope(msgspec.Struct, frozen=True):
    """What MAIL and RCPT carry; `size` is the message's in bytes (RFC 1870), "" stands for `<>`."""

    mail_from: str
    rcpt_to: tuple[str, ...]
    size: int
    smtputf8: bool = False


class Transaction(msgspec.Struct, frozen=True):
    """How far one SMTP transaction came; `replies.judge` says what it means.

    `stage`: where it ended. `mail_reply` and `rcpt_replies` (one per recipient, in order): what was
    answered, None where nothing was. `reply`: the reply that ended it. `broken`: why no such reply
    came (`reply` may still hold one that was out of place), and `trouble` says it in words.
    `dot_sent`: the final dot, or part of it, was handed to the network; without a reply nobody
    knows then whether the message was accepted (RFC 1047). Neither `reply` nor `broken`: the
    envelope needs SMTPUTF8, which the relay does not offer; nothing was sent.
    """

    stage: Stage
    mail_reply: Reply | None
    rcpt_replies: tuple[Reply | None, ...]
    reply: Reply | None
    broken: Broken | None
    dot_sent: bool
    trouble: str = ""


class Capabilities(msgspec.Struct, frozen=True):
    """What the relay offered in its last reply to EHLO (RFC 5321 section 4.1.1.1).

    `size` is the largest message in bytes (RFC 1870): 0 means no stated limit, None not offered.
    `mail_max` is the most messages a session may carry (RFC 9422).
    """

    keywords: tuple[str, ...] = ()
    pipelining: bool = False
    size: int | None = None
    smtputf8: bool = False
    eightbitmime: bool = False
    enhanced: bool = False
    starttls: bool = False
    auth: tuple[str, ...] = ()
    mail_max: int | None = None

    @classmethod
    def parse(cls, lines: Sequence[bytes]) -> Self:
        """Read the lines of an EHLO reply; the first is the greeting. Nonsense is passed over."""
        offered: dict[str, list[str]] = {}
        for line in lines[1:]:
            # Some servers still write the draft's "AUTH=PLAIN LOGIN" beside the standard's form.
            words = printable(line).upper().replace("AUTH=", "AUTH ", 1).split()
            if words:
                offered.setdefault(words[0], []).extend(words[1:])
        return cls(
            keywords=tuple(offered),
            pipelining="PIPELINING" in offered,
            size=(_number(offered["SIZE"]) or 0) if "SIZE" in offered else None,
            smtputf8="SMTPUTF8" in offered,
            eightbitmime="8BITMIME" in offered,
            enhanced="ENHANCEDSTATUSCODES" in offered,
            starttls="STARTTLS" in offered,
            auth=tuple(dict.fromkeys(offered.get("AUTH", []))),
            mail_max=_number(
                [word[8:] for word in offered.get("LIMITS", []) if word.startswith("MAILMAX=")]
            ),
        )

    def refuses_size(self, size: int) -> bool:
        """Whether a message of *size* bytes is past the limit the relay stated."""
        return bool(self.size) and size > (self.size or 0)


def _number(words: Sequence[str]) -> int | None:
    """Return the first of *words* when it is a decimal number of at most 18 digits."""
    return int(words[0]) if words and re.fullmatch(r"[0-9]{1,18}", words[0]) else None


def printable(data: bytes, limit: int = MAX_TEXT) -> str:
    """Return *data* as one line of text that is safe to store, log and show (X-30)."""
    text = data[: limit * 4].decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


_ADDRESS = re.compile(r"[^\x00-\x20\x7f<>@]+@[^\x00-\x20\x7f<>@]+")


def mail_command(envelope: Envelope, offered: Capabilities) -> bytes:
    """Return the MAIL command with the parameters the relay understands. Raises UnsafeOnWire."""
    path = _path(envelope.mail_from, envelope) if envelope.mail_from else b"<>"
    size = b" SIZE=%d" % envelope.size if offered.size is not None else b""
    utf8 = b""
    if envelope.smtputf8:  # RFC 6531 section 3.6: the headers are 8-bit, so say both
        utf8 = b" BODY=8BITMIME SMTPUTF8" if offered.eightbitmime else b" SMTPUTF8"
    return b"MAIL FROM:" + path + size + utf8 + b"\r\n"


def rcpt_commands(envelope: Envelope) -> list[bytes]:
    """Return one RCPT command per recipient. Raises UnsafeOnWire."""
    if not envelope.rcpt_to:
        raise UnsafeOnWire("the envelope has no recipient")
    return [b"RCPT TO:" + _path(address, envelope) + b"\r\n" for address in envelope.rcpt_to]


def _path(address: str, envelope: Envelope) -> bytes:
    """Return `<address>`; what could end the command or the path early is refused (X-02)."""
    if not _ADDRESS.fullmatch(address) or not address.isprintable():
        raise UnsafeOnWire("an envelope address has a character that cannot go on the wire")
    if not address.isascii() and not envelope.smtputf8:
        raise UnsafeOnWire("an envelope address needs SMTPUTF8 and the envelope does not say so")
    path = address.encode()
    if len(path) > 254 or path.index(b"@") > 64:  # RFC 5321 section 4.5.3.1
        raise UnsafeOnWire("an envelope address is too long")
    return b"<" + path + b">"


def command(verb: str, argument: str = "") -> bytes:
    """Return a command line of the set-up, such as EHLO. Raises UnsafeOnWire."""
    line = f"{verb} {argument}" if argument else verb
    if not (line.isascii() and line.isprintable()):
        raise UnsafeOnWire(f"the argument of {verb} is not printable ASCII")
    return line.encode("ascii") + b"\r\n"


def dot_stuff(mime: bytes, *, smtputf8: bool = False) -> bytes:
    """Return the body as it goes out before the final dot (RFC 5321 section 4.5.2).

    Raises UnsafeOnWire when a CR or LF stands alone, since another server may see the end of the
    message there (CVE-2023-51764), or when an 8-bit byte is there without SMTPUTF8.
    """
    ends = mime.count(b"\r\n")
    if mime.count(b"\n") != ends or mime.count(b"\r") != ends:
        raise UnsafeOnWire("the message has a CR or LF that is not part of CRLF")
    if not smtputf8 and not mime.isascii():
        raise UnsafeOnWire("the message has 8-bit bytes")
    if not mime.endswith(b"\r\n"):
        mime += b"\r\n"
    stuffed = mime.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed
