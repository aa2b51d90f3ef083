"""What a message says, in one shape, whoever read it: the standard library, mailparse, or nobody.

`intended` is what was asked for; `by_stdlib` and `by_mailparse` (Rust, the crate `mailparse`) are
what parsers that share no code with ours or with each other make of the bytes. A third one, in
Perl, is in `tests/core/perl_reader.py`.
"""

from email.message import EmailMessage, MIMEPart

import fast_mail_parser
import msgspec
from fast_mail_parser import PyAddress, PyMimePart

from mailworkers.core.addresses import envelope_address
from mailworkers.core.attachments import Attachment
from mailworkers.core.headers import unquote
from mailworkers.core.mime import Message, clean_filename
from tests.core.messages import DATE, MESSAGE_ID, names_read, parsed

ADDRESS_FIELDS = ("From", "To", "Cc", "Reply-To")
# What the message is about; its structure is in the parts, where all three read it.
_STRUCTURE = ("MIME-Version", "Content-Type", "Content-Transfer-Encoding")


class Part(msgspec.Struct, frozen=True):
    """A leaf with its *content* decoded, or a multipart with its *parts*."""

    content_type: str
    content: bytes | None = None
    disposition: str | None = None
    filename: str | None = None
    content_id: str | None = None
    parts: tuple["Part", ...] = ()


class Reading(msgspec.Struct, frozen=True):
    """A message: the names of its fields in order, its mailboxes, its other values, its parts."""

    names: tuple[str, ...]
    mailboxes: dict[str, tuple[tuple[str, str], ...]]
    values: dict[str, str]
    root: Part


def intended(message: Message) -> Reading:
    """Return what every parser must read in the composed *message*.

    Its extra headers must be in the form in which they are written: one blank between words.
    """
    boxes = (message.sender,), message.to, message.cc, message.reply_to
    mailboxes = {
        field: tuple((box.name.strip(" "), envelope_address(box.address)) for box in group)
        for field, group in zip(ADDRESS_FIELDS, boxes, strict=True)
        if group
    }
    values = {"Subject": message.subject, "Date": f"{DATE:%a, %d %b %Y %H:%M:%S} +0000"}
    values |= {"Message-ID": MESSAGE_ID}
    if not any(name == "Auto-Submitted" for name, _ in message.headers):
        values |= {"Auto-Submitted": "auto-generated"}
    values |= dict(message.headers)
    names = list(mailboxes)
    if not message.to and not message.cc:
        names.insert(1, "To")
        mailboxes["To"] = ()
    root = _intended_root(message)
    structure = _STRUCTURE[:2] if root.parts else _STRUCTURE
    return Reading((*names, *values, *structure), mailboxes, values, root)


def _intended_root(message: Message) -> Part:
    files = [(_intended_file(file, message), file) for file in message.attachments]
    inline = [part for part, _ in files if part.disposition == "inline"]
    attached = [part for part, _ in files if part.disposition == "attachment"]
    bodies = []
    if message.text is not None:
        bodies.append(Part("text/plain", _lines(message.text)))
    if message.html is not None:
        html = Part("text/html", _lines(message.html))
        bodies.append(Part("multipart/related", parts=(html, *inline)) if inline else html)
    body = bodies[0] if len(bodies) == 1 else Part("multipart/alternative", parts=tuple(bodies))
    return Part("multipart/mixed", parts=(body, *attached)) if attached else body


def _intended_file(file: Attachment, message: Message) -> Part:
    is_inline = bool(file.content_id) and message.html is not None
    return Part(
        file.content_type.partition(";")[0].strip().lower(),
        file.content,
        "inline" if is_inline else "attachment",
        clean_filename(file.filename),
        file.content_id or None,
    )


def _lines(text: str) -> bytes:
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\n", "\r\n").encode()


def settled(reading: Reading) -> Reading:
    """Return *reading* without what is left to parsers, or open to writers.

    The CRLF that ends a message: a single body that has none gets one, since SMTP has only whole
    lines. The quotes around the name in List-Id, which no parser knows for a name. And white space
    of other kinds than the blank at the ends of names, which mailparse drops.
    """
    root, values = reading.root, dict(reading.values)
    if root.content is not None:
        root = msgspec.structs.replace(root, content=root.content.removesuffix(b"\r\n"))
    if "List-Id" in values:
        name, opened, identifier = values["List-Id"].strip(" ").rpartition("<")
        name = unquote(name.strip(" ")) or ""
        values["List-Id"] = f"{name.strip(' ')} {opened}{identifier}".strip(" ")
    mailboxes = {
        field: tuple((name.strip(), address) for name, address in boxes)
        for field, boxes in reading.mailboxes.items()
    }
    return msgspec.structs.replace(reading, root=root, values=values, mailboxes=mailboxes)


def by_stdlib(mime: bytes) -> Reading:
    """Return what the standard library reads; it finds no defect."""
    message = parsed(mime)
    values = {name: str(value) for name, value in message.items() if is_value(name)}
    mailboxes = {
        field: tuple(names_read(mime, field) if _has_mailbox(message, field) else ())
        for field in ADDRESS_FIELDS
        if field in message
    }
    return Reading(tuple(message.keys()), mailboxes, values, _stdlib_part(message))


def is_value(name: str) -> bool:
    """Return whether the field *name* is neither mailboxes nor structure."""
    return name not in ADDRESS_FIELDS and name not in _STRUCTURE


def _has_mailbox(message: EmailMessage, field: str) -> bool:
    return "undisclosed-recipients" not in str(message[field])


def _stdlib_part(part: MIMEPart) -> Part:
    content_type = part.get_content_type()
    if part.is_multipart():
        return Part(content_type, parts=tuple(map(_stdlib_part, part.iter_parts())))
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    content_id = part["Content-ID"]
    return Part(
        content_type,
        content,
        part.get_content_disposition(),
        part.get_filename(),
        str(content_id)[1:-1] if content_id else None,
    )


def by_mailparse(mime: bytes) -> Reading:
    """Return what the Rust crate reads; it repairs nothing."""
    mail = fast_mail_parser.parse_email(mime, strict=True)
    tree = fast_mail_parser.parse_email_tree(mime)
    groups = ([mail.from_] if mail.from_ else []), mail.to, mail.cc, mail.reply_to
    mailboxes = {
        field: tuple(map(_mailparse_mailbox, group))
        for field, group in zip(ADDRESS_FIELDS, groups, strict=True)
        if field in tree.headers
    }
    names = tuple(name for name, values in tree.headers.items() for _ in values)
    values = {name: values[0] for name, values in tree.headers.items() if is_value(name)}
    return Reading(names, mailboxes, values, _mailparse_part(tree))


def _mailparse_mailbox(address: PyAddress) -> tuple[str, str]:
    return address.display_name or "", address.address


def _mailparse_part(part: PyMimePart) -> Part:
    if part.content is None:
        return Part(part.content_type, parts=tuple(map(_mailparse_part, part.children)))
    return Part(
        part.content_type,
        part.content,
        part.disposition,
        part.filename or None,
        part.content_id,
    )
