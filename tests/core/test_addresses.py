"""Addresses: what is taken, what is refused, when two are the same, what is shown."""

import string
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailworkers.core.addresses import (
    AddressError,
    Mailbox,
    canonical,
    domain,
    envelope_address,
    mask,
    needs_smtputf8,
    parse_mailbox,
)
from tests.core.hostile_values import LINE_BREAKS

LONG_LOCAL = "l" * 64
LONG_DOMAIN = ".".join(["d" * 60] * 3)  # 182 octets: 64 + 1 + 182 is under 254


@pytest.mark.parametrize(
    ("text", "mailbox"),
    [
        ("jane@example.com", Mailbox("", "jane@example.com")),
        ("  jane@example.com ", Mailbox("", "jane@example.com")),
        ("<jane@example.com>", Mailbox("", "jane@example.com")),
        ("Jane Doe <jane@example.com>", Mailbox("Jane Doe", "jane@example.com")),
        ("Jane Doe<jane@example.com>", Mailbox("Jane Doe", "jane@example.com")),
        ('"Jane Doe" <jane@example.com>', Mailbox("Jane Doe", "jane@example.com")),
        ("Doe, Jane <jane@example.com>", Mailbox("Doe, Jane", "jane@example.com")),
        (r'"Jane \"J\" \\ Doe" <jane@example.com>', Mailbox(r'Jane "J" \ Doe', "jane@example.com")),
        ('"<b@example.com>" <jane@example.com>', Mailbox("<b@example.com>", "jane@example.com")),
        ("jane@example.com <jane@example.com>", Mailbox("jane@example.com", "jane@example.com")),
        ("José Müller <jane@example.com>", Mailbox("José Müller", "jane@example.com")),
        ("=?utf-8?q?x?= <jane@example.com>", Mailbox("=?utf-8?q?x?=", "jane@example.com")),
        ("jane@bücher.example", Mailbox("", "jane@bücher.example")),
        ("用户@例え.jp", Mailbox("", "用户@例え.jp")),
    ],
)
def test_a_mailbox_is_read_with_its_name_taken_literally(text: str, mailbox: Mailbox) -> None:
    """Only quotes around the whole name are syntax; the address is kept as it was given."""
    assert parse_mailbox(text) == mailbox


@pytest.mark.parametrize(
    "address",
    [
        "user@localhost",
        "user@test",
        "user@example.com",
        "user@host.invalid",
        "a@b",
        "first.last+tag@sub.example.co.uk",
        "!#$%&'*+/=^_`{|}~-@example.com",
        "o'brien@example.ie",
        "1@1.example",
        "user@xn--bcher-kva.example",
        f"{LONG_LOCAL}@{LONG_DOMAIN}",
    ],
)
def test_ordinary_and_special_domains_are_taken_as_they_are(address: str) -> None:
    """No domain is reserved here: relays for `test` and `localhost` are real to their owners."""
    assert parse_mailbox(address).address == address
    assert envelope_address(address) == address
    assert needs_smtputf8(address) is False


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "@",
        "jane",
        "jane@",
        "@example.com",
        "jane doe@example.com",
        "jane@exam ple.com",
        "jane@@example.com",
        "a@b@example.com",
        "jane@example.com, john@example.com",
        "jane@example.com; john@example.com",
        "jane@example.com, John <john@example.com>",
        "Jane <jane@example.com> <john@example.com>",
        "<jane@example.com",
        "jane@example.com>",
        "Jane <jane@example.com> x",
        "Jane <>",
        "<>",
        '"Jane <jane@example.com>',
        'Ja"ne <jane@example.com>',
        '"Jane" Doe" <jane@example.com>',
        "Friends: jane@example.com;",
        "jane@example.com (Jane)",
        '"jane doe"@example.com',
        '"jane"@example.com',
        ".jane@example.com",
        "jane.@example.com",
        "ja..ne@example.com",
        "jane@.example.com",
        "jane@example..com",
        "jane@example.com.",
        "jane@-example.com",
        "jane@example-.com",
        "jane@exam_ple.com",
        "jane@[127.0.0.1]",
        "jane@127.0.0.1",
        "jane@1",
        "jane@ab--cd.example",
        "jane@xn--zzzzzz.example",
        "jane@☃.example",
        "jane@exa\u00admple.com@",
        "=?utf-8?q?a?=@example.com",
        f"{LONG_LOCAL}l@example.com",
        f"jane@{'d' * 64}.com",
        f"{LONG_LOCAL}@{'.'.join(['d' * 60] * 4)}",
        "é" * 33 + "@example.com",
        "é" * 20 + "@" + LONG_DOMAIN + "." + "d" * 31,
        "a@" + "ü" * 300 + ".com",
        "jane@example.com>\r\nRCPT TO:<john@example.com",
        "jane@example.com SIZE=1",
        "jane\ud800@example.com",
        "jane\u202e@example.com",
        "jane\u200b@example.com",
        "jane@exam\u2028ple.com",
        "Ja\u202ene <jane@example.com>",
        "x" * 1001 + " <jane@example.com>",
        *(f"{value} <jane@example.com>" for value in LINE_BREAKS),
        *(f"jane@example.com{value}" for value in LINE_BREAKS),
    ],
)
def test_what_is_no_single_safe_mailbox_is_refused_with_a_reason(text: str) -> None:
    """Nothing that could end an SMTP command or add a recipient gets through (X-02)."""
    with pytest.raises(AddressError) as refusal:
        parse_mailbox(text)

    assert refusal.value.reason


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("Jane.Doe@Example.COM", "jane.doe@example.com"),
        ("jane@BÜCHER.example", "jane@xn--bcher-kva.example"),
        ("jane@bu\u0308cher.example", "jane@xn--bcher-kva.example"),
        ("jane@XN--BCHER-KVA.example", "jane@xn--bcher-kva.example"),
        ("jane@straße.example", "jane@xn--strae-oqa.example"),
        ("jane@b\uff41d.example", "jane@bad.example"),
        ("jane@例え。jp", "jane@xn--r8jz45g.jp"),
        ("JÜRGEN@example.com", "jÜrgen@example.com"),
        ("ju\u0308rgen@example.com", "jürgen@example.com"),
        ("mıke@example.com", "mıke@example.com"),
        ("Jane+Tag@example.com", "jane+tag@example.com"),
        ("j.a.n.e@example.com", "j.a.n.e@example.com"),
    ],
)
def test_the_canonical_form_folds_the_domain_and_ascii_letters_only(
    address: str, expected: str
) -> None:
    """CVE-2019-19844: Unicode case folding would take two people for one (X-16)."""
    assert canonical(address) == expected
    assert canonical(expected) == expected


SAME_PERSON = [
    form
    for host in (
        "bücher.example",
        "BÜCHER.Example",
        "xn--bcher-kva.example",
        "bu\u0308cher.EXAMPLE",
    )
    for local in ("jane.doe", "Jane.Doe", "JANE.DOE")
    for form in (
        f"{local}@{host}",
        f" {local}@{host} ",
        f"<{local}@{host}>",
        f'"Doe, Jane" <{local}@{host}>',
    )
]


@pytest.mark.parametrize("text", SAME_PERSON)
def test_no_way_of_writing_an_address_escapes_suppression(text: str) -> None:
    """Case, IDN form, blanks and display names all lead to one canonical form (X-21)."""
    assert canonical(parse_mailbox(text).address) == "jane.doe@xn--bcher-kva.example"


@pytest.mark.parametrize(
    ("address", "envelope", "smtputf8", "host"),
    [
        ("Jane@Example.com", "Jane@Example.com", False, "example.com"),
        ("Jane@Bücher.example", "Jane@xn--bcher-kva.example", False, "xn--bcher-kva.example"),
        ("Jürgen@example.com", "Jürgen@example.com", True, "example.com"),
        ("用户@例え.jp", "用户@xn--r8jz45g.jp", True, "xn--r8jz45g.jp"),
    ],
)
def test_the_envelope_has_a_labels_and_the_local_part_as_given(
    address: str, envelope: str, smtputf8: bool, host: str
) -> None:
    """A local part is never translated: only SMTPUTF8 can carry a non-ASCII one (X-17)."""
    assert envelope_address(address) == envelope
    assert needs_smtputf8(address) is smtputf8
    assert domain(address) == host


def test_a_local_part_has_every_character_but_the_special_ones_of_ascii() -> None:
    """RFC 5322 section 3.2.3 lists atext, RFC 6532 section 3.2 adds all that is not ASCII."""
    atext = set(string.ascii_letters + string.digits + "!#$%&'*+-/=?^_`{|}~")
    beyond = {"\u00e9", "\u05d0", "\u3042", "\U0001f600"}
    taken = set()
    for character in {*map(chr, range(128)), *beyond}:
        with suppress(AddressError):
            canonical(f"a{character}b@example.com")
            taken.add(character)

    assert taken == atext | beyond | {"."}


@pytest.mark.parametrize("function", [canonical, envelope_address, domain])
@pytest.mark.parametrize("address", ["a b@example.com", "Jane <jane@example.com>", "a@b\n", "x"])
def test_only_bare_valid_addresses_have_forms(function: object, address: str) -> None:
    """Whatever reaches SMTP or a header through these has been checked."""
    with pytest.raises(AddressError):
        function(address)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("jane@example.com", "j***@example.com"),
        ("j@example.com", "j***@example.com"),
        ("用户@例え.jp", "用***@例え.jp"),
        ("", "***"),
        ("jane", "***"),
        ("@example.com", "***"),
        ("a secret text", "***"),
        ("a@b with a secret", "***"),
        ("jane@example.com\nforged log line", "***"),
        ("a@" + "b" * 300, "***"),
    ],
)
def test_a_masked_address_shows_a_letter_and_the_domain(address: str, shown: str) -> None:
    """Logs never carry a whole address, and never text that is none."""
    assert mask(address) == shown


@settings(deadline=None, database=None, max_examples=200)
@given(st.text(max_size=60) | st.from_regex(r"\A[ -~é]{0,20}<?[ -~üé]{1,30}@[ -~ü]{1,20}>?\Z"))
def test_any_text_is_a_safe_address_or_refused(text: str) -> None:
    """What passes can stand in an SMTP command; canonical forms are stable."""
    try:
        address = envelope_address(parse_mailbox(text).address)
    except AddressError:
        return

    assert not set(address) & set(' \t\r\n<>"(),;:\\[]\x00')
    assert address.count("@") == 1
    assert domain(address).isascii()
    assert len(address.encode()) <= 254
    assert envelope_address(address) == address
    assert canonical(canonical(address)) == canonical(address)
