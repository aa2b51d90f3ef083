"""SMTP on the wire: replies within caps, commands nothing can be smuggled into, dot-stuffing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailworkers.core.reply_reader import MAX_LINE, MAX_LINES, ReplyReader
from mailworkers.core.wire import (
    MAX_TEXT,
    BadReply,
    Capabilities,
    Envelope,
    Reply,
    UnsafeOnWire,
    command,
    dot_stuff,
    mail_command,
    printable,
    rcpt_commands,
)


def read(data: bytes) -> list[Reply]:
    """Return the replies in *data*, fed at once."""
    reader = ReplyReader()
    reader.feed(data)
    return list(iter(reader.next, None))


# Replies


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"250 2.1.0 Ok\r\n", Reply(250, "2.1.0", "Ok")),
        (b"250 Ok\r\n", Reply(250, "", "Ok")),
        (b"250\r\n", Reply(250)),
        (b"250 \r\n", Reply(250)),
        (b"354 go\n", Reply(354, "", "go")),
        (b"250 2.0.0\r\n", Reply(250, "2.0.0", "")),
        (b"550 #5.1.0 Address rejected.\r\n", Reply(550, "5.1.0", "Address rejected.")),
        (b"554 5.7.1: refused\r\n", Reply(554, "5.7.1", "refused")),
        (b"550 5.7.708 no\r\n", Reply(550, "5.7.708", "no")),
        # An enhanced code of another class is no enhanced code (RFC 2034 section 4).
        (b"550 4.7.1 try\r\n", Reply(550, "", "4.7.1 try")),
        (b"250 2.0.0.1 odd\r\n", Reply(250, "", "2.0.0.1 odd")),
        (
            b"550-5.1.1 The account\r\n550-5.1.1 does not exist.\r\n550 5.1.1 - gsmtp\r\n",
            Reply(550, "5.1.1", "The account does not exist. - gsmtp"),
        ),
        (b"220-a\r\n220-\r\n220 b\r\n", Reply(220, "", "a b")),
        (b"220-a\r\n220\r\n", Reply(220, "", "a")),
    ],
)
def test_a_reply_is_code_enhanced_code_and_one_line_of_text(data: bytes, reply: Reply) -> None:
    assert read(data) == [reply]


def test_replies_that_come_together_are_told_apart() -> None:
    assert [reply.code for reply in read(b"250 a\r\n250-b\r\n250 c\r\n354 d\r\n")] == [
        250,
        250,
        354,
    ]


@given(
    st.lists(
        st.sampled_from([b"250 ok\r\n", b"250-a\r\n250 5\r\n", b"550 5.1.1 no\n", b"421 \xff\r\n"]),
        min_size=1,
        max_size=6,
    ),
    st.data(),
)
def test_it_does_not_matter_where_the_bytes_are_cut(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    reader = ReplyReader()
    replies: list[Reply] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        replies += iter(reader.next, None)

    assert replies == read(stream)
    assert reader.is_empty


def test_a_reply_that_is_not_whole_yet_is_waited_for() -> None:
    reader = ReplyReader()
    reader.feed(b"250-first\r\n250 sec")

    assert reader.next() is None
    assert not reader.is_empty


def test_the_lines_of_a_long_reply_are_kept_for_ehlo() -> None:
    reader = ReplyReader()
    reader.feed(b"250-relay.test\r\n250-SIZE 100\r\n250 PIPELINING\r\n")
    reader.next()

    assert reader.lines == (b"relay.test", b"SIZE 100", b"PIPELINING")

    reader.feed(b"250 relay.test\r\n")
    reader.next()

    assert not reader.lines


@pytest.mark.parametrize(
    "data",
    [
        b"hello\r\n",
        b"\r\n",
        b"25 ok\r\n",
        b"2500 ok\r\n",
        b"600 ok\r\n",
        b"099 ok\r\n",
        b"250\tok\r\n",
        b" 250 ok\r\n",
        b"\xff\xfe\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"250-a\r\n550 b\r\n",
        b"250-a\r\nb\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(BadReply):
        read(data)


def test_the_caps_hold_for_a_line_the_lines_and_the_whole() -> None:
    """M-04: an endless reply must not fill the memory."""
    longest = b"250 " + b"x" * (MAX_LINE - 6) + b"\r\n"
    assert len(longest) == MAX_LINE
    assert read(longest)[0].code == 250
    assert read(b"250-x\r\n" * (MAX_LINES - 1) + b"250 x\r\n")[0].code == 250

    for data in (
        b"250 " + b"x" * (MAX_LINE - 5) + b"\r\n",
        b"250 " + b"x" * MAX_LINE,  # its end is not here yet
        b"250-x\r\n" * MAX_LINES + b"250 x\r\n",
        (b"250-" + b"x" * 2000 + b"\r\n") * 40,
    ):
        with pytest.raises(BadReply):
            read(data)


@given(st.binary(max_size=3000))
def test_any_bytes_give_replies_or_bad_reply_and_nothing_else(data: bytes) -> None:
    try:
        replies = read(data)
    except BadReply:
        return
    for reply in replies:
        assert 100 <= reply.code <= 599
        assert len(reply.text) <= MAX_TEXT
        assert reply.text.isprintable()


@given(st.binary(max_size=3000))
def test_printable_text_is_one_line_that_can_be_stored(data: bytes) -> None:
    text = printable(data)

    assert text.isprintable()
    assert len(text) <= MAX_TEXT
    text.encode()


def test_control_characters_and_direction_marks_are_escaped() -> None:
    assert printable(b"a\x00\x1b[31m\r\xe2\x80\xae\xff") == r"a\x00\x1b[31m\r\u202e\xff"
    assert printable("zu spät".encode()) == "zu spät"


def test_a_reply_reads_as_it_came() -> None:
    assert str(Reply(550, "5.1.1", "no such user")) == "550 5.1.1 no such user"
    assert str(Reply(250)) == "250"


# Capabilities


def test_capabilities_are_read_whatever_their_case_and_order() -> None:
    offered = Capabilities.parse(
        [
            b"relay.test at your service",
            b"pipelining",
            b"SIZE 35882577",
            b"AUTH PLAIN LOGIN",
            b"AUTH=LOGIN CRAM-MD5",
            b"STARTTLS",
            b"8BITMIME",
            b"SMTPUTF8",
            b"ENHANCEDSTATUSCODES",
            b"LIMITS MAILMAX=20 RCPTMAX=100",
            b"",
            b"X-UNKNOWN \x00",
        ]
    )

    assert offered.pipelining
    assert offered.starttls
    assert offered.eightbitmime
    assert offered.smtputf8
    assert offered.enhanced
    assert offered.size == 35882577
    assert offered.auth == ("PLAIN", "LOGIN", "CRAM-MD5")
    assert offered.mail_max == 20
    assert "X-UNKNOWN" in offered.keywords


@pytest.mark.parametrize(
    ("line", "size"),
    [(b"SIZE", 0), (b"SIZE 0", 0), (b"SIZE 10", 10), (b"SIZE -1", 0), (b"X", None)],
)
def test_size_without_a_number_is_no_limit(line: bytes, size: int | None) -> None:
    offered = Capabilities.parse([b"relay.test", line])

    assert offered.size == size
    assert offered.refuses_size(11) == (size == 10)


def test_the_greeting_is_not_a_capability() -> None:
    assert Capabilities.parse([b"STARTTLS"]) == Capabilities()
    assert Capabilities.parse([]) == Capabilities()


# Commands


def test_mail_carries_only_parameters_that_were_offered() -> None:
    envelope = Envelope("a@example.com", ("b@example.com",), 1234)

    assert mail_command(envelope, Capabilities()) == b"MAIL FROM:<a@example.com>\r\n"
    sized = mail_command(envelope, Capabilities(size=0, smtputf8=True, eightbitmime=True))
    assert sized == b"MAIL FROM:<a@example.com> SIZE=1234\r\n"


def test_smtputf8_is_said_only_when_the_envelope_needs_it() -> None:
    envelope = Envelope("a@example.com", ("jürgen@example.com",), 9, smtputf8=True)
    offered = Capabilities(smtputf8=True, eightbitmime=True)

    assert mail_command(envelope, offered).endswith(b" BODY=8BITMIME SMTPUTF8\r\n")
    assert rcpt_commands(envelope) == ["RCPT TO:<jürgen@example.com>\r\n".encode()]


def test_the_null_sender_is_an_empty_path() -> None:
    assert mail_command(Envelope("", ("b@x",), 1), Capabilities()) == b"MAIL FROM:<>\r\n"


@pytest.mark.parametrize(
    "address",
    [
        "a@b\r\nRCPT TO:<evil@example.com>",
        "a@b\n",
        "a@b> SIZE=1",
        "<a@b",
        "a b@example.com",
        "a@example.com ",
        "a\x00@example.com",
        "a\x7f@example.com",
        "a\u2028@example.com",
        "a\u202e@example.com",
        "a\x85@example.com",
        "",
        "nobody",
        "@example.com",
        "a@",
        "a@b@c",
        "a" * 65 + "@example.com",
        "a@" + "b" * 253,
        "ü" * 33 + "@example.com",
    ],
)
def test_an_address_that_could_be_read_as_more_than_an_address_is_refused(address: str) -> None:
    """X-02; the text of the error must not show the address."""
    envelope = Envelope("a@example.com", (address,), 1, smtputf8=True)

    with pytest.raises(UnsafeOnWire) as refused:
        rcpt_commands(envelope)
    assert len(address) < 3 or address not in str(refused.value)


def test_a_non_ascii_address_is_refused_without_smtputf8() -> None:
    with pytest.raises(UnsafeOnWire):
        rcpt_commands(Envelope("a@example.com", ("jürgen@example.com",), 1))
    with pytest.raises(UnsafeOnWire):
        mail_command(Envelope("jürgen@example.com", ("b@example.com",), 1), Capabilities())


def test_an_envelope_without_recipients_is_refused() -> None:
    with pytest.raises(UnsafeOnWire):
        rcpt_commands(Envelope("a@example.com", (), 1))


def test_commands_are_printable_ascii_lines() -> None:
    assert command("EHLO", "relay.test") == b"EHLO relay.test\r\n"
    assert command("STARTTLS") == b"STARTTLS\r\n"
    for argument in ("a\r\nb", "a\nb", "\x00", "ü"):
        with pytest.raises(UnsafeOnWire):
            command("EHLO", argument)


# Bodies


@pytest.mark.parametrize(
    ("mime", "wire"),
    [
        (b"A: b\r\n\r\nhi\r\n", b"A: b\r\n\r\nhi\r\n"),
        (b"hi", b"hi\r\n"),
        (b".\r\n", b"..\r\n"),
        (b"a\r\n.\r\nb\r\n", b"a\r\n..\r\nb\r\n"),
        (b"..\r\n...\r\n", b"...\r\n....\r\n"),
        (b"\r\n.\r\n.\r\n", b"\r\n..\r\n..\r\n"),
        (b"", b"\r\n"),
    ],
)
def test_a_dot_that_begins_a_line_is_doubled(mime: bytes, wire: bytes) -> None:
    assert dot_stuff(mime) == wire


@pytest.mark.parametrize(
    "mime",
    [b"a\nb\r\n", b"a\rb\r\n", b"a\r\n.\rb\r\n", b"a\r\r\n", b"a\n\r\n", b"\n.\r\n", b"a\n\rb"],
)
def test_a_lone_cr_or_lf_is_refused(mime: bytes) -> None:
    """X-03: another server may see the end of the message there (SMTP smuggling)."""
    with pytest.raises(UnsafeOnWire):
        dot_stuff(mime)


def test_an_8_bit_byte_is_refused_without_smtputf8() -> None:
    with pytest.raises(UnsafeOnWire):
        dot_stuff(b"caf\xc3\xa9\r\n")
    assert dot_stuff(b"caf\xc3\xa9\r\n", smtputf8=True) == b"caf\xc3\xa9\r\n"


@given(st.lists(st.sampled_from([b".", b"..", b"", b"a", b".a", b"a."]), max_size=30))
def test_no_message_contains_its_own_end_and_every_one_comes_back(lines: list[bytes]) -> None:
    mime = b"\r\n".join(lines) + b"\r\n"
    wire = dot_stuff(mime)

    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    assert (b"\r\n" + wire).replace(b"\r\n.", b"\r\n")[2:] == mime


@given(st.binary(max_size=200))
def test_whatever_the_bytes_nothing_dangerous_gets_out(mime: bytes) -> None:
    try:
        wire = dot_stuff(mime, smtputf8=True)
    except UnsafeOnWire:
        return
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    assert not re.search(rb"\r(?!\n)|(?<!\r)\n", wire)
    assert wire.endswith(b"\r\n")
