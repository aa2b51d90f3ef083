"""Deliveries on their way from intake, which makes them, to the store, which keeps them."""

import uuid
from datetime import datetime
from typing import Literal

import msgspec

from mailworkers.core.states import Failure, Lane, PayloadMode, Status

RecipientKind = Literal["to", "cc", "bcc"]


class NewRecipient(msgspec.Struct, frozen=True):
    """One address of the envelope, as SMTP carries it, and the form it is suppressed by."""

    kind: RecipientKind
    address: str
    canonical: str


class NewDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery ready to be stored; its recipients are distinct by `canonical`.

    `next_attempt_at` is set where `status` is `scheduled`, `failure` where it is `suppressed`.
    """

    delivery_id: uuid.UUID
    source: str
    lane: Lane
    status: Status
    payload_mode: PayloadMode
    template_id: str | None = None
    template_version: str | None = None
    locale: str | None = None
    mail_from: str
    idempotency_key: str
    fingerprint: bytes
    retry_policy: str
    next_attempt_at: datetime | None = None
    expires_at: datetime | None = None
    mime: bytes
    traceparent: str | None = None
    failure: Failure | None = None
    resend_of: uuid.UUID | None = None
    recipients: tuple[NewRecipient, ...]
