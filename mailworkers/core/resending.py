"""Resends: what ended once is sent anew, as a delivery of its own with a link to the first.

The same text to the same recipients, but another message: a new Message-ID and Date, without which
mailboxes that remember the first would drop it, and so new signatures (RFC 6376 section 3.5).
"""

import hashlib
import re
import uuid
from datetime import datetime

import msgspec

from mailworkers.core.addresses import domain
from mailworkers.core.deliveries import NewDelivery, NewRecipient
from mailworkers.core.dkim import HEADER, Keyring
from mailworkers.core.mime import date_text
from mailworkers.core.states import Failure, Lane, PayloadMode, Status

SOURCE = "resend"

_HEAD_END = b"\r\n\r\n"
# A field with its folded lines (RFC 5322 section 2.2.3).
_FIELD = re.compile(rb"[^\r\n]+\r\n(?:[ \t][^\r\n]*\r\n)*")


class Original(msgspec.Struct, frozen=True):
    """The delivery that is sent anew, with its bytes and its envelope."""

    delivery_id: uuid.UUID
    lane: Lane
    payload_mode: PayloadMode
    template_id: str | None
    template_version: str | None
    locale: str | None
    mail_from: str
    retry_policy: str
    expires_at: datetime | None
    mime: bytes
    recipients: tuple[NewRecipient, ...]


class Cloner(msgspec.Struct, frozen=True):
    """Makes resends by the settings of this installation: *stub* and *keyring* as in `Composer`."""

    stub: bool
    keyring: Keyring

    def clone(
        self,
        original: Original,
        *,
        delivery_id: uuid.UUID,
        idempotency_key: str,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> NewDelivery:
        """Return *original* as a new delivery, made *now*; *expires_at* replaces its own."""
        sender_domain = domain(original.mail_from)
        mime = renew(original.mime, message_id=f"<{delivery_id}@{sender_domain}>", date=now)
        return NewDelivery(
            delivery_id=delivery_id,
            source=SOURCE,
            lane=original.lane,
            status=Status.SUPPRESSED if self.stub else original.payload_mode.ready,
            payload_mode=original.payload_mode,
            template_id=original.template_id,
            template_version=original.template_version,
            locale=original.locale,
            mail_from=original.mail_from,
            idempotency_key=idempotency_key,
            fingerprint=_fingerprint(original, expires_at),
            retry_policy=original.retry_policy,
            expires_at=expires_at or original.expires_at,
            mime=self.keyring.sign(mime, sender_domain=sender_domain, at=now),
            failure=Failure.STUB if self.stub else None,
            resend_of=original.delivery_id,
            recipients=original.recipients,
        )


def _fingerprint(original: Original, expires_at: datetime | None) -> bytes:
    end = expires_at.isoformat() if expires_at else ""
    return hashlib.sha256(f"resend {original.delivery_id} {end}".encode()).digest()


def renew(mime: bytes, *, message_id: str, date: datetime) -> bytes:
    """Return the message *mime*, which we composed, with another Message-ID and Date, unsigned.

    Every other field, their order and the body stay as they are.
    """
    end = mime.index(_HEAD_END) + 2
    fresh = {
        b"message-id": f"Message-ID: {message_id}\r\n".encode(),
        b"date": f"Date: {date_text(date)}\r\n".encode(),
        HEADER.lower().encode(): b"",
    }
    fields = (
        fresh.get(field.partition(b":")[0].strip().lower(), field)
        for field in _FIELD.findall(mime[:end])
    )
    return b"".join([*fields, mime[end:]])
