"""A plain message to vary, and what independent readers make of composed bytes."""

import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.utils import getaddresses

import msgspec

from mailworkers.core.addresses import Mailbox
from mailworkers.core.mime import Attachment, Message, compose

MESSAGE_ID = "<0190f6a2-5c3e-7000-8000-0123456789ab@example.com>"
DATE = datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)
PLAIN = Message(
    sender=Mailbox("Example Shop", "shop@example.com"),
    to=(Mailbox("", "jane@example.org"),),
    cc=(),
    reply_to=(),
    subject="Your order",
    text="Hello Jane\n",
    html=None,
)
FILE = Attachment("invoice.pdf", "application/pdf", b"%PDF-1.7\x00\xff")


def message(**changes: object) -> Message:
    """Return the plain message with *changes*."""
    return msgspec.structs.replace(PLAIN, **changes)


def raw(**changes: object) -> bytes:
    """Return the bytes of the plain message with *changes*."""
    return compose(message(**changes), message_id=MESSAGE_ID, date=DATE)


def parsed(mime: bytes) -> EmailMessage:
    """Return what the standard library reads in *mime*."""
    read = message_from_bytes(mime, policy=policy.default)
    assert isinstance(read, EmailMessage)
    assert not read.defects
    return read


def names_read(mime: bytes, field: str) -> list[tuple[str, str]]:
    """Return the display names and addresses in *field*.

    By the library's older reader: the newer one, before 3.13, keeps the space between two encoded
    words of a name, which RFC 2047 section 6.2 says to drop.
    """
    values = message_from_bytes(mime, policy=policy.compat32).get_all(field) or []
    unfolded = re.sub(r"\r\n(?=[ \t])", "", str(values[0]))
    return [
        (str(make_header(decode_header(name))) if "=?" in name else name, address)
        for name, address in getaddresses([unfolded])
    ]


def field_names(mime: bytes) -> list[str]:
    """Return the names in the header block of *mime*, as a reader that knows only lines sees them.

    Any of CRLF, CR, LF ends a line here: what only some parsers take for a line end counts too.
    """
    block = re.split(rb"\r\n\r\n|\n\n|\r\r", mime)[0]
    lines = re.split(rb"\r\n|\r|\n", block)
    return [line.split(b":")[0].decode() for line in lines if not line.startswith((b" ", b"\t"))]


def file_read(mime: bytes) -> EmailMessage:
    """Return the one attachment of *mime*."""
    (attached,) = parsed(mime).iter_attachments()
    assert isinstance(attached, EmailMessage)
    return attached


def shape(mime: bytes) -> list[tuple[str, list[str]]]:
    """Return the type and the field names of every part: what no caller's value may change."""
    top = [("message", field_names(mime))]
    return top + [(part.get_content_type(), list(part.keys())) for part in parsed(mime).walk()]


def assert_fit_for_the_wire(mime: bytes) -> None:
    """CRLF only, lines within 998, 7-bit, and no line that SMTP or mbox would touch."""
    lines = mime.split(b"\r\n")
    assert lines.pop() == b""
    assert mime.count(b"\r") == mime.count(b"\n") == len(lines)
    assert max(map(len, lines)) <= 998
    assert mime.isascii()
    assert b"\x00" not in mime
    block = mime.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert all(line.strip() for line in block)
    body = mime.partition(b"\r\n\r\n")[2].split(b"\r\n")
    assert not [line for line in body if line.startswith((b".", b"From ")) or line.endswith(b" ")]
