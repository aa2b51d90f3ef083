"""The bodies of the internal API that are not rows: of intake, of pages, of content."""

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from mailworkers.adapters.store.reads import Attempt, DeliverySummary
from mailworkers.core.payloads import RenderedPayload, TemplatePayload
from mailworkers.web.errors import ErrorBody

Milliseconds = Annotated[
    int, Meta(ge=946684800000, lt=4102444800000, description="milliseconds since 1970")
]


class LoginCodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A one-time code for somebody who signs in; `locale` is BCP 47."""

    email: Annotated[str, Meta(min_length=3, max_length=1000)]
    code: Annotated[str, Meta(min_length=1, max_length=255)]
    locale: Annotated[str, Meta(min_length=2, max_length=100)]


class LoginCodeAnswer(msgspec.Struct, frozen=True):
    """`sent`: durably accepted; the mail goes out by itself. `suppressed`: not sent, on purpose."""

    outcome: Literal["sent", "suppressed"]
    delivery_id: UUID


class CommandBody(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What both payload modes share: the fields of a stream entry (contract section 2).

    `idempotency_key` may be given as the header `Idempotency-Key` instead.
    """

    source: str | None = "api"
    idempotency_key: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    delivery_id: UUID | None = None
    requested_at_ms: Milliseconds | None = None
    request_id: Annotated[str, Meta(max_length=255)] | None = None
    traceparent: str | None = None
    lane: Literal["auth", "normal", "bulk"] | None = None
    send_at_ms: Milliseconds | None = None
    expires_at_ms: Milliseconds | None = None


class RenderedCommand(CommandBody, frozen=True, kw_only=True):
    """A message whose content the producer made."""

    payload_mode: Literal["rendered"]
    payload: RenderedPayload


class TemplateCommand(CommandBody, frozen=True, kw_only=True):
    """A message whose content one of our templates makes."""

    payload_mode: Literal["template"]
    payload: TemplatePayload


class AcceptedDelivery(msgspec.Struct, frozen=True):
    """A delivery that is durable; a repeated command gets the answer of the first."""

    delivery_id: UUID
    outcome: Literal["accepted", "suppressed"]


class BatchItem(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of one command of a batch: `status` is what it would have got alone."""

    status: int
    delivery_id: UUID | None = None
    outcome: Literal["accepted", "suppressed"] | None = None
    error: ErrorBody | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """One result for each command, in order."""

    results: list[BatchItem]


class BatchRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """1 to 1000 commands, each as `POST /deliveries` takes it with its own key."""

    deliveries: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=1000)]


Reason = Annotated[
    str, Meta(min_length=1, max_length=500, description="why; stands in the audit trail")
]


class ReasonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why something is done."""

    reason: Reason


class CancelRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Why a delivery is withdrawn."""

    reason: Reason


class CancelAnswer(msgspec.Struct, frozen=True):
    """What became of a delivery that was cancelled.

    `pending`: a sender has it. What the relay accepts stays `sent`, a retry becomes `cancelled`.
    Others than `cancelled` come from recipients that ended before, and `uncertain` from a last
    attempt that may have arrived.
    """

    delivery_id: UUID
    status: Literal["cancelled", "pending", "sent", "failed", "dead_letter", "uncertain"]


class RequeueRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a delivery is sent again; `expires_at_ms` replaces its own, needed once that is past."""

    reason: Reason
    expires_at_ms: Milliseconds | None = None


class RequeueAnswer(msgspec.Struct, frozen=True):
    """A delivery that is ready again, with a new cycle of attempts."""

    delivery_id: UUID
    status: Literal["queued", "rendered"]


class ResendRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Why a delivery is sent anew; `expires_at_ms` replaces its own, needed once that is past."""

    reason: Reason
    expires_at_ms: Milliseconds | None = None


class ResendAnswer(msgspec.Struct, frozen=True):
    """The new delivery, and the one it is a resend of.

    `suppressed`: it ended at once, since all recipients are on the list, or nothing leaves here.
    """

    delivery_id: UUID
    resend_of: UUID
    outcome: Literal["accepted", "suppressed"]


class DeliveryPage(msgspec.Struct, frozen=True):
    """Deliveries, newest first; `next_cursor` leads to older ones, null at the end."""

    items: list[DeliverySummary]
    next_cursor: str | None


class AttemptPage(msgspec.Struct, frozen=True):
    """Attempts, newest first; `next_cursor` leads to earlier ones, null at the end."""

    items: list[Attempt]
    next_cursor: str | None


class Header(msgspec.Struct, frozen=True):
    """One header of a message, decoded."""

    name: str
    value: str


class AttachmentSummary(msgspec.Struct, frozen=True):
    """One file in a message; `size` in bytes, decoded."""

    filename: str
    content_type: str
    size: int
    content_id: str | None


class Content(msgspec.Struct, frozen=True):
    """What a message says, read back from the bytes that are sent."""

    delivery_id: UUID
    subject: str
    headers: list[Header]
    text_body: str | None
    html_body: str | None
    attachments: list[AttachmentSummary]
