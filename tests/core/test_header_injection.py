"""Hostile values in every field: refused, or literally there, and never structure (X-01)."""

from collections.abc import Callable

import pytest

from mailworkers.core.addresses import AddressError, Mailbox
from mailworkers.core.mime import (
    ALLOWED_HEADERS,
    Attachment,
    HeaderInjection,
    Message,
    MessageError,
    clean_filename,
    compose,
)
from tests.core.hostile_values import HOSTILE, LINE_BREAKS
from tests.core.messages import (
    DATE,
    MESSAGE_ID,
    assert_fit_for_the_wire,
    field_names,
    file_read,
    message,
    names_read,
    parsed,
    raw,
    shape,
)

BIDI = ("a\u202egnp.exe", "\u2066a\u2069", "a\u202ab\u202c")


def extra(name: str) -> tuple[Callable[[str], Message], Callable[[bytes], str]]:
    return (
        lambda value: message(headers=((name, value),)),
        lambda mime: parsed(mime)[name],
    )


def in_name(field: str, change: str) -> tuple[Callable[[str], Message], Callable[[bytes], str]]:
    def build(value: str) -> Message:
        mailbox = Mailbox(value, "jane@example.org")
        return message(**{change: mailbox if change == "sender" else (mailbox,)})

    return build, lambda mime: names_read(mime, field)[0][0]


def in_address(field: str, change: str) -> tuple[Callable[[str], Message], Callable[[bytes], str]]:
    def build(value: str) -> Message:
        mailbox = Mailbox("Jane", value)
        return message(**{change: mailbox if change == "sender" else (mailbox,)})

    return build, lambda mime: names_read(mime, field)[0][1]


def attached(change: Callable[[str], Attachment]) -> Callable[[str], Message]:
    return lambda value: message(attachments=(change(value),))


ADDRESS_FIELDS = (("From", "sender"), ("To", "to"), ("Cc", "cc"), ("Reply-To", "reply_to"))
# How a value gets into a message, how it is read back, and a value that is surely right there.
FIELDS: dict[str, tuple[Callable[[str], Message], Callable[[bytes], str], str]] = {
    "subject": (lambda v: message(subject=v), lambda mime: parsed(mime)["Subject"], "x"),
    **{f"{field} name": (*in_name(field, change), "x") for field, change in ADDRESS_FIELDS},
    **{f"{field} address": (*in_address(field, change), "a@b") for field, change in ADDRESS_FIELDS},
    "X-Note": (*extra("X-Note"), "x"),
    "List-Unsubscribe": (*extra("List-Unsubscribe"), "<https://example.com>"),
    "List-Unsubscribe-Post": (
        lambda v: message(
            headers=(("List-Unsubscribe", "<https://a.b>"), ("List-Unsubscribe-Post", v))
        ),
        lambda mime: parsed(mime)["List-Unsubscribe-Post"],
        "List-Unsubscribe=One-Click",
    ),
    **{
        name: (*extra(name), "<https://example.com>")
        for name in ("List-Archive", "List-Help", "List-Owner", "List-Post", "List-Subscribe")
    },
    "List-Id": (*extra("List-Id"), "x <news.example.com>"),
    "List-Id name": (
        lambda v: message(headers=(("List-Id", f"{v} <news.example.com>"),)),
        lambda mime: names_read(mime, "List-Id")[0][0],
        "x",
    ),
    "References": (*extra("References"), "<a@b>"),
    "In-Reply-To": (*extra("In-Reply-To"), "<a@b>"),
    "Auto-Submitted": (*extra("Auto-Submitted"), "no"),
    "Precedence": (*extra("Precedence"), "bulk"),
    "Feedback-ID": (*extra("Feedback-ID"), "x"),
    "filename": (
        attached(lambda v: Attachment(v, "text/csv", b"x")),
        lambda mime: str(file_read(mime).get_filename()),
        "x",
    ),
    "content type": (
        attached(lambda v: Attachment("f", v, b"x")),
        lambda mime: file_read(mime)["Content-Type"],
        "text/csv",
    ),
    "content id": (
        attached(lambda v: Attachment("f", "image/png", b"x", v)),
        lambda mime: file_read(mime)["Content-ID"][1:-1],
        "x",
    ),
    "header name": (
        lambda v: message(headers=((v, "value"),)),
        lambda mime: field_names(mime)[6],
        "X-Note",
    ),
}


def literal(field: str, value: str) -> str:
    """Return what a reader must see of *value* in *field*, when it was not refused."""
    if field == "filename":
        return clean_filename(value)
    return value if field in ("subject", "X-Note") else value.strip(" ")


def test_the_table_of_fields_covers_every_header_a_caller_can_set() -> None:
    """A header added to the allow-list must be added here."""
    assert set(FIELDS) >= ALLOWED_HEADERS


@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_value_is_refused_or_arrives_literally_and_never_becomes_structure(
    field: str,
) -> None:
    """X-01: names, order and count of headers and parts are those of a harmless value."""
    build, read, harmless = FIELDS[field]
    expected = shape(compose(build(harmless), message_id=MESSAGE_ID, date=DATE))
    for value in HOSTILE:
        try:
            mime = compose(build(value), message_id=MESSAGE_ID, date=DATE)
        except (MessageError, AddressError):
            continue
        if value.strip(" ") or field == "subject":
            assert read(mime) == literal(field, value), value
        if not (field == "content id" and not value):
            assert shape(mime) == expected, value
        assert_fit_for_the_wire(mime)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", LINE_BREAKS)
def test_a_control_character_is_refused_in_every_field(field: str, value: str) -> None:
    """CR, LF, NUL and the rest of C0, DEL, C1, line separators, surrogates: all of them."""
    build, _, _ = FIELDS[field]

    with pytest.raises((HeaderInjection, AddressError)):
        compose(build(value), message_id=MESSAGE_ID, date=DATE)


@pytest.mark.parametrize("value", BIDI)
@pytest.mark.parametrize("field", ["From name", "To name", "List-Id name", "filename"])
def test_a_bidi_control_is_refused_where_it_could_disguise_a_name(field: str, value: str) -> None:
    """U+202A-E and U+2066-9 (X-13); in a subject they are ordinary right-to-left text."""
    build, _, _ = FIELDS[field]

    with pytest.raises(HeaderInjection) as refusal:
        compose(build(value), message_id=MESSAGE_ID, date=DATE)

    assert "U+20" in refusal.value.reason
    assert parsed(raw(subject=value))["Subject"] == value


@pytest.mark.parametrize("field", ["subject", "From name", "filename", "X-Note"])
def test_a_value_no_header_should_have_is_refused_for_its_length(field: str) -> None:
    """8,000 characters are far above honest use and below relays' limits on headers."""
    build, _, _ = FIELDS[field]

    with pytest.raises(MessageError, match="longer than 8000"):
        compose(build("w " * 4001), message_id=MESSAGE_ID, date=DATE)


@pytest.mark.parametrize(
    "field", ["subject", "From name", "Reply-To name", "X-Note", "filename", "List-Id name"]
)
def test_free_text_fields_take_every_value_that_is_only_strange(field: str) -> None:
    """Refusing is for control characters and bad shapes, not for commas, quotes or scripts."""
    build, _, _ = FIELDS[field]
    strange = [
        value
        for value in HOSTILE
        if value not in LINE_BREAKS
        and not any(bidi in value for bidi in "\u202e\u2066")
        and not (field == "List-Id name" and set(value) & set('<>"'))
    ]

    for value in strange:
        assert compose(build(value), message_id=MESSAGE_ID, date=DATE)
