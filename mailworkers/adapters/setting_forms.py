"""The forms a setting's text may have: each function turns text into a value or says what to write.

A form raises ValueError with words that finish the sentence "NAME='text' ...": what is wrong and
what to write instead. They never repeat the text: it may be a secret.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

from mailworkers.adapters.secrets import Secret
from mailworkers.core.addresses import canonical, domain, parse_mailbox
from mailworkers.core.commands import SourceKind
from mailworkers.core.dkim import parse_selectors
from mailworkers.core.retry import parse_ladder, parse_span
from mailworkers.core.states import Lane

Value = TypeVar("Value")
Form = Callable[[str], Value]

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?", re.ASCII)
_HELO = re.compile(r"\[[0-9A-Fa-f.:IPv]+\]|[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}", re.ASCII)
_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


def text(value: str) -> str:
    """Accept any text of printable characters."""
    if not value.isprintable():
        raise ValueError("contains control characters; write plain text")
    return value


def secret(value: str) -> Secret:
    """Accept any UTF-8 text that has no NUL, CR or LF, and hide it."""
    if any(character in value for character in "\0\r\n"):
        raise ValueError("contains a line break or NUL; give the secret on one line")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("is not UTF-8 text; give it as UTF-8")
    return Secret(value)


def boolean(value: str) -> bool:
    """Accept true, yes, on, 1 and false, no, off, 0."""
    word = value.lower()
    if word not in _YES | _NO:
        raise ValueError("is neither true nor false; write true or false")
    return word in _YES


def choice(words: Mapping[str, Value]) -> Form[Value]:
    """Accept one of the *words*, in any case."""

    def parse(value: str) -> Value:
        if value.lower() not in words:
            raise ValueError(f"is not one of {', '.join(words)}; choose one of them")
        return words[value.lower()]

    return parse


def whole(low: int, high: int) -> Form[int]:
    """Accept a whole number from *low* to *high*."""

    def parse(value: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"is not a whole number from {low} to {high}; give one")
        return int(value)

    return parse


def fraction(value: str) -> float:
    """Accept a decimal number from 0 to below 1."""
    if not re.fullmatch(r"0?\.[0-9]{1,9}|0", value, re.ASCII):
        raise ValueError("is not a number from 0 to below 1; write for example 0.25, or 0 for none")
    return float(value)


def share(value: str) -> float:
    """Accept a decimal number from 0 to 1."""
    if not re.fullmatch(r"0?\.[0-9]{1,9}|0|1|1\.0{1,9}|0\.0{1,9}", value, re.ASCII):
        raise ValueError("is not a number from 0 to 1; write for example 0.01, or 1 for all")
    return float(value)


def span(low: str, high: str) -> Form[timedelta]:
    """Accept a span of time such as 250ms, 15s, 2m, 4h or 7d, from *low* to *high*."""
    shortest, longest = parse_span(low), parse_span(high)

    def parse(value: str) -> timedelta:
        try:
            length = parse_span(value)
        except (ValueError, OverflowError):
            raise ValueError(
                "is not a span of time; write a number and its unit: 250ms, 15s, 2m, 4h or 7d"
            ) from None
        if not shortest <= length <= longest:
            raise ValueError(f"is outside {low} to {high}; choose a span between them")
        return length

    return parse


def ladder(value: str) -> tuple[timedelta, ...]:
    """Accept the delays before each retry, comma separated: 5s,30s,2m."""
    try:
        delays = parse_ladder(value)
    except (ValueError, OverflowError):
        delays = ()
    if not delays:
        raise ValueError("is not a list of spans; write the delays like 5s,30s,2m,10m")
    return delays


def split_address(value: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 host stands in brackets."""
    host, colon, port = value.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII) or not 0 < int(port) < 65536:
        raise ValueError("has no port from 1 to 65535; write host:port, for example 127.0.0.1:6379")
    if host.startswith("[") and host.endswith("]"):
        return _ip(host[1:-1]), int(port)
    if not _HOST.fullmatch(host):
        raise ValueError("has no usable host name; write host:port, or [::1]:port for IPv6")
    return host, int(port)


def _ip(host: str) -> str:
    try:
        return str(ipaddress.IPv6Address(host))
    except ValueError:
        raise ValueError("has no IPv6 address in its brackets; write [::1]:port") from None


def address(value: str) -> str:
    """Accept `host:port`."""
    split_address(value)
    return value


def redis_address(value: str) -> str:
    """Accept `host:port`, or `unix:/path` for a local socket."""
    if value.startswith("unix:"):
        if not value.startswith("unix:/"):
            raise ValueError("has no absolute path after unix:; write unix:/run/redis/redis.sock")
        return value
    if "://" in value:
        raise ValueError("is a URL; write host:port (MAIL_REDIS_PASSWORD and MAIL_REDIS_TLS apart)")
    return address(value)


def addresses(value: str) -> tuple[str, ...]:
    """Accept `host:port` several times, comma separated."""
    return tuple(address(word) for word in listed(value))


def listed(value: str) -> list[str]:
    """Return the comma separated words of *value* without blanks and empty ones."""
    return [word for word in map(str.strip, value.split(",")) if word]


def dsn(value: str) -> Secret:
    """Accept what libpq reads: postgresql://user@host:5432/name, or host=... dbname=...

    `search_path=mail` in a URL, which other drivers know and libpq refuses, is dropped: the schema
    is always `mail`. libpq's own complaint is not repeated, for it may quote the password.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        cleaned = _without_search_path(value)
        for port in str(conninfo_to_dict(cleaned).get("port") or "0").split(","):
            int(port or "0")  # libpq would complain only when it connects
    except (psycopg.Error, ValueError):
        raise ValueError(
            "is not a connection string libpq can read; write postgresql://user@host:5432/database"
            " (percent-encode special characters of the password)"
        ) from None
    return Secret(cleaned)


def _without_search_path(value: str) -> str:
    if "search_path=" not in value or "://" not in value:
        return value
    parts = urlsplit(value)
    query = "&".join(part for part in parts.query.split("&") if part != "search_path=mail")
    return urlunsplit(parts._replace(query=query))


def mail_address(value: str) -> str:
    """Accept one bare mail address."""
    try:
        mailbox = parse_mailbox(value)
    except ValueError as error:
        raise ValueError(f"is not a mail address ({error}); write name@example.com") from None
    if mailbox.name:
        raise ValueError("has a display name; write only the address, name@example.com")
    return mailbox.address


def domains(value: str) -> frozenset[str]:
    """Accept domain names, comma separated; internationalised ones become A-labels."""
    try:
        return frozenset(domain(canonical(f"x@{word.lstrip('@')}")) for word in listed(value))
    except ValueError as error:
        raise ValueError(f"is not a list of domains ({error}); write a.example,b.example") from None


def dkim_selectors(value: str) -> dict[str, tuple[str, ...]]:
    """Accept the keys that sign, `domain:selector` comma separated."""
    try:
        return parse_selectors(value)
    except ValueError as error:
        raise ValueError(f"{error}; write example.org:s2026a,example.org:s2026b") from None


def helo(value: str) -> str:
    """Accept a domain name or an address literal in brackets (RFC 5321 section 4.1.3)."""
    if not _HELO.fullmatch(value):
        raise ValueError("is neither a domain name nor an address literal; write mx.example.com")
    return value


def readable_file(value: str) -> Path:
    """Accept the path of a file that can be read."""
    path = Path(value)
    try:
        with path.open("rb"):
            return path.absolute()
    except OSError as error:
        raise ValueError(
            f"cannot be read ({error.strerror}); give the path of a readable file"
        ) from None


def directory(value: str) -> Path:
    """Accept the path of a directory that exists."""
    path = Path(value)
    if not path.is_dir():
        raise ValueError("is not a directory; create it or correct the path")
    return path.absolute()


def place(value: str) -> Path:
    """Accept an absolute path that need not exist yet."""
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise ValueError("is not an absolute path; start it with /")
    return path


def sources(value: str) -> dict[str, SourceKind]:
    """Accept further sources, `name=lane` comma separated; lane auth makes the source kind auth."""
    lanes = {lane.label: lane for lane in Lane}
    found = {}
    for word in listed(value):
        name, _, lane = word.partition("=")
        if not _NAME.fullmatch(name) or (lane or "normal") not in lanes:
            raise ValueError(
                f"is not a list of name=lane, lane one of {', '.join(lanes)}; write"
                " billing=normal,newsletter=bulk (names: a-z, 0-9, _ and -, at most 63)"
            )
        kind = lanes[lane or "normal"]
        found[name] = SourceKind(lane=kind, auth=kind is Lane.AUTH)
    return found
