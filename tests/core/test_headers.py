"""Header values: raw where they can be, encoded where they must, refused by name otherwise."""

import pytest

from mailworkers.core.headers import parameter, seal
from mailworkers.core.mime import ALLOWED_HEADERS, HeaderInjection, MessageError, is_allowed_header
from tests.core.messages import assert_fit_for_the_wire, field_names, parsed, raw

LONG_URL = "https://example.com/unsubscribe?token=" + "A1b2" * 200


@pytest.mark.parametrize(
    ("subject", "wire"),
    [
        ("", b"Subject:\r\n"),
        ("Your code", b"Subject: Your code\r\n"),
        ("Für Sie", b"Subject: =?utf-8?q?F=C3=BCr_Sie?=\r\n"),
        ("Schöne Tage", b"Subject: =?utf-8?q?Sch=C3=B6ne_Tage?=\r\n"),
        ("日本", b"Subject: =?utf-8?b?5pel5pys?=\r\n"),
        ("=?utf-8?q?x?=", b"Subject: =?utf-8?b?PT91dGYtOD9xP3g/PQ==?=\r\n"),
        (" a ", b"Subject: =?utf-8?q?_a_?=\r\n"),
        ("a  b", b"Subject: a  b\r\n"),
        (
            "word " * 14 + "and the last words",
            (
                b"Subject: word word word word word word word word word word word word word\r\n"
                b" word and the last words\r\n"
            ),
        ),
    ],
)
def test_a_subject_is_raw_where_it_can_be_and_encoded_where_it_must(
    subject: str, wire: bytes
) -> None:
    """RFC 2047; what looks like an encoded word is encoded, so that it arrives literally (M-10)."""
    assert wire in raw(subject=subject)


@pytest.mark.parametrize(
    "subject", ["é" * 300, "日本語" * 100, "👩‍👩‍👧" * 50, "x é " * 99, "é" + "w" * 400]
)
def test_long_subjects_fold_into_lines_of_76_without_dividing_a_character(subject: str) -> None:
    """RFC 2047 sections 2 and 5: each word decodes by itself."""
    mime = raw(subject=subject)
    block = mime.partition(b"\r\n\r\n")[0]

    assert max(map(len, block.split(b"\r\n"))) <= 76
    assert parsed(mime)["Subject"] == subject


def test_a_long_unsubscribe_uri_stays_raw_and_whole() -> None:
    """M-11: an encoded word there breaks one-click unsubscribe (RFC 8058)."""
    mime = raw(
        headers=(
            ("list-unsubscribe", f"<{LONG_URL}>,<mailto:u@example.com?subject=x>"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        )
    )

    assert f"\r\nList-Unsubscribe: <{LONG_URL}>,\r\n <mailto:u@example.com?subj".encode() in mime
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in mime
    assert_fit_for_the_wire(mime)


def test_references_fold_between_identifiers() -> None:
    """RFC 5322 section 3.6.4: a broken identifier breaks the thread."""
    identifiers = [f"<part.{n}.{'x' * 30}@mail.example.com>" for n in range(20)]
    mime = raw(headers=(("References", " ".join(identifiers)), ("in-reply-to", identifiers[-1])))

    assert [line.strip() for line in mime.decode().splitlines() if "part." in line] == [
        f"References: {identifiers[0]}",
        *identifiers[1:],
        f"In-Reply-To: {identifiers[-1]}",
    ]


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("List-Id", "<news.example.com>", "List-Id: <news.example.com>"),
        ("List-Id", "Our news <news.example.com>", "List-Id: Our news <news.example.com>"),
        ("list-id", '"J. News" <n.example.com>', 'List-Id: "J. News" <n.example.com>'),
        ("List-Id", "Schöne Tage <n.at>", "List-Id: =?utf-8?q?Sch=C3=B6ne_Tage?= <n.at>"),
        ("List-Post", "NO", "List-Post: NO"),
        ("List-Help", "<mailto:help@example.com>", "List-Help: <mailto:help@example.com>"),
        ("Auto-Submitted", "auto-replied", "Auto-Submitted: auto-replied"),
        ("Precedence", "bulk", "Precedence: bulk"),
        ("Feedback-ID", "1:spring:news:shop", "Feedback-ID: 1:spring:news:shop"),
        ("X-Campaign", "spring 2026", "X-Campaign: spring 2026"),
        ("X-Note", "Schöne Tage", "X-Note: =?utf-8?q?Sch=C3=B6ne_Tage?="),
        ("X-SMTPAPI", '{"k":"' + "v" * 300 + '"}', 'X-SMTPAPI: {"k":"' + "v" * 300 + '"}'),
        ("x-empty", "", "x-empty:"),
    ],
)
def test_a_listed_header_is_written_in_its_own_grammar(name: str, value: str, line: str) -> None:
    """What machines read stays raw; Auto-Submitted is written once."""
    lines = raw(headers=((name, value),)).decode().split("\r\n")

    assert line in lines
    assert sum(1 for written in lines if written.startswith("Auto-Submitted:")) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Unsubscribe", "https://example.com/u"),
        ("List-Unsubscribe", "<javascript:alert(1)>"),
        ("List-Unsubscribe", "<https://example.com/ü>"),
        ("List-Unsubscribe", "<https://example.com/a b>"),
        ("List-Unsubscribe", "<https://example.com/?a=?utf-8?q?x?=>"),
        ("List-Unsubscribe", "<https://example.com/>, <https://example.com/"),
        ("List-Unsubscribe", f"<https://example.com/{'x' * 1000}>"),
        ("List-Unsubscribe", ""),
        ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
        ("List-Unsubscribe-Post", "yes"),
        ("List-Id", "news"),
        ("List-Id", "a <b> <news.example.com>"),
        ("References", "not-an-id"),
        ("References", ""),
        ("In-Reply-To", "<a@b> c"),
        ("Auto-Submitted", "maybe"),
        ("Precedence", "first"),
        ("Feedback-ID", "a b"),
        ("Feedback-ID", ""),
        ("X-Note", "w" * 8001),
    ],
)
def test_a_value_that_is_not_in_its_grammar_is_refused_by_name(name: str, value: str) -> None:
    """The refusal names the header and is no injection: the caller made a mistake."""
    with pytest.raises(MessageError) as refusal:
        raw(headers=((name, value),))

    assert refusal.value.field == name
    assert not isinstance(refusal.value, HeaderInjection)


@pytest.mark.parametrize(
    "name",
    [
        *("From", "Sender", "To", "Cc", "Bcc", "Reply-To", "Subject", "Date", "Message-ID"),
        *("Return-Path", "Received", "DKIM-Signature", "Content-Type", "MIME-Version", "Resent-To"),
        *("", "X-", "X", "X- a", "X-a ", "X-a:b", "X-é", "X-a_b", "X-" + "a" * 49, "=?x?=", "X-a-"),
    ],
)
def test_only_listed_and_x_headers_can_be_added(name: str) -> None:
    """Everything else is ours, the relay's or nobody's; Bcc never stands in the bytes."""
    assert not is_allowed_header(name)
    with pytest.raises(MessageError, match="header name"):
        raw(headers=((name, "value"),))


def test_the_allow_list_is_known_in_any_case() -> None:
    """Producers write names as they like; we write them one way."""
    for name in ALLOWED_HEADERS | {"X-Anything"}:
        assert is_allowed_header(name.upper())


def test_only_x_headers_may_be_repeated() -> None:
    """Two List-Id or two Auto-Submitted would mean whatever the reader likes."""
    assert field_names(raw(headers=(("X-Tag", "a"), ("X-Tag", "b")))).count("X-Tag") == 2
    with pytest.raises(MessageError, match="given twice"):
        raw(headers=(("Precedence", "bulk"), ("precedence", "list")))


@pytest.mark.parametrize(
    "value",
    [
        *("a\r\nBcc: x", "a\nBcc: x", "a\rBcc: x", "a\r\n\r\nbody", "a\r\n", "a\r\n \r\n b"),
        *("a\r\nX-Note: b", "w" * 1000),
    ],
)
def test_the_seal_refuses_a_block_that_is_not_the_one_meant(value: str) -> None:
    """The last line of defence, should a value ever get past the first (X-01)."""
    with pytest.raises(HeaderInjection):
        seal([("X-Note", value), ("X-Other", "b")])


def test_a_parameter_that_looks_encoded_is_written_in_percents() -> None:
    """RFC 2231: never an encoded word inside quotes, which some readers decode."""
    assert parameter("filename", "=?utf-8?q?x?=") == [
        "filename*=utf-8''%3D%3Futf-8%3Fq%3Fx%3F%3D",
    ]
    assert parameter("filename", 'a"b\\c') == ["filename*=utf-8''a%22b%5Cc"]


def test_the_seal_takes_folded_values_and_keeps_their_bytes() -> None:
    """Continuation lines belong to the field above them."""
    assert seal([("A", "b\r\n c"), ("D", "")]) == b"A: b\r\n c\r\nD:\r\n"
