"""A second verifier, Perl's Mail::DKIM as Debian ships it, against a real nameserver.

It is old enough not to know Ed25519, as many receivers are: the RSA signature must satisfy it
whatever stands beside it. Needs the Debian package libmail-dkim-perl.
"""

import subprocess
from pathlib import Path

import pytest

from mailworkers.core.addresses import Mailbox
from mailworkers.core.dkim import Algorithm, sign
from tests.core.messages import DATE, FILE, raw
from tests.dkim_keys import key, published
from tests.nameserver import Nameserver, nameserver

__all__ = ["nameserver"]

DOMAIN = "example.com"
RSA = key(DOMAIN, "r2026")
ED25519 = key(DOMAIN, "e2026", Algorithm.ED25519)
VERIFIER = """
use strict;
use Mail::DKIM::Verifier;
use Mail::DKIM::DNS;
use Net::DNS::Resolver;

my $port = shift;
Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
    nameservers => ['127.0.0.1'], port => $port, recurse => 1, retry => 2, udp_timeout => 10));
for my $file (@ARGV) {
    my $verifier = Mail::DKIM::Verifier->new();
    open my $input, '<:raw', $file or die "$file: $!";
    local $/ = undef;
    $verifier->PRINT(<$input>);
    $verifier->CLOSE;
    my @results = map { $_->algorithm . '=' . $_->result } $verifier->signatures;
    print join(' ', $verifier->result, sort @results), "\\n";
}
"""
MESSAGES = {
    "text": raw(),
    "text and html with blanks": raw(text="a  b\t c\n\n\n", html="<p>\n    <b>x</b>  \n" * 30),
    "quoted-printable": raw(text="Grüße aus Köln = schön \n" * 20),
    "base64": raw(text="日本語の本文です。\n" * 20, subject="日本語の件名" * 10),
    "attachments": raw(html="<p>x", attachments=(FILE,)),
    "many recipients": raw(to=tuple(Mailbox("Ärger", f"r{n}@example.com") for n in range(40))),
    "one click": raw(
        headers=(
            ("List-Unsubscribe", "<https://example.com/u?" + "x" * 300 + ">"),
            ("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
            ("References", " ".join(f"<{n}@example.com>" for n in range(20))),
        )
    ),
}


def verdicts(nameserver: Nameserver, directory: Path, *mimes: bytes) -> list[str]:
    """Return what Mail::DKIM says of each message: the whole, then each signature."""
    nameserver.records = {name: [text] for name, text in published(RSA, ED25519).items()}
    files = []
    for number, mime in enumerate(mimes):
        files.append(directory / str(number))
        files[-1].write_bytes(mime)
    done = subprocess.run(
        ["perl", "-e", VERIFIER, str(nameserver.port), *files],
        capture_output=True,
        check=False,
        text=True,
    )
    if "Can't locate Mail/DKIM" in done.stderr:
        raise RuntimeError("this test needs Perl's Mail::DKIM: install package libmail-dkim-perl")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow  # needs a package that the other tests do without
def test_mail_dkim_finds_every_kind_of_message_valid(
    nameserver: Nameserver, tmp_path: Path
) -> None:
    """Two implementations that share nothing agree with ours; one changed byte and they do not."""
    mimes = [sign(mime, [RSA.signing, ED25519.signing], at=DATE) for mime in MESSAGES.values()]
    spoilt = [mime[:-20] + bytes([mime[-20] ^ 1]) + mime[-19:] for mime in mimes]

    told = verdicts(nameserver, tmp_path, *mimes, *spoilt)

    assert [line.split()[0] for line in told] == ["pass"] * len(mimes) + ["fail"] * len(spoilt)
    assert all("rsa-sha256=pass" in line for line in told[: len(mimes)])
