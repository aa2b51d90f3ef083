"""Whatever is asked for, parsers that share no code read just that in the bytes (X-01, X-04).

The standard library's, and the crate mailparse in Rust, on every run; Perl's Email::MIME with
`--all`, since it needs a package that the other tests do without.
"""

import re
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailworkers.core.addresses import AddressError, Mailbox
from mailworkers.core.dkim import sign
from mailworkers.core.mime import Attachment, Message, MessageError, compose
from tests.core.hostile_values import HOSTILE
from tests.core.messages import DATE, FILE, MESSAGE_ID, assert_fit_for_the_wire, message
from tests.core.perl_reader import PerlReader, perl
from tests.core.readings import Reading, by_mailparse, by_stdlib, intended, settled
from tests.core.test_header_injection import FIELDS
from tests.core.test_mime_properties import bodies, free_text, names
from tests.dkim_keys import key

__all__ = ["perl"]

# Not for interchange, says Unicode (section 23.7), and Perl shows them as U+FFFD.
_LAST_OF_PLANES = "".join(chr(p << 16 | 0xFFFE) + chr(p << 16 | 0xFFFF) for p in range(17))
NONCHARACTERS = re.compile(f"[\ufdd0-\ufdef{_LAST_OF_PLANES}]")
Read = Callable[[bytes], Reading]
READERS: dict[str, Read] = {"stdlib": by_stdlib, "mailparse": by_mailparse}

addresses = st.sampled_from(
    [
        "jane@example.org",
        "o'brien+tag@mail.example.com",
        "a.b-c_d=e@example.com",
        "{!#$%&*/?^`|~}@example.com",
        "x@bücher.example",
        f"{'l' * 64}@{'d' * 60}.{'e' * 60}.example",
    ]
)
mailboxes = st.builds(Mailbox, names, addresses)
many = st.lists(mailboxes, max_size=4).map(tuple)
words = st.from_regex(r"[a-zA-Z0-9._-]{1,200}", fullmatch=True)
identifiers = st.lists(words.map(lambda word: f"<{word}@example.com>"), min_size=1, max_size=8)
uris = st.lists(words.map(lambda word: f"<https://example.com/{word}>"), min_size=1, max_size=3)
extra_headers = st.fixed_dictionaries(
    {},
    optional={
        "X-Note": free_text,
        "List-Id": names.filter(lambda name: not set(name) & set('<>"')).map(
            lambda name: f"{name.strip(' ')} <news.example.com>".strip(" ")
        ),
        "List-Unsubscribe": uris.map(", ".join),
        "References": identifiers.map(" ".join),
        "In-Reply-To": words.map(lambda word: f"<{word}@example.com>"),
        "Feedback-ID": words,
        "Precedence": st.sampled_from(["bulk", "list"]),
        "Auto-Submitted": st.sampled_from(["no", "auto-replied"]),
    },
)
content_types = st.sampled_from(
    ["application/pdf", "text/plain; charset=iso-8859-1", "image/svg+xml", "Text/HTML"]
)
files = st.lists(
    st.tuples(names, content_types, st.binary(max_size=200), st.booleans()), max_size=4
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    """Any message: every field, every structure."""
    html = draw(st.none() | bodies)
    attachments = tuple(
        Attachment(name, content_type, content, f"{number}@cid" if inline else None)
        for number, (name, content_type, content, inline) in enumerate(draw(files))
    )
    return Message(
        sender=draw(mailboxes),
        to=draw(many),
        cc=draw(many),
        reply_to=draw(many),
        subject=draw(free_text),
        text=draw(bodies if html is None else st.none() | bodies),
        html=html,
        attachments=attachments,
        headers=tuple(draw(extra_headers).items()),
    )


def can_be_interchanged(asked: Message) -> bool:
    """Return whether no text of *asked* has noncharacters."""
    return not NONCHARACTERS.search(msgspec.json.encode(asked).decode())


@pytest.fixture(params=[*READERS, pytest.param("Email::MIME", marks=pytest.mark.slow)])
def read(request: pytest.FixtureRequest) -> Read:
    """Return a parser."""
    if request.param in READERS:
        return READERS[request.param]
    reader: PerlReader = request.getfixturevalue("perl")
    return reader.read


def assert_read_as_intended(read: Read, asked: Message) -> None:
    """What was asked for, and nothing else, is what *read* finds in the bytes."""
    mime = compose(asked, message_id=MESSAGE_ID, date=DATE)

    assert settled(read(mime)) == settled(intended(asked))
    assert_fit_for_the_wire(mime)


def test_any_message_is_read_as_it_was_intended(read: Read) -> None:
    """Fields by name, order and value; mailboxes; parts by place, name and content."""

    @settings(deadline=None, database=None, max_examples=200)
    @given(messages().filter(can_be_interchanged))
    def check(asked: Message) -> None:
        assert_read_as_intended(read, asked)

    check()


@pytest.mark.parametrize("field", FIELDS)
def test_a_hostile_value_is_read_as_it_was_intended_by_every_parser(read: Read, field: str) -> None:
    """X-01: each payload in each field; what is not refused is only a value to all of them."""
    build, _, _ = FIELDS[field]
    for value in HOSTILE:
        asked = build(value.strip(" ") if field == "Feedback-ID" else value)
        try:
            compose(asked, message_id=MESSAGE_ID, date=DATE)
        except (MessageError, AddressError):
            continue
        assert_read_as_intended(read, asked)


def test_there_are_more_payloads_than_sixty() -> None:
    """X-01 asks for sixty in every field; each is another one."""
    assert len(set(HOSTILE)) == len(HOSTILE) >= 60


@pytest.mark.parametrize("name", ["a;b.txt", "; filename=evil.exe", 'a"; x="b.txt'])
def test_a_semicolon_in_a_file_name_begins_no_parameter(read: Read, name: str) -> None:
    """Not even to parsers that divide parameters at every one, whatever the quotes say."""
    assert_read_as_intended(read, message(attachments=(Attachment(name, "text/csv", b"x"),)))


def test_a_parser_that_knows_internationalized_mail_reads_local_parts_as_they_are() -> None:
    """RFC 6532: raw UTF-8 in headers. The two others are older, and show its bytes."""
    to = (Mailbox("Jürgen, X", "jürgen@bücher.example"), Mailbox("", "用户@例え.jp"))
    asked = message(to=to, subject="ü")

    read = by_mailparse(compose(asked, message_id=MESSAGE_ID, date=DATE))

    assert settled(read) == settled(intended(asked))


def test_signatures_change_nothing_of_what_is_read(read: Read) -> None:
    """One field more on top; all else as it was intended."""
    asked = message(html="<p>é", attachments=(FILE,))
    mime = compose(asked, message_id=MESSAGE_ID, date=DATE)

    plain = read(mime)
    signed = read(sign(mime, [key("example.com", "r2026").signing], at=DATE))

    assert signed.names == ("DKIM-Signature", *plain.names)
    assert signed.values == {**plain.values, "DKIM-Signature": signed.values["DKIM-Signature"]}
    assert (signed.root, signed.mailboxes) == (plain.root, plain.mailboxes)
