"""A third parser, Perl's Email::MIME as Debian ships it, in a process that reads many messages.

Needs the Debian package libemail-mime-perl.
"""

import base64
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.core.readings import ADDRESS_FIELDS, Part, Reading, is_value

_PROGRAM = r"""
use strict;
use warnings;
use Email::MIME;
use Email::MIME::ContentType qw(parse_content_disposition);
use JSON::PP;
use MIME::Base64 qw(encode_base64);

my %is_address = map { $_ => 1 } qw(From To Cc Reply-To);
my $json = JSON::PP->new->ascii->canonical;
binmode STDIN;
$| = 1;

sub part {
    my $part = shift;
    my ($type) = ($part->content_type // 'text/plain') =~ m{^([^;\s]+)};
    my @parts = $part->subparts;
    my %read = (content_type => lc $type);
    if (@parts) {
        $read{parts} = [map { part($_) } @parts];
        return \%read;
    }
    $read{content} = encode_base64($part->body, '');
    if (defined(my $disposition = $part->header_raw('Content-Disposition'))) {
        my $parsed = parse_content_disposition($disposition);
        $read{disposition} = $parsed->{type};
        $read{filename} = $parsed->{attributes}{filename};
    }
    my $content_id = $part->header_raw('Content-ID');
    $read{content_id} = $content_id =~ /^<(.*)>$/ ? $1 : $content_id if defined $content_id;
    return \%read;
}

sub mailbox { [$_[0]->phrase // '', $_[0]->address] }

while (defined(my $length = <STDIN>)) {
    read(STDIN, my $bytes, $length) == $length or die 'cut off';
    my $message = Email::MIME->new($bytes);
    my @names = $message->header_names;
    my %values = map { $_ => $message->header_str($_) } grep { !$is_address{$_} } @names;
    my %mailboxes;
    for my $name (grep { $is_address{$_} } @names) {
        $mailboxes{$name} = [map { mailbox($_) } $message->header_as_obj($name)->addresses];
    }
    my %read = (
        names => \@names, mailboxes => \%mailboxes,
        values => \%values, root => part($message));
    print $json->encode(\%read), "\n";
}
"""


class PerlReader:
    """The process; `read` gives it one message and returns what it read."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["perl", "-e", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def read(self, mime: bytes) -> Reading:
        """Return what Email::MIME reads in *mime*."""
        process = self._process
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"%d\n%b" % (len(mime), mime))
        process.stdin.flush()
        line = process.stdout.readline()
        if not line:
            said = process.stderr.read().decode()
            if "Can't locate Email/MIME" in said:
                raise RuntimeError("this needs Perl's Email::MIME: package libemail-mime-perl")
            raise AssertionError(said)
        return _reading(json.loads(line))

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def _reading(read: dict[str, Any]) -> Reading:
    return Reading(
        tuple(read["names"]),
        {
            field: tuple((name, address) for name, address in read["mailboxes"][field])
            for field in ADDRESS_FIELDS
            if field in read["mailboxes"]
        },
        {name: value for name, value in read["values"].items() if is_value(name)},
        _part(read["root"]),
    )


def _part(read: dict[str, Any]) -> Part:
    if "parts" in read:
        return Part(read["content_type"], parts=tuple(map(_part, read["parts"])))
    return Part(
        read["content_type"],
        base64.b64decode(read["content"]),
        read.get("disposition"),
        read.get("filename"),
        read.get("content_id"),
    )


@pytest.fixture(scope="session")
def perl() -> Iterator[PerlReader]:
    """Return the process, running."""
    reader = PerlReader()
    yield reader
    reader.close()
