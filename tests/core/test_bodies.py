"""Bodies: any text arrives as it was written, whatever is on the way."""

import base64
import quopri

import pytest

from mailworkers.core.bodies import encode_text
from mailworkers.core.mime import (
    Attachment,
)
from tests.core.messages import (
    assert_fit_for_the_wire,
    parsed,
    raw,
    shape,
)

BODIES = (
    "",
    "\n",
    "plain",
    "plain\n",
    "two\n\n\nlines\n",
    "dot\n.\nMAIL FROM:<x@y>\n..\n.leading",
    ".\r\n.\r\n",
    "a\nFrom there",
    "a\n.b",
    "From here\nFrom there\n>From",
    "trailing blank \ntrailing tab\t\n",
    "ends in a blank ",
    "ends in a tab\t",
    "x" * 74 + " \n" + "é" * 12 + "xx \n",
    *("x" * n + "\u00e9\u00e9\t\n" for n in range(60, 78)),
    "\t",
    "mixed\rline\r\nends\n\r",
    "\x00\x01\x0b\x0c\x1b\x7f",
    "a" * 998,
    "a" * 999,
    "a" * 5000,
    ("b" * 997 + "\n") * 5,
    ("c" * 999 + "\n") * 5,
    "." * 500,
    "." * 76 + "\n" + "." * 77,
    "From " * 100,
    "=" * 200,
    "é" * 300,
    "x" * 74 + "é" + "." * 80,
    "." + "é" * 100,
    "From " + "=20" * 40 + "\n." + "é " * 60,
    "Grüße aus Köln, schöne Straße\n" * 40,
    "日本語の本文です。\n" * 40,
    "مرحبا\n" * 40,
    "\u2028\u2029\x85 unusual separators",
    "emoji 👩‍👩‍👧 " * 60,
    "--=_a_" + "0" * 24,
    "--=_m_x--\n",
    "Content-Type: text/html\n\n<b>",
    "\n\nBcc: victim@example.net\n",
    "{{7*7}} =0D=0A =?utf-8?q?x?=",
)


def with_one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_any_body_arrives_as_it_was_written(body: str) -> None:
    """7 bits on the wire, nothing that SMTP or mbox would touch, no structure from content."""
    mime = raw(text=body, html=body)
    crlf = with_one_line_end(body).replace("\n", "\r\n")

    assert_fit_for_the_wire(mime)
    assert shape(mime) == shape(raw(text="x", html="x"))
    for part in list(parsed(mime).walk())[1:]:
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        assert content.decode() == crlf


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_body_alone_gets_at_most_a_closing_line_end(body: str) -> None:
    """SMTP ends a message with CRLF; all else is as in a part."""
    mime = raw(text=body)
    content = parsed(mime).get_payload(decode=True)
    crlf = with_one_line_end(body).replace("\n", "\r\n")

    assert_fit_for_the_wire(mime)
    assert isinstance(content, bytes)
    assert content.decode() in (crlf, f"{crlf}\r\n")


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_encoded_lines_are_at_most_76(body: str) -> None:
    """RFC 2045 sections 6.7 and 6.8, also where blanks end a line or dots start one."""
    encoding, wire = encode_text(body)

    assert max(map(len, wire.split(b"\r\n"))) <= (998 if encoding == "7bit" else 76)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        ("Hello Jane,\n\tyour code is 1.\n", "7bit"),
        ("a" * 998, "7bit"),
        ("a" * 999, "quoted-printable"),
        ("ends in a blank \n", "quoted-printable"),
        (".dot", "quoted-printable"),
        ("Viele Grüße aus dem Norden\n", "quoted-printable"),
        ("日本語\n", "base64"),
        ("Привет\n", "base64"),
    ],
)
def test_the_encoding_is_chosen_by_content(body: str, encoding: str) -> None:
    """Readable where it can be, short where it cannot."""
    mime = raw(text=body)
    wire = mime.partition(b"\r\n\r\n")[2]

    assert parsed(mime)["Content-Transfer-Encoding"] == encoding
    if encoding == "quoted-printable":
        assert max(map(len, wire.split(b"\r\n"))) <= 76
        assert quopri.decodestring(wire).decode().strip() == body.strip()
    if encoding == "base64":
        assert base64.b64decode(wire).decode() == body.replace("\n", "\r\n")


def test_a_large_attachment_is_base64_in_lines_of_76() -> None:
    """RFC 2045 section 6.8; sizes around the block that is unpacked at once."""
    for size in (0, 1, 56, 57, 58, 57 * 64 - 1, 57 * 64, 57 * 64 + 1, 57 * 64 * 3 + 100):
        content = bytes(n % 251 for n in range(size))
        mime = raw(attachments=(Attachment("f", "application/octet-stream", content),))
        (attached,) = parsed(mime).iter_attachments()

        assert attached.get_content() == content
        lines = mime.split(b"filename=")[1].split(b"\r\n\r\n", 1)[1].split(b"\r\n--")[0]
        assert {len(line) for line in lines.split(b"\r\n")[:-1]} <= {76}
