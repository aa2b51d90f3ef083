"""DKIM: what is signed and how it is written, by the standards' own examples and by dkimpy."""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from mailworkers.adapters.dkim_keys import KeyFile
from mailworkers.core.commands import Command, decode_entry
from mailworkers.core.dkim import (
    SEALED,
    SIGNED,
    Algorithm,
    Keyring,
    SigningKey,
    check_selector,
    parse_selectors,
    sign,
    signing_domain,
)
from mailworkers.core.dkim_canonical import relaxed_body, relaxed_fields
from mailworkers.core.intake import Composer, Identity, NewDelivery
from tests.core.entries import DELIVERY_ID, RENDERED, changed, entry
from tests.core.messages import DATE, FILE, assert_fit_for_the_wire, field_names, raw
from tests.core.test_intake import Templates
from tests.dkim_keys import (
    DOMAIN,
    body_hash,
    key,
    published,
    signed_names,
    tags,
    verifies,
)

RSA = key(DOMAIN, "r2026")
ED25519 = key(DOMAIN, "e2026", Algorithm.ED25519)
BOTH = (RSA, ED25519)
RECORDS = published(*BOTH)
NEWSLETTER = (
    ("List-Id", "News <news.example.com>"),
    ("List-Unsubscribe", "<https://example.com/u?id=0123456789>, <mailto:leave@example.com>"),
    ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ("References", "<a@example.com> <b@example.com>"),
    ("In-Reply-To", "<b@example.com>"),
    ("Feedback-ID", "news:example"),
)


def signed(mime: bytes, *keys: KeyFile, at: datetime = DATE) -> bytes:
    """Return *mime* signed with *keys*, or with the RSA key and the Ed25519 key."""
    return sign(mime, [file.signing for file in keys or BOTH], at=at)


# The standards' examples.


def test_the_relaxed_header_of_the_standard() -> None:
    """RFC 6376 section 3.4.5, example 1."""
    block = b"A: X\r\nB : Y\t\r\n\tZ  \r\n"

    assert relaxed_fields(block) == [("a", b"a:X\r\n"), ("b", b"b:Y Z\r\n")]


def test_the_relaxed_body_of_the_standard() -> None:
    """RFC 6376 section 3.4.5, example 1."""
    assert relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"


@pytest.mark.parametrize("body", [b"", b"\r\n", b"\r\n\r\n", b" \r\n", b" \t \r\n\r\n", b" "])
def test_an_empty_body_has_the_hash_of_the_standard(body: bytes) -> None:
    """RFC 6376 section 3.4.4: null input; the hash stands there."""
    digest = hashlib.sha256(relaxed_body(body)).digest()

    assert base64.b64encode(digest) == b"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_a_body_without_a_final_line_end_gets_one() -> None:
    """RFC 6376 section 3.4.3, which section 3.4.4 follows."""
    assert relaxed_body(b"a") == relaxed_body(b"a \t") == b"a\r\n"


FOOTBALL = (
    b"From: Joe SixPack <joe@football.example.com>\r\n"
    b"To: Suzie Q <suzie@shopping.example.net>\r\n"
    b"Subject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
)
FOOTBALL_BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
FOOTBALL_HASH = "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
BRISBANE = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    b" subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b="
)
BRISBANE_SIGNATURE = (
    "/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
)
BRISBANE_SECRET = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
TEST = (
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n"
    b" date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b="
)
TEST_SIGNATURE = (
    "F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3"
    "DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz"
    "dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8="
)
TEST_PUBLIC = (
    "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/"
    "J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBf"
    "O2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB"
)


def football_input(signature: bytes) -> bytes:
    """Return what is signed of the standard's message with the header *signature*."""
    fields = b"".join(field for _, field in relaxed_fields(FOOTBALL))
    ((_, own),) = relaxed_fields(signature + b"\r\n")
    return fields + own.removesuffix(b"\r\n")


def test_the_body_hash_of_the_standard() -> None:
    """RFC 8463 appendix A.3."""
    digest = hashlib.sha256(relaxed_body(FOOTBALL_BODY)).digest()

    assert base64.b64encode(digest).decode() == FOOTBALL_HASH


def test_the_ed25519_signature_of_the_standard_is_made_again() -> None:
    """RFC 8463 appendix A: what is signed is the SHA-256 digest, by Ed25519 itself."""
    secret = Ed25519PrivateKey.from_private_bytes(base64.b64decode(BRISBANE_SECRET))

    made = secret.sign(hashlib.sha256(football_input(BRISBANE)).digest())

    assert base64.b64encode(made).decode() == BRISBANE_SIGNATURE


def test_the_rsa_signature_of_the_standard_is_valid_over_our_form() -> None:
    """RFC 8463 appendix A; `verify` raises otherwise."""
    public = serialization.load_der_public_key(base64.b64decode(TEST_PUBLIC))
    assert isinstance(public, RSAPublicKey)

    public.verify(
        base64.b64decode(TEST_SIGNATURE), football_input(TEST), PKCS1v15(), hashes.SHA256()
    )


def test_our_signature_over_the_standards_message_has_its_body_hash() -> None:
    """The same body, whoever signs."""
    mime = signed(FOOTBALL + b"\r\n" + FOOTBALL_BODY)

    assert tags(mime)["bh"] == FOOTBALL_HASH
    assert verifies(mime, RECORDS) == [True, True]


# What is written.


def test_a_message_gets_one_signature_of_each_kind_and_both_are_valid() -> None:
    """RFC 8463 section 3: verifiers take the one they know."""
    mime = signed(raw(text="Hello\n", html="<p>Hello", attachments=(FILE,)))

    assert verifies(mime, RECORDS) == [True, True]
    assert field_names(mime)[:3] == ["DKIM-Signature", "DKIM-Signature", "From"]
    assert tags(mime)["a"] == "rsa-sha256"
    assert b" a=ed25519-sha256; " in mime


def test_the_message_below_the_signatures_is_untouched() -> None:
    """Signing adds headers; retries send these bytes."""
    mime = raw()

    assert signed(mime).endswith(mime)


def test_the_same_arguments_give_the_same_bytes() -> None:
    """RSASSA-PKCS1-v1_5 and Ed25519 have no chance in them."""
    assert signed(raw()) == signed(raw())


def test_the_tags_say_who_signed_when_and_how() -> None:
    """RFC 6376 section 3.5; no `l=`, under which anybody may append, and no `x=`."""
    found = tags(signed(raw(), at=DATE + timedelta(milliseconds=999)))

    assert {name: found[name] for name in "vacdst"} == {
        "v": "1",
        "a": "rsa-sha256",
        "c": "relaxed/relaxed",
        "d": DOMAIN,
        "s": "r2026",
        "t": str(int(DATE.timestamp())),
    }
    assert found.keys() == {*"vacdsth", "bh", "b"}


def test_both_signatures_claim_one_body_hash() -> None:
    """It is computed once."""
    mime = signed(raw())
    first, second = body_hash(mime), body_hash(mime[mime.index(b"DKIM-Signature", 1) :])

    assert first == second == hashlib.sha256(b"Hello Jane\r\n").digest()


def test_the_header_is_folded_like_all_others() -> None:
    """At 76; a message stays fit for the wire."""
    mime = signed(raw(headers=NEWSLETTER))

    block = mime.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert max(map(len, block)) <= 78
    assert_fit_for_the_wire(mime)


def test_a_domain_of_the_longest_kind_is_carried_whole() -> None:
    """Such a line cannot be folded; it stays below 998, and it verifies."""
    domain = ".".join(["a" * 60] * 4)
    file = key(domain, ".".join(["s" * 49] * 2))

    mime = signed(raw(), file)

    assert verifies(mime, published(file)) == [True]
    assert max(map(len, mime.split(b"\r\n"))) < 400


# What is signed.


@pytest.mark.parametrize("name", sorted(SEALED))
def test_no_header_that_people_read_can_be_added_where_it_is_missing(name: str) -> None:
    """RFC 6376 section 8.15: a second From or Subject is what a reader might show."""
    mime = signed(raw())
    added = b"%b: added\r\n" % name.encode()

    assert verifies(added + mime, RECORDS) == [False, False]
    assert verifies(mime.replace(b"\r\n\r\n", b"\r\n" + added + b"\r\n", 1), RECORDS) == [False] * 2


def test_every_header_that_counts_is_listed_once_more_than_it_occurs() -> None:
    """So no second one of any can be added; what does not occur and may be added is not listed."""
    mime = signed(raw(headers=NEWSLETTER))
    occurring = [name.lower() for name in field_names(mime)]

    names = signed_names(mime)

    for name in SIGNED:
        expected = occurring.count(name) + 1 if name in occurring else int(name in SEALED)
        assert names.count(name) == expected, name
    assert "list-unsubscribe" not in signed_names(signed(raw()))


def test_all_that_we_write_is_signed_but_custom_headers() -> None:
    """A header that the composer learns must be put into the list, or left out on purpose."""
    mime = signed(raw(headers=(*NEWSLETTER, ("X-Order", "4711"))))

    written = {name.lower() for name in field_names(mime)}
    assert written - set(signed_names(mime)) == {"dkim-signature", "x-order"}


def test_one_click_unsubscribing_is_signed() -> None:
    """RFC 8058 section 4: both headers, or receivers do not offer it."""
    mime = signed(raw(headers=NEWSLETTER))

    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(signed_names(mime))
    assert verifies(mime, RECORDS) == [True, True]
    assert verifies(mime.replace(b"id=0123", b"id=9123"), RECORDS) == [False, False]


def test_of_several_headers_of_one_name_the_lowest_is_signed_first() -> None:
    """RFC 6376 section 5.4.2; our own messages never have two."""
    mime = signed(raw().replace(b"To:", b"To: first@example.com\r\nTo:", 1))

    assert signed_names(mime).count("to") == 3
    assert verifies(mime, RECORDS) == [True, True]


def test_an_address_beyond_ascii_is_signed_as_it_is() -> None:
    """RFC 8616: the bytes count, whatever they spell."""
    mime = signed(raw().replace(b"jane@", "jäne@".encode()))

    assert verifies(mime, RECORDS) == [True, True]


@pytest.mark.parametrize("blanks", [0, 1, 2000])
def test_a_long_body_is_hashed_alike_on_both_ways(blanks: int) -> None:
    """Where blanks are rare they are looked at one by one, and else replaced: no difference."""
    line = b"x" * 76 + b"\r\n"
    body = line * 400 + b"a b  c\t \r\n" * blanks + line * 400

    expected = line * 400 + b"a b c\r\n" * blanks + line * 400
    assert relaxed_body(body) == expected


# Which key signs.


@pytest.mark.parametrize(
    ("sender", "domains", "found"),
    [
        ("example.com", {"example.com"}, "example.com"),
        ("mail.example.com", {"example.com"}, "example.com"),
        ("a.b.example.com", {"example.com", "b.example.com"}, "b.example.com"),
        ("example.com", {"mail.example.com"}, None),
        ("badexample.com", {"example.com"}, None),
        ("example.com.evil.test", {"example.com"}, None),
        ("localhost", {"example.com"}, None),
        ("example.com", set(), None),
    ],
)
def test_a_domain_signs_for_itself_and_below(
    sender: str, domains: set[str], found: str | None
) -> None:
    """RFC 7489 section 3.1.1: relaxed alignment; the nearest domain that has keys."""
    assert signing_domain(sender, domains) == found


def composed(sender: str) -> bytes:
    """Return the message an installation with keys for example.com makes of a command."""
    command = decode_entry(entry(changed(RENDERED, {"from": sender})))
    assert isinstance(command, Command)
    allowed = frozenset({DOMAIN, f"shop.{DOMAIN}", "example.org"})
    composer = Composer(
        identity=Identity(f"mail@{DOMAIN}", allowed),
        renderer=Templates(),
        keyring=Keyring({DOMAIN: (RSA.signing, ED25519.signing)}),
    )
    made = composer.compose(
        command, delivery_id=UUID(DELIVERY_ID), now=datetime(2026, 11, 21, 10, tzinfo=UTC)
    )
    assert isinstance(made, NewDelivery)
    return made.mime


def test_intake_signs_for_the_domain_of_the_from() -> None:
    """The bytes of the delivery are the signed ones; a subdomain is signed by its parent."""
    for sender in ("mail@example.com", "Shop <news@shop.example.com>"):
        mime = composed(sender)

        assert verifies(mime, RECORDS) == [True, True]
        assert tags(mime)["d"] == DOMAIN


def test_a_from_without_a_key_leaves_unsigned() -> None:
    """A signature of another domain would help nobody."""
    assert b"DKIM" not in composed("mail@example.org")


def test_a_key_that_fails_refuses_the_command_and_no_other() -> None:
    """M-15: nothing a command does ends the role."""

    def broken(digest: bytes) -> bytes:
        raise RuntimeError("no")

    failing = SigningKey(DOMAIN, "s", Algorithm.RSA, broken)
    command = decode_entry(entry())
    assert isinstance(command, Command)
    composer = Composer(
        identity=Identity(f"mail@{DOMAIN}"),
        renderer=Templates(),
        keyring=Keyring({DOMAIN: (failing,)}),
    )

    made = composer.compose(command, delivery_id=UUID(DELIVERY_ID), now=DATE)

    assert not isinstance(made, NewDelivery)


# The names of keys.


def test_selectors_are_read_by_domain() -> None:
    """MAIL_DKIM_SELECTORS; domains as A-labels in lower case."""
    text = "example.org:s2026a, Example.ORG:s2026b,bücher.example:x.y,"

    assert parse_selectors(text) == {
        "example.org": ("s2026a", "s2026b"),
        "xn--bcher-kva.example": ("x.y",),
    }


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("example.org", "selector"),
        ("example.org:", "selector"),
        (":s1", "domain"),
        ("a b:s1", "domain"),
        ("../etc:s1", "domain"),
        ("example.org:../../x", "selector"),
        ("example.org:s1:x", "selector"),
        ("example.org:a/b", "selector"),
        ("example.org:-a", "selector"),
        ("example.org:a..b", "selector"),
        ("example.org:.", "selector"),
        ("example.org:S1", "selector"),
        ("example.org:s1,example.org:s1", "twice"),
        (f"{'a.' * 110}example:{'s' * 63}", "longer"),
    ],
)
def test_what_names_no_key_is_refused(text: str, reason: str) -> None:
    """Both become parts of a path and of a DNS name."""
    with pytest.raises(ValueError, match=reason):
        parse_selectors(text)


def test_a_label_of_a_selector_has_63_characters_at_most() -> None:
    """RFC 1035 section 2.3.4."""
    check_selector("s" * 63)
    with pytest.raises(ValueError, match="selector"):
        check_selector("s" * 64)
