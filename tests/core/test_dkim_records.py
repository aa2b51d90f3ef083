"""The DNS record of a key: written so that every zone file takes it, and a published one judged."""

import base64
import re

import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailworkers.core.dkim import Algorithm
from mailworkers.core.dkim_records import (
    PublicKey,
    Published,
    judge_published,
    record_for,
)
from tests.dkim_keys import key

DOMAIN = "example.com"
RSA = key(DOMAIN, "r2026").public
ED25519 = key(DOMAIN, "e2026", Algorithm.ED25519).public
P = base64.b64encode(RSA.encoded).decode()
P_ED = base64.b64encode(ED25519.encoded).decode()


def test_a_record_says_the_kind_and_the_key() -> None:
    """RFC 6376 section 3.6.1, RFC 8463 section 4.2: 32 bytes of Ed25519 without a frame."""
    assert record_for(DOMAIN, "r2026", RSA).text == f"v=DKIM1; k=rsa; p={P}"
    assert record_for(DOMAIN, "e2026", ED25519).text == f"v=DKIM1; k=ed25519; p={P_ED}"
    assert len(ED25519.encoded) == 32
    assert record_for(DOMAIN, "r2026", RSA).name == "r2026._domainkey.example.com"


def test_a_long_record_stands_in_strings_of_255() -> None:
    """RFC 1035 section 3.3; verifiers join them without a blank (RFC 6376 section 3.6.2.2)."""
    record = record_for(DOMAIN, "r2026", RSA)

    assert len(record.pieces) == 2
    assert max(map(len, record.pieces)) == 255
    assert "".join(record.pieces) == record.text


def test_the_line_for_a_zone_file_reads_back_as_the_text() -> None:
    """RFC 1035 section 5.1: strings in quotes, lines held together by parentheses."""
    line = record_for(DOMAIN, "r2026", RSA).zone_line
    soa = "@ 3600 IN SOA ns root 1 2 3 4 5\n@ 3600 IN NS ns\n"

    zone = dns.zone.from_text(f"$TTL 60\n{soa}{line}\n", origin="example.com.", relativize=False)

    (row,) = zone.find_rdataset("r2026._domainkey.example.com.", "TXT")
    assert b"".join(row.strings).decode() == record_for(DOMAIN, "r2026", RSA).text


@pytest.mark.parametrize("public", [RSA, ED25519])
def test_what_we_tell_to_publish_is_well(public: PublicKey) -> None:
    """The judge and the writer agree."""
    text = record_for(DOMAIN, "s", public).text.encode()

    assert judge_published([text], public).found is Published.OK


@pytest.mark.parametrize(
    "text",
    [
        f"v=DKIM1; p={P}",
        f"p={P}",
        f"v=DKIM1;k=rsa;p={P};",
        f"v=DKIM1; k=rsa; p={P} ; ",
        f" v = DKIM1 ; k = rsa ; p = {P[:50]} \t {P[50:]}",
        f"v=DKIM1; h=sha1:sha256; s=email; t=s; n=a note: ours; k=rsa; p={P}",
        f"v=DKIM1; k=rsa; s=*; x-unknown=1; p={P}".replace("x-unknown", "xunknown"),
        f"v=DKIM1; k=rsa; p={base64.b64encode(RSA.other_form or b'').decode()}",
    ],
)
def test_other_ways_to_write_the_same_are_well(text: str) -> None:
    """RFC 6376: blanks, defaults, unknown tags; `p=` in the form that section 3.6.1 names."""
    assert judge_published([text.encode()], RSA).found is Published.OK


WRONG: dict[str, tuple[list[str], Published, str]] = {
    "nothing": ([], Published.NOT_FOUND, "no TXT record"),
    "two": ([f"v=DKIM1; p={P}"] * 2, Published.SEVERAL, "2 TXT records"),
    "another record": (["v=spf1 -all"], Published.MALFORMED, "v=DKIM1"),
    "another thing": (["google-site-verification"], Published.MALFORMED, "no tag=value"),
    "quotes": ([f'"v=DKIM1; k=rsa; p={P}"'], Published.MALFORMED, "quotes"),
    "quotes between": ([f'v=DKIM1; p={P[:200]}" "{P[200:]}'], Published.MALFORMED, "quotes"),
    "backslash": ([f"v=DKIM1\\; k=rsa\\; p={P}"], Published.MALFORMED, "backslash"),
    "cut": ([f"v=DKIM1; k=rsa; p={P}"[:255]], Published.MALFORMED, "base64: the record is cut"),
    "wrong version": ([f"v=DKIM2; p={P}"], Published.MALFORMED, "v=DKIM1"),
    "version not first": ([f"p={P}; v=DKIM1"], Published.MALFORMED, "v=DKIM1"),
    "no key": (["v=DKIM1; k=rsa"], Published.MALFORMED, "no p="),
    "twice": ([f"v=DKIM1; p={P}; p={P}"], Published.MALFORMED, "twice"),
    "empty": ([""], Published.MALFORMED, "no tag=value"),
    "revoked": (["v=DKIM1; k=rsa; p="], Published.REVOKED, "revoked"),
    "wrong kind": ([f"v=DKIM1; k=ed25519; p={P}"], Published.WRONG_TYPE, "k=ed25519"),
    "another key": ([f"v=DKIM1; p={P_ED}"], Published.OTHER_KEY, "another key"),
    "not for mail": ([f"v=DKIM1; s=tlsrpt; p={P}"], Published.RESTRICTED, "s=tlsrpt"),
    "sha1 only": ([f"v=DKIM1; h=sha1; p={P}"], Published.RESTRICTED, "h=sha1"),
    "testing": ([f"v=DKIM1; t=s:y; p={P}"], Published.TESTING, "t=y"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_verifiers_would_not_take_is_named_with_what_to_do(case: str) -> None:
    """Found, in which way it is wrong, and an advice for each."""
    texts, found, told = WRONG[case]

    judgement = judge_published([text.encode() for text in texts], RSA)

    assert judgement.found is found
    assert re.search(re.escape(told), judgement.detail)
    assert judgement.advice


def test_a_record_that_is_no_text_is_malformed() -> None:
    """TXT strings may hold any bytes."""
    assert judge_published([b"\xff\xfe"], RSA).found is Published.MALFORMED


@given(st.binary(max_size=80))
def test_no_record_surprises_the_judge(raw: bytes) -> None:
    """What stands in the DNS is written by others."""
    assert judge_published([raw], RSA).found is not Published.OK
    assert judge_published([b"v=DKIM1; p=" + raw], RSA).found is not Published.OK
