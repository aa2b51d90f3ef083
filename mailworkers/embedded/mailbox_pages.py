"""The pages of the mailbox, as HTML; everything that came by mail is escaped or framed."""

import base64
import email
import re
from datetime import UTC, datetime
from email.message import Message
from html import escape
from importlib.resources import files
from string import Template
from urllib.parse import urlencode

import msgspec

from mailworkers.embedded.mailbox_smtp import Answer
from mailworkers.embedded.mailbox_store import Entry, Page, decoded

PAGE_SIZE = 100
_TEMPLATE = Template(files(__package__).joinpath("mailbox.html").read_text(encoding="utf-8"))
_CID = re.compile(r"""(?<=["'(])cid:([^"')\s>]+)""")

_ANSWERS = {
    Answer.ACCEPT: "accepts mail",
    Answer.DEFER: "defers: 451",
    Answer.REJECT: "rejects: 550",
    Answer.SLOW: "accepts slowly",
}


class Part(msgspec.Struct, frozen=True):
    """One leaf of a message: an attachment, an inline picture, a text."""

    index: int
    content_type: str
    filename: str
    content_id: str
    content: bytes


class Content(msgspec.Struct, frozen=True):
    """A message taken apart for reading: decoded headers, the texts, and what is attached."""

    headers: tuple[tuple[str, str], ...]
    text: str | None
    html: str | None
    parts: tuple[Part, ...]


def take_apart(raw: bytes) -> Content:
    """Return the readable content of *raw*; never fails, whatever the bytes are."""
    message = email.message_from_bytes(raw)
    parts, texts = [], dict.fromkeys(("text/plain", "text/html"), "")
    for index, leaf in enumerate(part for part in message.walk() if not part.is_multipart()):
        part = _part(index, leaf)
        if part.content_type in texts and not part.filename and not texts[part.content_type]:
            texts[part.content_type] = _text(leaf, part.content)
        else:
            parts.append(part)
    return Content(
        headers=tuple((name, decoded(str(value))) for name, value in message.items()),
        text=texts["text/plain"] or None,
        html=texts["text/html"] or None,
        parts=tuple(parts),
    )


def _part(index: int, leaf: Message) -> Part:
    content = leaf.get_payload(decode=True)
    return Part(
        index=index,
        content_type=leaf.get_content_type(),
        filename=decoded(leaf.get_filename() or ""),
        content_id=str(leaf.get("Content-ID", "")).strip("<> "),
        content=content if isinstance(content, bytes) else b"",
    )


def _text(leaf: Message, content: bytes) -> str:
    try:
        return content.decode(leaf.get_content_charset("utf-8"), "replace")
    except LookupError:
        return content.decode("utf-8", "replace")


def framed_html(content: Content) -> str:
    """Return the html text with its inline pictures as data URLs: the frame may load nothing."""
    by_id = {part.content_id: part for part in content.parts if part.content_id}

    def picture(found: re.Match[str]) -> str:
        part = by_id.get(found[1])
        if part is None or not part.content_type.startswith("image/"):
            return found[0]
        return f"data:{part.content_type};base64,{base64.b64encode(part.content).decode()}"

    return _CID.sub(picture, content.html or "")


def list_page(page: Page, *, query: str, offset: int, answer: Answer, nonce: str) -> str:
    """Return the page that lists messages, newest first."""
    rows = "".join(_row(entry, page.copies[entry.message_id]) for entry in page.entries)
    first = "yes" if offset == 0 else "no"
    content = (
        f'<p class="faint" data-stored="{page.stored}" data-first="{first}">{_summary(page, query)}'
        f'</p><ul class="messages">{rows}</ul>{_turn(page, query, offset)}'
    )
    return _fill("Mailbox", content, query=query, answer=answer, nonce=nonce)


def _summary(page: Page, query: str) -> str:
    if not page.stored:
        return "No mail yet."
    text = _counted(page.stored, "message")
    if query:
        text = f"{page.found} of {text}"
    if page.duplicates:
        text += f' · <b class="alarm">{_counted(page.duplicates, "duplicate Message-ID")}</b>'
    return text


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _row(entry: Entry, copies: int) -> str:
    return (
        f'<li><a href="/messages/{entry.number}">'
        f'<span class="to">{escape(", ".join(entry.rcpt_to))}</span>'
        f'<span class="subject">{escape(entry.subject) or "(no subject)"} {_badge(copies)}</span>'
        f"{_time(entry.received_at)}</a></li>"
    )


def _badge(copies: int) -> str:
    return f'<span class="badge" title="same Message-ID">×{copies}</span>' if copies > 1 else ""


def _time(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f'<time datetime="{at.isoformat()}">{at:%d %b %H:%M:%S}</time>'


def _turn(page: Page, query: str, offset: int) -> str:
    def link(text: str, to: int) -> str:
        return f'<a href="/?{escape(urlencode({"q": query, "offset": to}))}">{text}</a>'

    newer = link("← newer", max(0, offset - PAGE_SIZE)) if offset else "<span></span>"
    older = link("older →", offset + PAGE_SIZE) if page.found > offset + PAGE_SIZE else ""
    return f"<nav>{newer}{older}</nav>"


def message_page(entry: Entry, raw: bytes, *, copies: int, answer: Answer, nonce: str) -> str:
    """Return the page of one message: envelope, headers, text, html in a sandbox, parts, raw."""
    content = take_apart(raw)
    here = f"/messages/{entry.number}"
    envelope = [
        ("Envelope from", entry.mail_from or "<>"),
        ("Envelope to", ", ".join(entry.rcpt_to)),
        ("Received", f"{entry.received_at:%Y-%m-%d %H:%M:%S.%f}"[:-3] + " UTC"),
        ("Size", f"{entry.size:,} bytes"),
    ]
    sections = [
        f"<h2>{escape(entry.subject) or '(no subject)'} {_badge(copies)}</h2>",
        _table([*envelope, *content.headers]),
    ]
    if content.html is not None:
        sections.append(
            f'<h2>HTML</h2><iframe sandbox src="{here}/html" title="HTML body"></iframe>'
        )
    if content.text is not None:
        sections.append(f"<h2>Text</h2><pre>{escape(content.text)}</pre>")
    if content.parts:
        sections.append(f"<h2>Attachments</h2><ul>{_parts(content, here)}</ul>")
    sections.append(
        f'<h2>Raw</h2><p><a href="{here}/raw" download>Download</a></p>'
        f"<pre>{escape(raw[:100_000].decode('utf-8', 'replace'))}</pre>"
    )
    return _fill(entry.subject or "Message", "".join(sections), answer=answer, nonce=nonce)


def _table(rows: list[tuple[str, str]]) -> str:
    cells = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
    return f"<dl>{cells}</dl>"


def _parts(content: Content, here: str) -> str:
    return "".join(
        f'<li><a href="{here}/parts/{part.index}" download>'
        f"{escape(part.filename or part.content_type)}</a> "
        f'<span class="faint">{escape(part.content_type)}, {len(part.content):,} bytes</span></li>'
        for part in content.parts
    )


def _fill(title: str, content: str, *, answer: Answer, nonce: str, query: str = "") -> str:
    options = "".join(
        f'<option value="{each}"{" selected" if each is answer else ""}>{_ANSWERS[each]}</option>'
        for each in Answer
    )
    return _TEMPLATE.substitute(
        title=escape(title), query=escape(query), answers=options, content=content, nonce=nonce
    )
