"""What a message says, read back from its bytes for people to look at."""

import base64
import re
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import default
from uuid import UUID

from mailworkers.web.answers import AttachmentSummary, Content, Header

_CID = re.compile(r"""(?<=["'(])cid:([^"')\s>]+)""")


def read_content(delivery_id: UUID, mime: bytes) -> Content:
    """Return the headers, texts and attachments in *mime*, which we composed."""
    message = BytesParser(policy=default).parsebytes(mime)
    return Content(
        delivery_id=delivery_id,
        subject=str(message.get("Subject", "")),
        headers=[Header(name, str(value)) for name, value in message.items()],
        text_body=_text(message, "plain"),
        html_body=_text(message, "html"),
        attachments=[_attachment(part) for part in _files(message)],
    )


def framed_html(mime: bytes) -> str:
    """Return the HTML of *mime* with its own pictures in it: a frame may load nothing."""
    message = BytesParser(policy=default).parsebytes(mime)
    html = _text(message, "html") or ""
    by_id = {str(part.get("Content-ID", "")).strip("<> "): part for part in _files(message)}

    def picture(found: re.Match[str]) -> str:
        part = by_id.get(found[1])
        content = part.get_payload(decode=True) if part is not None else None
        if part is None or part.get_content_maintype() != "image" or not isinstance(content, bytes):
            return found[0]
        return f"data:{part.get_content_type()};base64,{base64.b64encode(content).decode()}"

    return _CID.sub(picture, html)


def _text(message: EmailMessage, subtype: str) -> str | None:
    part = message.get_body((subtype,))
    return None if part is None else str(part.get_content())


def _files(message: EmailMessage) -> list[EmailMessage]:
    """Return the parts that are files: attachments, and what the HTML shows by `cid:`."""
    bodies = {id(message.get_body(("plain",))), id(message.get_body(("html",)))}
    return [
        part
        for part in message.walk()
        if isinstance(part, EmailMessage) and not part.is_multipart() and id(part) not in bodies
    ]


def _attachment(part: EmailMessage) -> AttachmentSummary:
    content = part.get_payload(decode=True)
    return AttachmentSummary(
        filename=part.get_filename("") or "",
        content_type=part.get_content_type(),
        size=len(content) if isinstance(content, bytes) else 0,
        content_id=part.get("Content-ID"),
    )
