"""DKIM: final messages signed for a domain (RFC 6376, RFC 8301, RFC 8463).

`sign` is a function of its arguments, as RSA with PKCS #1 v1.5 and Ed25519 are: the same message,
keys and time give the same bytes. Always relaxed/relaxed and SHA-256, and always the whole body: no
`l=`, under which anybody may append, and no `x=`, since a retry may be days later than the signing.

Each signed header is listed once more than it occurs, so that a second From or Subject, which a
reader might show instead, breaks the signature (RFC 6376 section 8.15). To, Cc, Reply-To and
Subject are sealed like that even where they do not occur.
"""

import hashlib
import re
from binascii import b2a_base64
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from functools import lru_cache

import msgspec

from mailworkers.core.addresses import AddressError, canonical, domain
from mailworkers.core.dkim_canonical import relaxed_body, relaxed_fields
from mailworkers.core.headers import LINE, fold

HEADER = "DKIM-Signature"

# RFC 6376 section 5.4.1; the two of RFC 8058, which section 4 there demands; what one mail provider
# or another only believes when it is signed (Feedback-ID, Auto-Submitted). No trace headers and no
# X-... ones: relays add and change those.
SIGNED = (
    "from",
    "to",
    "cc",
    "reply-to",
    "subject",
    "date",
    "message-id",
    "in-reply-to",
    "references",
    "mime-version",
    "content-type",
    "content-transfer-encoding",
    "auto-submitted",
    "feedback-id",
    "list-id",
    "list-unsubscribe",
    "list-unsubscribe-post",
    "list-subscribe",
    "list-help",
    "list-owner",
    "list-post",
    "list-archive",
)
SEALED = frozenset({"from", "to", "cc", "reply-to", "subject"})

_LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_SELECTOR = re.compile(rf"{_LABEL}(?:\.{_LABEL})*", re.ASCII)
_MAX_RECORD_NAME = 253


class Algorithm(StrEnum):
    """The kind of a key, as the tag `k=` of its record says it; `a=` adds `-sha256`."""

    RSA = "rsa"
    ED25519 = "ed25519"


class SigningKey(msgspec.Struct, frozen=True):
    """What signs for *domain*, and where verifiers find its public half.

    *sign* takes the SHA-256 digest of what is signed and returns the signature of it.
    """

    domain: str
    selector: str
    algorithm: Algorithm
    sign: Callable[[bytes], bytes]


class Keyring(msgspec.Struct, frozen=True):
    """The keys that sign, by the domain they sign for."""

    keys: Mapping[str, tuple[SigningKey, ...]]

    def sign(self, mime: bytes, *, sender_domain: str, at: datetime) -> bytes:
        """Return *mime*, whose From is in *sender_domain*, signed, or as it is without a key."""
        found = signing_domain(sender_domain, self.keys)
        return sign(mime, self.keys[found], at=at) if found else mime


def signing_domain(sender_domain: str, domains: Collection[str]) -> str | None:
    """Return which of *domains* signs for a From in *sender_domain*: itself or the nearest parent.

    A parent's signature is aligned with the From where DMARC is relaxed (RFC 7489 section 3.1.1).
    """
    name = sender_domain
    while name not in domains:
        _, dot, name = name.partition(".")
        if not dot:
            return None
    return name


def sign(mime: bytes, keys: Sequence[SigningKey], *, at: datetime) -> bytes:
    """Return *mime* with a signature header for each of *keys* on top, made *at* that time.

    *mime* has CRLF line ends only and a blank line after its header, as `compose` writes it.
    """
    body = mime.index(b"\r\n\r\n") + 4
    names, signed = _signed_fields(relaxed_fields(mime[: body - 2]))
    digest = hashlib.sha256(relaxed_body(mime[body:])).digest()
    end = f"{_names_tag(names)}\r\n bh={_base64(digest)};\r\n b="
    headers = [_signature(key, end, signed, at) for key in keys]
    return b"".join([*headers, mime])


def _signature(key: SigningKey, end: str, signed: bytes, at: datetime) -> bytes:
    """Return the header by which *key* signs the canonical fields *signed*.

    What is signed of this header itself has an empty `b=` and no CRLF (RFC 6376 section 3.7).
    """
    unsigned = f"{HEADER}: {_start(key, int(at.timestamp()))}{end}".encode()
    ((_, own),) = relaxed_fields(unsigned + b"\r\n")
    digest = hashlib.sha256(signed + own[:-2]).digest()
    text = _base64(key.sign(digest))
    first = LINE - len(" b=")
    lines = [text[:first], *(text[i : i + LINE - 1] for i in range(first, len(text), LINE - 1))]
    return b"%b%b\r\n" % (unsigned, "\r\n ".join(lines).encode())


def _start(key: SigningKey, seconds: int) -> str:
    tags = (
        "v=1;",
        f"a={key.algorithm}-sha256;",
        "c=relaxed/relaxed;",
        f"d={key.domain};",
        f"s={key.selector};",
        f"t={seconds};",
    )
    return fold(HEADER, tags)


@lru_cache(maxsize=256)
def _names_tag(names: tuple[str, ...]) -> str:
    """Return the tag `h=`, which may be divided after any colon, on lines of its own."""
    lines = [" h="]
    for name in names:
        if len(lines[-1]) + len(name) + 1 > LINE:
            lines.append(" ")
        lines[-1] += f"{name}:"
    return "".join(f"\r\n{line}" for line in lines)[:-1] + ";"


def _signed_fields(fields: Sequence[tuple[str, bytes]]) -> tuple[tuple[str, ...], bytes]:
    """Return the names for `h=`, and the canonical fields in that order.

    Of several fields of one name the lowest comes first (RFC 6376 section 5.4.2); the name that is
    listed once more finds none and stands for that there is none.
    """
    found: dict[str, list[bytes]] = {}
    for name, field in fields:
        found.setdefault(name, []).append(field)
    names: list[str] = []
    signed: list[bytes] = []
    for name in SIGNED:
        if name in found:
            signed += reversed(found[name])
            names += [name] * (len(found[name]) + 1)
        elif name in SEALED:
            names.append(name)
    return tuple(names), b"".join(signed)


def _base64(data: bytes) -> str:
    return b2a_base64(data, newline=False).decode()


def record_name(domain_name: str, selector: str) -> str:
    """Return where verifiers look for the key *selector* of a domain (RFC 6376 section 3.6.2.1)."""
    return f"{selector}._domainkey.{domain_name}"


def parse_selectors(text: str) -> dict[str, tuple[str, ...]]:
    """Return the selectors in *text*, `domain:selector` comma separated, by domain (A-labels).

    Raises ValueError with the reason.
    """
    found: dict[str, tuple[str, ...]] = {}
    for word in filter(None, map(str.strip, text.split(","))):
        written, _, selector = word.partition(":")
        name = parse_domain(written)
        check_selector(selector)
        if len(record_name(name, selector)) > _MAX_RECORD_NAME:
            raise ValueError(f"names a record longer than {_MAX_RECORD_NAME} characters")
        if selector in found.get(name, ()):
            raise ValueError(f"names {name}:{selector} twice")
        found[name] = (*found.get(name, ()), selector)
    return found


def parse_domain(text: str) -> str:
    """Return the domain *text* as lower-case A-labels, or raise ValueError with the reason."""
    try:
        return domain(canonical(f"x@{text}"))
    except AddressError as error:
        raise ValueError(f"has a domain that cannot be used ({error})") from None


def check_selector(text: str) -> None:
    """Raise ValueError unless *text* can be a selector: labels of a host name, in lower case."""
    if not _SELECTOR.fullmatch(text):
        raise ValueError("has a selector that is not made of a-z, 0-9 and -, dots between")
