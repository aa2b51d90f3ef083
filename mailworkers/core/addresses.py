"""Mail addresses: read, checked, compared, shown (RFC 5321 section 4.1.2, RFC 6531, UTS #46).

An address that passes here can stand in an SMTP command and in a header as it is: a dot-atom, an
at-sign, a host name. Quoted local parts and address literals are refused: real recipients have
none, and both are ways to smuggle.
"""

import re
import unicodedata
from functools import lru_cache

import msgspec

from mailworkers.core.headers import disguise_character, unquote

MAX_ADDRESS = 254  # octets, RFC 5321 section 4.5.3.1.3 and erratum 1690
MAX_LOCAL_PART = 64  # octets, RFC 5321 section 4.5.3.1.1
MAX_TEXT = 1000  # characters of a mailbox as a caller writes it

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
# All beyond ASCII as well (RFC 6532 section 3.2), by what is left out: the other way takes re 3 ms.
_ATEXT_UTF8 = r'[^\x00-\x20"(),.:;<>@\[\\\]\x7f]'
# Labels with hyphens third and fourth are A-labels, or claim to be: the IDNA library judges them.
_LABEL = r"(?![A-Za-z0-9]{2}--|[0-9]*\Z)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*@{_LABEL}(?:\.{_LABEL})*")
_LOCAL = re.compile(rf"{_ATEXT_UTF8}+(?:\.{_ATEXT_UTF8}+)*")
_HOST_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"(?:{_HOST_LABEL}\.)*(?![0-9]*\Z){_HOST_LABEL}")
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class AddressError(ValueError):
    """An address cannot be used; the message says why, without the local part."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Mailbox(msgspec.Struct, frozen=True):
    """A display name, possibly empty, and an address as the caller gave it."""

    name: str
    address: str


def parse_mailbox(text: str) -> Mailbox:
    """Return the one mailbox *text* holds: `a@b`, `<a@b>`, `Name <a@b>` or `"Name" <a@b>`.

    The name is taken literally apart from quotes around the whole of it.
    """
    if _is_plain(text):
        return Mailbox("", text)
    if len(text) > MAX_TEXT:
        raise AddressError(f"longer than {MAX_TEXT} characters")
    if found := disguise_character(text):
        raise AddressError(f"control or bidi character {found}")
    name, address = _split(text.strip(" "))
    _parts(address)
    return Mailbox(name, address)


def _split(text: str) -> tuple[str, str]:
    """Return the name and the address in *text*, the latter unchecked."""
    if not text.endswith(">"):
        return "", text
    before, opened, address = text[:-1].rpartition("<")
    name = unquote(before.strip(" "))
    if name is None or not opened:
        raise AddressError("quotes or angle brackets do not match")
    if '"' not in before and ("<" in name or ">" in name or ("@" in name and "," in name)):
        raise AddressError("more than one address")
    return name.strip(" "), address


def canonical(address: str) -> str:
    """Return the form by which two addresses are the same one: for suppression only (X-16).

    The domain as a lower-case A-label, the local part in NFC with ASCII letters lowered: no other
    letter is folded, since a dotless i makes another person. Dots and plus tags are kept.
    """
    if _is_plain(address):
        return address.lower()
    local, host = _parts(address)
    return f"{unicodedata.normalize('NFC', local).translate(_ASCII_LOWER)}@{host}"


def envelope_address(address: str) -> str:
    """Return *address* as SMTP and headers carry it: domain as an A-label, local part as is."""
    if _is_plain(address):
        return address
    local, host = _parts(address)
    return f"{local}@{host}"


def domain(address: str) -> str:
    """Return the domain of *address* as a lower-case A-label."""
    if _is_plain(address):
        return address.rpartition("@")[2].lower()
    return _parts(address)[1]


def needs_smtputf8(address: str) -> bool:
    """Return whether *address* needs a relay with SMTPUTF8: its local part is not ASCII."""
    return not address.isascii() and not address.rpartition("@")[0].isascii()


def mask(address: str) -> str:
    """Return *address* for logs, `j***@example.com`; whatever is no address is `***`."""
    local, at, host = address.rpartition("@")
    if not local or len(address) > MAX_ADDRESS or " " in host or not address.isprintable():
        return "***"
    return f"{local[0]}***{at}{host}"


def _is_plain(address: str) -> bool:
    """Return whether *address* is ASCII and surely valid: nearly all are, so it is the hot path."""
    return len(address) <= MAX_ADDRESS and _looks_plain(address)


@lru_cache(maxsize=1024)
def _looks_plain(address: str) -> bool:
    """Return what `_is_plain` does: each address is asked about five times while it is taken in.

    What could be read as an encoded word is left to the slow path, which refuses it.
    """
    return (
        "=?" not in address
        and _PLAIN.fullmatch(address) is not None
        and address.find("@") <= MAX_LOCAL_PART
    )


@lru_cache(maxsize=1024)
def _parts(address: str) -> tuple[str, str]:
    """Return the local part as given and the domain as a lower-case A-label, both checked."""
    if len(address) > MAX_ADDRESS:
        raise AddressError(f"longer than {MAX_ADDRESS} characters")
    if "=?" in address:
        raise AddressError("it could be read as an encoded word")
    local, at, written_domain = address.rpartition("@")
    if not at:
        raise AddressError("there is no @ in it")
    _check_local_part(local)
    host = _a_label(written_domain)
    if len(local.encode()) + 1 + len(host) > MAX_ADDRESS:
        raise AddressError(f"longer than {MAX_ADDRESS} octets")
    return local, host


def _check_local_part(local: str) -> None:
    # Imported here, as idna below: 30 ms and megabytes that roles with plain addresses never need.
    from email_validator import EmailNotValidError, validate_email

    try:
        # The library refuses reserved domains such as localhost, so it only sees the local part.
        validate_email(f"{local}@example.com", allow_smtputf8=True, check_deliverability=False)
    except EmailNotValidError as error:
        raise AddressError(str(error)) from error
    if not _LOCAL.fullmatch(local):
        raise AddressError("the part before the @ is not a dot-atom")
    if len(local.encode()) > MAX_LOCAL_PART:
        raise AddressError(f"more than {MAX_LOCAL_PART} octets before the @")


def _a_label(written_domain: str) -> str:
    import idna

    try:
        host = idna.encode(written_domain, uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise AddressError(f"the domain is not valid: {error}") from error
    if not _HOST.fullmatch(host):
        raise AddressError("the domain is not a host name")
    return host
