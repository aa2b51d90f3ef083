"""Composed messages, read back by the standard library: what goes in arrives, and nothing else."""

import ast
import getpass
import re
import socket
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

import mailworkers.core
from mailworkers.core.addresses import Mailbox
from mailworkers.core.mime import (
    Attachment,
    MessageError,
    clean_filename,
    compose,
)
from tests.core.messages import (
    DATE,
    FILE,
    MESSAGE_ID,
    PLAIN,
    assert_fit_for_the_wire,
    field_names,
    file_read,
    message,
    names_read,
    parsed,
    raw,
)


def test_a_plain_message_is_exactly_these_bytes() -> None:
    """The form of a message is fixed: retries, signatures and people's eyes rely on it."""
    assert raw(cc=(Mailbox("J. Doe", "j@bücher.example"),)) == (
        b"From: Example Shop <shop@example.com>\r\n"
        b"To: jane@example.org\r\n"
        b'Cc: "J. Doe" <j@xn--bcher-kva.example>\r\n'
        b"Subject: Your order\r\n"
        b"Date: Tue, 03 Feb 2026 04:05:06 +0000\r\n"
        b"Message-ID: <0190f6a2-5c3e-7000-8000-0123456789ab@example.com>\r\n"
        b"Auto-Submitted: auto-generated\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello Jane\r\n"
    )


def test_a_message_with_two_bodies_is_exactly_these_bytes() -> None:
    """RFC 2046 section 5.1.1: the line end before a boundary belongs to the boundary."""
    assert raw(html="<p>Hello</p>").partition(b"MIME-Version: 1.0\r\n")[2] == (
        b'Content-Type: multipart/alternative; boundary="=_a_d0173dcf3142d563055ab3fa"\r\n'
        b"\r\n"
        b"--=_a_d0173dcf3142d563055ab3fa\r\n"
        b"Content-Type: text/plain; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"Hello Jane\r\n"
        b"\r\n"
        b"--=_a_d0173dcf3142d563055ab3fa\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n"
        b"Content-Transfer-Encoding: 7bit\r\n"
        b"\r\n"
        b"<p>Hello</p>\r\n"
        b"--=_a_d0173dcf3142d563055ab3fa--\r\n"
    )


def test_the_same_arguments_give_the_same_bytes() -> None:
    """Boundaries come from the Message-ID, so a retry sends what was signed and stored."""
    changes = {"html": "<p>Hello</p>", "attachments": (FILE,)}

    assert raw(**changes) == raw(**changes)
    other = compose(message(**changes), message_id="<2@example.com>", date=DATE)
    assert parsed(other).get_boundary() != parsed(raw(**changes)).get_boundary()


def test_a_date_is_written_in_utc() -> None:
    """Nothing of this machine is in a message, its time zone neither (X-40)."""
    local = DATE.astimezone(timezone(timedelta(hours=9)))

    assert compose(PLAIN, message_id=MESSAGE_ID, date=local) == raw()


@pytest.mark.parametrize("day", range(1, 15))
def test_dates_are_read_back_to_the_second(day: int) -> None:
    """RFC 5322 section 3.3, every weekday and month."""
    date = datetime(2026, (day - 1) % 12 + 1, day, 23, 59, 58, tzinfo=UTC)
    mime = compose(PLAIN, message_id=MESSAGE_ID, date=date)

    assert parsed(mime)["Date"].datetime == date
    assert parsed(mime)["Date"] == mime.partition(b"Date: ")[2].partition(b"\r\n")[0].decode()


def test_a_date_without_a_time_zone_is_refused() -> None:
    """A guess would be wrong on some machine."""
    with pytest.raises(MessageError, match="Date: needs a time zone"):
        compose(PLAIN, message_id=MESSAGE_ID, date=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_message_tells_nothing_of_the_machine_that_wrote_it() -> None:
    """X-40: no name of host or user, no clock but UTC; Message-ID and boundaries are given."""
    mime = raw(html="<p>x", attachments=(FILE,), text="x\n" * 99)

    for name in (socket.gethostname(), socket.getfqdn(), getpass.getuser()):
        assert not re.search(rf"\b{re.escape(name)}\b", mime.decode()), name
    assert parsed(mime)["Date"].endswith(" +0000")


def test_nothing_of_the_standard_librarys_writer_is_used() -> None:
    """M-10: it turns encoded words of a caller into real headers on interpreters we run on."""
    core = Path(mailworkers.core.__file__).parent
    imported = {
        name
        for file in core.glob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (getattr(node, "module", None), *(alias.name for alias in node.names))
        if name
    }

    assert "hashlib" in imported
    assert not [name for name in imported if name.partition(".")[0] in ("email", "smtplib")]


def test_without_visible_recipients_the_group_is_empty() -> None:
    """RFC 5322 section 3.6.3: all recipients are Bcc, and Bcc stands only in the envelope."""
    assert b"\r\nTo: undisclosed-recipients:;\r\n" in raw(to=())
    assert field_names(raw(to=(), cc=(Mailbox("", "a@b"),)))[:2] == ["From", "Cc"]


def test_fifty_recipients_are_folded_and_all_read_back() -> None:
    """Names in several scripts, long addresses; the order is kept."""
    names = ("", "Jane Doe", "Doe, Jane", "José Muñoz", "山田太郎", 'J "X" \\ Y')
    to = tuple(Mailbox(names[n % 6], f"recipient.number.{n}@mail.example.com") for n in range(50))
    mime = raw(to=to)

    assert_fit_for_the_wire(mime)
    assert max(map(len, mime.split(b"\r\n"))) <= 76
    assert names_read(mime, "To") == [(mailbox.name, mailbox.address) for mailbox in to]


def test_a_non_ascii_local_part_is_raw_utf8_and_the_only_reason_for_8_bits() -> None:
    """M-11b: never an encoded word in an address; `not isascii()` asks for SMTPUTF8."""
    mime = raw(to=(Mailbox("Jürgen", "jürgen@bücher.example"),), subject="Grüße", text="Grüße")

    assert "<jürgen@xn--bcher-kva.example>".encode() in mime
    assert mime.replace("jürgen".encode(), b"").isascii()


@pytest.mark.parametrize("message_id", ["", "x@y", "<x>", "<x@y>\r\n", "<a b@c>", "<=?x@y>"])
def test_a_message_id_is_ours_and_plain(message_id: str) -> None:
    """It is written unquoted and makes the boundaries."""
    with pytest.raises(MessageError, match="Message-ID"):
        compose(PLAIN, message_id=message_id, date=DATE)


PNG = Attachment("logo.png", "image/png", b"\x89PNG", "logo")


@pytest.mark.parametrize(
    ("changes", "types"),
    [
        ({}, ["text/plain"]),
        ({"text": None, "html": "<p>"}, ["text/html"]),
        ({"html": "<p>"}, ["multipart/alternative", "text/plain", "text/html"]),
        (
            {"html": "<img src=cid:logo>", "attachments": (PNG,)},
            [
                "multipart/alternative",
                "text/plain",
                "multipart/related",
                "text/html",
                "image/png",
            ],
        ),
        (
            {"html": "<img src=cid:logo>", "attachments": (FILE, PNG, FILE)},
            [
                "multipart/mixed",
                "multipart/alternative",
                "text/plain",
                "multipart/related",
                "text/html",
                "image/png",
                "application/pdf",
                "application/pdf",
            ],
        ),
        (
            {"text": None, "html": "<p>", "attachments": (PNG,)},
            ["multipart/related", "text/html", "image/png"],
        ),
        ({"attachments": (PNG,)}, ["multipart/mixed", "text/plain", "image/png"]),
    ],
)
def test_the_tree_has_only_the_levels_it_needs(
    changes: dict[str, object], types: list[str]
) -> None:
    """RFC 2046 section 5.1, RFC 2387; an inline image without html is an ordinary attachment."""
    mime = raw(**changes)

    assert_fit_for_the_wire(mime)
    assert [part.get_content_type() for part in parsed(mime).walk()] == types
    boundaries = [part.get_boundary() for part in parsed(mime).walk() if part.is_multipart()]
    assert len(set(boundaries)) == len(boundaries)


def test_a_message_of_every_kind_of_part_reads_back_whole() -> None:
    """Bodies, images and files, byte for byte."""
    content = bytes(range(256)) * 50
    file = Attachment("Größe – 見積.pdf", "application/pdf", content)
    read = parsed(raw(text="Text ä\n", html="<p>ö</p>\n", attachments=(PNG, file)))

    text, html = read.get_body(("plain",)), read.get_body(("html",))
    assert text is not None
    assert html is not None
    assert text.get_content().splitlines() == ["Text ä"]
    assert html.get_content().splitlines() == ["<p>ö</p>"]
    (image,) = [part for part in read.walk() if part.get_content_type() == "image/png"]
    assert image["Content-ID"] == "<logo>"
    assert image.get_content_disposition() == "inline"
    (attached,) = read.iter_attachments()
    assert attached.get_filename() == "Größe – 見積.pdf"
    assert attached.get_content() == content


def test_a_message_needs_a_body() -> None:
    """An empty text is a body, no text is none."""
    assert parsed(raw(text="")).get_content().strip() == ""
    with pytest.raises(MessageError, match="neither text nor html"):
        raw(text=None)


def test_two_parts_never_share_a_content_id() -> None:
    """`cid:logo` must mean one image."""
    with pytest.raises(MessageError, match="Content-ID"):
        raw(html="<p>", attachments=(PNG, PNG))


@pytest.mark.parametrize(
    ("filename", "clean"),
    [
        ("invoice.pdf", "invoice.pdf"),
        ("Rechnung März (2).pdf", "Rechnung März (2).pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\Windows\\cmd.exe", "C__Windows_cmd.exe"),
        (".htaccess", "htaccess"),
        ("trailing. . ", "trailing"),
        ("", "attachment"),
        ("...", "attachment"),
        ("nul", "_nul"),
        ("COM1.txt", "_COM1.txt"),
        ("console.txt", "console.txt"),
        ("a.txt:evil.exe", "a.txt_evil.exe"),
        ("=?utf-8?q?a=0AX-Inj:_1?=", "=_utf-8_q_a=0AX-Inj__1_="),
        ("n" * 1000 + ".pdf", "n" * 116 + ".pdf"),
        ("n" * 1000, "n" * 120),
        ("n." + "x" * 1000, "n." + "x" * 118),
    ],
)
def test_a_filename_is_made_harmless_and_arrives(filename: str, clean: str) -> None:
    """No path, no device, no hidden file, no stream; the extension is kept (X-14)."""
    assert clean_filename(filename) == clean
    mime = raw(attachments=(Attachment(filename, "text/csv", b"x"),))
    attached = file_read(mime)
    assert attached.get_filename() == clean
    assert max(map(len, mime.split(b"\r\n"))) <= 76


@pytest.mark.parametrize(
    ("content_type", "read"),
    [
        ("application/pdf", "application/pdf"),
        ("text/calendar; method=REQUEST; charset=utf-8", "text/calendar"),
        ('text/csv;header="present"', "text/csv"),
        ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", None),
    ],
)
def test_content_types_keep_their_parameters(content_type: str, read: str | None) -> None:
    """Calendars need `method`, tables `charset`."""
    mime = raw(attachments=(Attachment("f", content_type, b"x"),))
    attached = file_read(mime)

    assert attached.get_content_type() == (read or content_type)
    for name, value in attached["Content-Type"].params.items():
        assert f"{name}={value}" in content_type.replace('"', "")


@pytest.mark.parametrize(
    "content_type",
    [
        *("", "pdf", "a/b/c", "a/", "text/plain; x", "text/plain; a=b;", "téxt/plain", "a b/c"),
        *("multipart/mixed", "message/rfc822", "Multipart/mixed; boundary=x"),
        *("text/plain; name=x", "text/plain;filename=x", 'text/plain; x="=?utf-8?q?a?="'),
        *("text/plain; charset*=utf-8''x", f"text/{'x' * 81}", "text/plain" + "; a=b" * 60),
    ],
)
def test_a_content_type_that_is_none_or_would_nest_is_refused(content_type: str) -> None:
    """RFC 2046 section 5: composite types may not be base64; names and boundaries are ours."""
    with pytest.raises(MessageError) as refusal:
        raw(attachments=(Attachment("f", content_type, b"x"),))

    assert refusal.value.field == "Content-Type"
