"""What is published in the DNS: the TXT records of a name."""

import ipaddress
from collections.abc import Callable
from datetime import timedelta

import dns.exception
import dns.rdatatype
import dns.resolver
import msgspec

from mailworkers.adapters.setting_forms import split_address
from mailworkers.core.errors import ConfigError

PORT = 53
_EDNS_BYTES = 1232  # fits any path; longer answers come by TCP


class Answer(msgspec.Struct, frozen=True):
    """The TXT records of a name, each whole, or why nobody could tell."""

    texts: tuple[bytes, ...]
    trouble: str = ""


Lookup = Callable[[str], Answer]


def resolver(nameserver: str | None, *, within: timedelta) -> Lookup:
    """Return what looks names up, at *nameserver* (`address` or `address:port`) or the system's.

    Raises ValueError when *nameserver* is neither, ConfigError when the system names none.
    """
    try:
        found = dns.resolver.Resolver(configure=nameserver is None)
    except dns.resolver.NoResolverConfiguration:
        raise ConfigError("this system names no nameserver; give one by --nameserver") from None
    if nameserver is not None:
        address, port = _place(nameserver)
        found.nameservers = [address]
        found.port = port
    found.lifetime = within.total_seconds()
    found.use_edns(0, 0, _EDNS_BYTES)
    return lambda name: _look_up(found, name)


def _place(nameserver: str) -> tuple[str, int]:
    """Return address and port of *nameserver*, which is not looked up itself."""
    try:
        return str(ipaddress.ip_address(nameserver)), PORT
    except ValueError:
        host, port = split_address(nameserver)
        return str(ipaddress.ip_address(host)), port


def _look_up(found: dns.resolver.Resolver, name: str) -> Answer:
    try:
        answer = found.resolve(f"{name}.", dns.rdatatype.TXT)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return Answer(())
    except dns.exception.Timeout:
        return Answer((), "no nameserver answered in time")
    except dns.resolver.NoNameservers:
        return Answer((), "the nameservers failed or refused (SERVFAIL, REFUSED)")
    except (dns.exception.DNSException, OSError) as error:
        return Answer((), f"the look-up failed ({type(error).__name__})")
    return Answer(tuple(b"".join(record.strings) for record in answer))
