"""Whom a message is from and for: the mailboxes of a command read, and the envelope they make."""

from functools import lru_cache
from typing import NamedTuple

import msgspec

from mailworkers.core.addresses import (
    AddressError,
    Mailbox,
    canonical,
    domain,
    envelope_address,
    parse_mailbox,
)
from mailworkers.core.deliveries import NewRecipient, RecipientKind
from mailworkers.core.headers import disguise_character
from mailworkers.core.payloads import PATH
from mailworkers.core.refusals import FailureCode, Refused, bad_value

KINDS: tuple[RecipientKind, ...] = ("to", "cc", "bcc")


class Identity(msgspec.Struct, frozen=True):
    """Who we send as: the default `From`, and the domains (A-labels) it may be replaced within.

    Without *allowed_domains* that is the domain of `from_email`.
    """

    from_email: str
    allowed_domains: frozenset[str] = frozenset()


class Sender(NamedTuple):
    """The mailbox a message is from, its address as SMTP carries it, and the domain of that."""

    mailbox: Mailbox
    address: str
    domain: str


def sender_for(identity: Identity, given: str | None) -> Sender:
    """Return the sender that a command has *given*, if *identity* allows it, or the identity's."""
    own = _sender(identity.from_email)
    if given is None:
        return own
    try:
        sender = _sender(given)
    except AddressError as error:
        raise _refused(f"{PATH}.from", given, error) from None
    if sender.domain not in (identity.allowed_domains or {own.domain}):
        reason = "its domain is not one that MAIL_SMTP_FROM_ALLOWED names"
        raise bad_value(f"{PATH}.from", reason)
    return sender


@lru_cache(maxsize=1024)
def _sender(text: str) -> Sender:
    mailbox = parse_mailbox(text)
    return Sender(mailbox, envelope_address(mailbox.address), domain(mailbox.address))


def mailboxes(field: str, addresses: tuple[str, ...]) -> tuple[Mailbox, ...]:
    """Return the mailboxes in *addresses*, which the payload's *field* holds."""
    found = []
    for text in addresses:
        try:
            found.append(parse_mailbox(text))
        except AddressError as error:
            raise _refused(f"{PATH}.{field}[{len(found)}]", text, error) from None
    return tuple(found)


def _refused(path: str, text: str, error: AddressError) -> Refused:
    injected = disguise_character(text)
    code = FailureCode.HEADER_INJECTION if injected else FailureCode.INVALID_ADDRESS
    return Refused(code, path, error.reason)


def recipients(*groups: tuple[Mailbox, ...]) -> tuple[NewRecipient, ...]:
    """Return the envelope of *groups*, which are To, Cc and Bcc: each recipient once, in order."""
    found: dict[str, NewRecipient] = {}
    for kind, group in zip(KINDS, groups, strict=True):
        for mailbox in group:
            same = canonical(mailbox.address)
            if same not in found:
                found[same] = NewRecipient(kind, envelope_address(mailbox.address), same)
    return tuple(found.values())
