"""Any text, name, file and set of parts: what the standard library reads is what was written."""

import base64
import quopri
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st

from mailworkers.core.addresses import Mailbox, parse_mailbox
from mailworkers.core.bodies import encode_text
from mailworkers.core.headers import control_character, disguise_character
from mailworkers.core.mime import Attachment, clean_filename
from tests.core.messages import (
    PLAIN,
    assert_fit_for_the_wire,
    field_names,
    names_read,
    parsed,
    raw,
)

DECODERS: dict[str, Callable[[bytes], bytes]] = {
    "7bit": bytes,
    "quoted-printable": quopri.decodestring,
    "base64": base64.b64decode,
}

lightly = settings(deadline=None, database=None, max_examples=150)

# Short alphabets of what matters make it likely that it meets.
delicate = st.text(alphabet='aF. \t=?_<>@",;:\\()é日\u200d👩rom', max_size=200)
free_text = st.text(max_size=120).filter(lambda text: not control_character(text)) | (
    delicate.filter(lambda text: not control_character(text))
)
names = free_text.filter(lambda text: not disguise_character(text))
body_pieces = st.sampled_from(
    ["\n", "\r\n", "\r", ".", "From ", " ", "\t", "=", "a", "é", "日", "\x00", "x" * 73, "--=_"]
)
bodies = st.text(max_size=300) | st.lists(body_pieces, max_size=60).map("".join)


@lightly
@given(subject=free_text)
def test_any_subject_without_control_characters_arrives(subject: str) -> None:
    """Raw or encoded, folded or not, one header and the same text."""
    mime = raw(subject=subject)

    assert parsed(mime)["Subject"] == subject
    assert field_names(mime) == field_names(raw())
    assert_fit_for_the_wire(mime)


@lightly
@given(st.lists(names, min_size=1, max_size=6))
def test_any_display_names_arrive_in_order(display_names: list[str]) -> None:
    """Atoms, quoted strings and encoded words, side by side in one list."""
    to = tuple(Mailbox(name, f"r{n}@example.com") for n, name in enumerate(display_names))
    mime = raw(to=to)

    assert names_read(mime, "To") == [(box.name.strip(" "), box.address) for box in to]
    assert field_names(mime) == field_names(raw())
    assert max(map(len, mime.split(b"\r\n"))) <= 76


@lightly
@given(names.filter(lambda name: name.isascii()))
def test_a_mailbox_that_was_written_is_parsed_again(name: str) -> None:
    """A quoted name survives our own reading and writing."""
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    mailbox = parse_mailbox(f'"{escaped}" <jane@example.com>')

    assert mailbox == Mailbox(name.strip(" "), "jane@example.com")


@lightly
@given(bodies)
def test_any_body_decodes_to_itself_and_stays_within_its_lines(body: str) -> None:
    """RFC 2045 section 6, decoded by the standard library's decoders alone."""
    encoding, wire = encode_text(body.encode(errors="replace").decode())
    lines = body.replace("\r\n", "\n").replace("\r", "\n")

    assert DECODERS[encoding](wire).decode() == lines.replace("\n", "\r\n")
    assert wire.isascii()
    assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
    assert max(map(len, wire.split(b"\r\n"))) <= (998 if encoding == "7bit" else 76)
    assert not any(line.startswith((b".", b"From ")) for line in wire.split(b"\r\n"))
    assert not any(line.endswith((b" ", b"\t")) for line in wire.split(b"\r\n"))
    assert b"--=_" not in wire


@lightly
@given(
    text=st.none() | bodies,
    html=st.none() | bodies,
    files=st.lists(st.tuples(names, st.binary(max_size=200), st.booleans()), max_size=4),
)
def test_any_set_of_parts_reads_back_whole(
    text: str | None, html: str | None, files: list[tuple[str, bytes, bool]]
) -> None:
    """No part swallows or splits another, whatever is in them."""
    attachments = tuple(
        Attachment(name, "application/x-test", content, f"cid-{n}" if inline else None)
        for n, (name, content, inline) in enumerate(files)
    )
    text = PLAIN.text if text is None and html is None else text
    mime = raw(text=text, html=html, attachments=attachments)

    assert_fit_for_the_wire(mime)
    leaves = [part for part in parsed(mime).walk() if not part.is_multipart()]
    written = [part for part in leaves if part.get_content_type() == "application/x-test"]
    assert len(leaves) - len(written) == (text is not None) + (html is not None)
    assert sorted((part.get_filename(), part.get_content()) for part in written) == sorted(
        (clean_filename(name), content) for name, content, _ in files
    )


@lightly
@given(st.text(max_size=300))
def test_any_filename_is_refused_or_clean_for_good(filename: str) -> None:
    """Cleaning twice changes nothing; what is left is a name on every file system."""
    if disguise_character(filename):
        return

    name = clean_filename(filename)
    assert clean_filename(name) == name
    assert 0 < len(name) <= 120
    assert not set(name) & set('/\\:*?"<>|')
    assert name == name.strip().strip(". ")
