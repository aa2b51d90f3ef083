"""The DNS record that publishes a DKIM key: written, and a published one judged.

RFC 6376 section 3.6.1, RFC 8463 section 4, RFC 8301 for what is too weak. The judgement is what a
strict verifier would find, in the words of the operator who has to mend it.
"""

import binascii
import re
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

from mailworkers.core.dkim import Algorithm, record_name

LONGEST_PIECE = 255  # octets of one string of a TXT record (RFC 1035 section 3.3)

_TAG = re.compile(r"\s*([A-Za-z][A-Za-z0-9_]*)\s*=\s*([\x21-\x3a\x3c-\x7e\s]*?)\s*", re.ASCII)


class PublicKey(msgspec.Struct, frozen=True):
    """The public half of a key, as *encoded* in a record's `p=`.

    *other_form* is the bare RSAPublicKey that RFC 6376 names and hardly anybody publishes.
    """

    algorithm: Algorithm
    encoded: bytes
    other_form: bytes | None = None


class Record(msgspec.Struct, frozen=True):
    """A TXT record to publish: its full name, its text, and the text in strings of 255."""

    name: str
    text: str
    pieces: tuple[str, ...]

    @property
    def zone_line(self) -> str:
        """The record as a zone file has it (RFC 1035 section 5.1), strings on lines of their own.

        Nothing in a key's record needs an escape there.
        """
        quoted = "\n\t".join(f'"{piece}"' for piece in self.pieces)
        return f"{self.name}.\tIN\tTXT\t( {quoted} )"


def record_for(domain: str, selector: str, key: PublicKey) -> Record:
    """Return the record that publishes *key*."""
    encoded = binascii.b2a_base64(key.encoded, newline=False).decode()
    text = f"v=DKIM1; k={key.algorithm}; p={encoded}"
    pieces = (text[i : i + LONGEST_PIECE] for i in range(0, len(text), LONGEST_PIECE))
    return Record(record_name(domain, selector), text, tuple(pieces))


class Published(StrEnum):
    """What was found where a key should be published."""

    OK = "ok"
    NOT_FOUND = "not_found"
    UNAVAILABLE = "unavailable"
    SEVERAL = "several"
    MALFORMED = "malformed"
    REVOKED = "revoked"
    WRONG_TYPE = "wrong_type"
    OTHER_KEY = "other_key"
    RESTRICTED = "restricted"
    TESTING = "testing"


class Judgement(NamedTuple):
    """What was found, in which way it is wrong, and what to do; the latter two empty when well."""

    found: Published
    detail: str = ""
    advice: str = ""


_PUBLISH = "publish the text of `mailworkers dkim record`"


def judge_published(texts: Sequence[bytes], key: PublicKey) -> Judgement:
    """Return what a verifier makes of the TXT records *texts* at the name of *key*."""
    if not texts:
        return Judgement(Published.NOT_FOUND, "there is no TXT record", _PUBLISH)
    if len(texts) > 1:
        detail = f"there are {len(texts)} TXT records, verifiers take any of them or none"
        return Judgement(Published.SEVERAL, detail, "remove all but the right one")
    tags = _tags(texts[0])
    if isinstance(tags, str):
        return Judgement(Published.MALFORMED, tags, _PUBLISH)
    for look in _LOOKS:
        if found := look(tags, key):
            return found
    return Judgement(Published.OK)


def _tags(raw: bytes) -> dict[str, str] | str:
    """Return the tags of a record (RFC 6376 section 3.2), or in which way they are none."""
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return "it is not text"
    tags: dict[str, str] = {}
    for part in text.rstrip("; \t").split(";"):
        found = _TAG.fullmatch(part)
        if not found:
            return f"{part.strip()[:60]!r} is no tag=value: {_likely_cause(text)}"
        if found[1] in tags:
            return f"the tag {found[1]}= stands there twice"
        tags[found[1]] = found[2]
    if tags.get("v", "DKIM1") != "DKIM1" or ("v" in tags and next(iter(tags)) != "v"):
        return f"it does not begin with v=DKIM1: {_likely_cause(text)}"
    if "p" not in tags:
        return "it has no p=, the key"
    return tags


def _likely_cause(text: str) -> str:
    if '"' in text:
        return "quotes were published as part of the text"
    if "\\" in text:
        return "backslashes were published, which only some zone files need"
    return "the record is cut, or of another kind"


Look = Callable[[dict[str, str], PublicKey], Judgement | None]


def _is_revoked(tags: dict[str, str], key: PublicKey) -> Judgement | None:  # noqa: ARG001
    if tags["p"]:
        return None
    advice = "sign with another key, or publish this one again"
    return Judgement(Published.REVOKED, "p= is empty: the key is revoked", advice)


def _has_another_type(tags: dict[str, str], key: PublicKey) -> Judgement | None:
    kind = tags.get("k", "rsa")
    if kind == key.algorithm:
        return None
    detail = f"it says k={kind[:40]}, the key is {key.algorithm}"
    return Judgement(Published.WRONG_TYPE, detail, _PUBLISH)


def _is_another_key(tags: dict[str, str], key: PublicKey) -> Judgement | None:
    try:
        published = binascii.a2b_base64("".join(tags["p"].split()), strict_mode=True)
    except binascii.Error:
        detail = f"p= is not base64: {_likely_cause(tags['p'])}"
        return Judgement(Published.MALFORMED, detail, _PUBLISH)
    if published in (key.encoded, key.other_form):
        return None
    advice = f"{_PUBLISH}, or sign with the key that belongs to it"
    return Judgement(Published.OTHER_KEY, "another key is published there", advice)


def _is_restricted(tags: dict[str, str], key: PublicKey) -> Judgement | None:  # noqa: ARG001
    for tag, needed in (("h", {"sha256"}), ("s", {"*", "email"})):
        allowed = {word.strip() for word in tags.get(tag, "").split(":")}
        if tag in tags and not needed & allowed:
            detail = f"{tag}={tags[tag][:40]} does not allow {' or '.join(sorted(needed))}"
            return Judgement(Published.RESTRICTED, detail, f"remove {tag}= from the record")
    return None


def _is_tried_out(tags: dict[str, str], key: PublicKey) -> Judgement | None:  # noqa: ARG001
    flags = {word.strip() for word in tags.get("t", "").split(":")}
    if "y" not in flags:
        return None
    detail = "t=y: verifiers treat what it signs as if it were not signed"
    return Judgement(Published.TESTING, detail, "remove t=y when you have seen that it verifies")


_LOOKS: tuple[Look, ...] = (
    _is_revoked,
    _has_another_type,
    _is_another_key,
    _is_restricted,
    _is_tried_out,
)
