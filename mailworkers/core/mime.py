"""Messages as final bytes (RFC 5322, RFC 2045 to 2047, RFC 2231, RFC 2387).

`compose` is a function of its arguments: the same message, Message-ID and Date give the same bytes,
so every retry sends the same. Bodies are 7-bit on the wire, so any relay carries them and
signatures survive; a byte above 127 appears only where an address has a local part that is not
ASCII, so `not mime.isascii()` says that the relay must offer SMTPUTF8. Bcc does not exist here.

The tree, each level only where there is something for it:

    multipart/mixed
        multipart/alternative
            text/plain
            multipart/related
                text/html
                inline images, by content_id
        attachments
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from math import floor
from typing import NamedTuple

import msgspec

from mailworkers.core.addresses import Mailbox, envelope_address
from mailworkers.core.attachments import Attachment, attachment_fields, clean_filename
from mailworkers.core.bodies import base64_lines, encode_text
from mailworkers.core.extra_headers import ALLOWED_HEADERS, extra_fields, is_allowed_header
from mailworkers.core.headers import (
    Field,
    HeaderInjection,
    MessageError,
    fold,
    phrase,
    seal,
    unstructured,
)

__all__ = [
    "ALLOWED_HEADERS",
    "Attachment",
    "HeaderInjection",
    "Message",
    "MessageError",
    "clean_filename",
    "compose",
    "is_allowed_header",
]

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9._%+-]{1,100}@[A-Za-z0-9.-]{1,253}>")


class Message(msgspec.Struct, frozen=True):
    """What a message says; *text* or *html* or both."""

    sender: Mailbox
    to: tuple[Mailbox, ...]
    cc: tuple[Mailbox, ...]
    reply_to: tuple[Mailbox, ...]
    subject: str
    text: str | None
    html: str | None
    attachments: tuple[Attachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()


class _Entity(NamedTuple):
    """A MIME entity (RFC 2045 section 2.4): its own fields, and its body in pieces."""

    fields: list[Field]
    body: list[bytes]


def compose(message: Message, *, message_id: str, date: datetime) -> bytes:
    """Return *message* as the bytes to send: CRLF only, no line over 998, ending in CRLF.

    Args:
        message_id: with its angle brackets; boundaries are made of it.
        date: aware; written in UTC.

    Raises:
        HeaderInjection: a value holds a control character, or a name a bidi control.
        MessageError: a value cannot be written where it stands.
        AddressError: an address is not valid.
    """
    if not _MESSAGE_ID.fullmatch(message_id):
        raise MessageError("Message-ID", "write it as <left@right>")
    entity = _content(message, message_id)
    fields = _address_fields(message)
    fields += (
        ("Subject", unstructured("Subject", message.subject)),
        ("Date", date_text(date)),
        ("Message-ID", message_id),
        *_extra_fields(message.headers),
        ("MIME-Version", "1.0"),
        *entity.fields,
    )
    end = b"" if entity.body[-1].endswith(b"\r\n") else b"\r\n"
    return b"".join([seal(fields), b"\r\n", *entity.body, end])


def _address_fields(message: Message) -> list[Field]:
    fields = [("From", _author(message.sender))]
    if message.to:
        fields.append(("To", _mailboxes("To", message.to)))
    elif not message.cc:
        fields.append(("To", "undisclosed-recipients:;"))
    if message.cc:
        fields.append(("Cc", _mailboxes("Cc", message.cc)))
    if message.reply_to:
        fields.append(("Reply-To", _mailboxes("Reply-To", message.reply_to)))
    return fields


@lru_cache(maxsize=64)  # an installation has few
def _author(mailbox: Mailbox) -> str:
    return _mailboxes("From", (mailbox,))


def _mailboxes(name: str, mailboxes: Sequence[Mailbox]) -> str:
    """Return *mailboxes* as the folded value of *name* (RFC 5322 section 3.4)."""
    tokens: list[str] = []
    for mailbox in mailboxes:
        address = envelope_address(mailbox.address)
        if display_name := mailbox.name.strip(" "):
            tokens += (*phrase(name, display_name), f"<{address}>,")
        else:
            tokens.append(f"{address},")
    tokens[-1] = tokens[-1][:-1]
    return fold(name, tokens)


def _extra_fields(headers: tuple[tuple[str, str], ...]) -> list[Field]:
    """Return the caller's *headers*, with Auto-Submitted (RFC 3834 section 5) if it is missing."""
    fields = extra_fields(headers) if headers else []
    if any(name == "Auto-Submitted" for name, _ in fields):
        return fields
    return [("Auto-Submitted", "auto-generated"), *fields]


def date_text(date: datetime) -> str:
    """Return *date* in UTC as RFC 5322 section 3.3 writes it."""
    if date.tzinfo is None:
        raise MessageError("Date", "needs a time zone")
    return _second_text(floor(date.timestamp()))


@lru_cache(maxsize=4)  # thousands of messages are written in a second
def _second_text(seconds: int) -> str:
    utc = datetime.fromtimestamp(seconds, UTC)
    day = f"{_DAYS[utc.weekday()]}, {utc.day:02} {_MONTHS[utc.month - 1]} {utc.year:04}"
    return f"{day} {utc.hour:02}:{utc.minute:02}:{utc.second:02} +0000"


def _content(message: Message, message_id: str) -> _Entity:
    """Return the tree of the module's docstring for *message*."""
    inline: list[_Entity] = []
    attached: list[_Entity] = []
    for attachment in message.attachments:
        if attachment.content_id and message.html is not None:
            inline.append(_file(attachment, "inline"))
        else:
            attached.append(_file(attachment, "attachment"))
    _refuse_shared_content_ids(message.attachments)
    bodies = []
    if message.text is not None:
        bodies.append(_text("plain", message.text))
    if message.html is not None:
        html = _text("html", message.html)
        bodies.append(_multipart("related", message_id, [html, *inline]) if inline else html)
    if not bodies:
        raise MessageError("body", "neither text nor html")
    body = _multipart("alternative", message_id, bodies) if len(bodies) > 1 else bodies[0]
    return _multipart("mixed", message_id, [body, *attached]) if attached else body


def _refuse_shared_content_ids(attachments: Sequence[Attachment]) -> None:
    content_ids = [a.content_id for a in attachments if a.content_id]
    if len(set(content_ids)) < len(content_ids):
        raise MessageError("Content-ID", "two attachments share one")


def _text(subtype: str, text: str) -> _Entity:
    encoding, body = encode_text(text)
    fields = [
        ("Content-Type", f"text/{subtype}; charset=utf-8"),
        ("Content-Transfer-Encoding", encoding),
    ]
    return _Entity(fields, [body])


def _file(attachment: Attachment, disposition: str) -> _Entity:
    fields = attachment_fields(attachment, disposition)
    return _Entity(fields, [base64_lines(attachment.content)])


def _multipart(kind: str, message_id: str, parts: Sequence[_Entity]) -> _Entity:
    """Return *parts* under one boundary.

    `=_` makes it a string that no encoded body holds (RFC 2045 section 6.7) and no 7bit one either,
    since `encode_text` sees to that; the kind's letter keeps boundaries of one message apart.
    """
    boundary = f"=_{kind[0]}_{hashlib.sha256(message_id.encode()).hexdigest()[:24]}"
    content_type = [f"multipart/{kind};", f'boundary="{boundary}"']
    if kind == "related":
        content_type[0] += ' type="text/html";'
    delimiter = f"\r\n--{boundary}\r\n".encode()
    body: list[bytes] = []
    for part in parts:
        body += (delimiter, seal(part.fields), b"\r\n", *part.body)
    body[0] = delimiter[2:]
    body.append(f"\r\n--{boundary}--\r\n".encode())
    return _Entity([("Content-Type", fold("Content-Type", content_type))], body)
