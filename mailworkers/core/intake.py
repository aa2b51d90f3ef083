"""Intake: a command becomes a delivery, composed to its last byte, or a refusal (architecture 1.3).

Everything that can be wrong with a command is found here, before it is accepted; after that only
SMTP can fail. The clock and the templates come in from outside, so the same command, id and time
give the same delivery.
"""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from mailworkers.core.addresses import Mailbox
from mailworkers.core.commands import Command
from mailworkers.core.contracts import NO_DEFAULTS, MailDefaults
from mailworkers.core.deliveries import NewDelivery, NewRecipient
from mailworkers.core.dkim import Keyring
from mailworkers.core.errors import TemplateError
from mailworkers.core.headers import HeaderInjection, MessageError
from mailworkers.core.mailboxes import KINDS, Identity, Sender, mailboxes, recipients, sender_for
from mailworkers.core.mime import Attachment, Message, compose
from mailworkers.core.payloads import PATH, Payload, RenderedPayload, TemplatePayload
from mailworkers.core.refusals import FailureCode, Refusal, Refused, bad_value, unforeseen
from mailworkers.core.states import Failure, Lane, PayloadMode, Status

__all__ = [
    "Composer",
    "Identity",
    "NewDelivery",
    "NewRecipient",
    "Rendered",
    "Renderer",
]


class Rendered(msgspec.Struct, frozen=True):
    """What a message says; where a template says it, which one, in which version and locale.

    `mail` holds what the template says about sender, lane and the like; the command's word wins.
    """

    subject: str
    text: str | None
    html: str | None
    template_id: str | None = None
    template_version: str | None = None
    locale: str | None = None
    mail: MailDefaults = NO_DEFAULTS


class Renderer(Protocol):
    """What intake needs of the template catalog."""

    def render(self, template_id: str, locale: str, variables: Mapping[str, Any]) -> Rendered:
        """Return the rendered template, or raise TemplateError with one of its failure codes."""


AUTH_RETRY_POLICY = "auth"


class Composer(msgspec.Struct, frozen=True, kw_only=True):
    """Makes deliveries of commands, by the settings of this installation.

    Args:
        retry_policy: the policy named on each row; those of the auth lane have their own, `auth`.
        auth_life: after this long auth mail is of no use and never sent.
        stub: nothing leaves; every delivery ends `suppressed` at once.
        keyring: signs the composed bytes; a From it has no key for is not signed.
    """

    identity: Identity
    renderer: Renderer
    retry_policy: str = "ladder"
    auth_life: timedelta = timedelta(minutes=10)
    stub: bool = False
    keyring: Keyring = Keyring({})

    def compose(
        self, command: Command, *, delivery_id: uuid.UUID, now: datetime
    ) -> NewDelivery | Refusal:
        """Return *command* as a delivery composed at *now*, or why it is refused. Never raises."""
        try:
            return self._delivery(command, delivery_id, now)
        except Refused as error:
            refused = error
        except TemplateError as error:
            refused = _template_refused(error)
        except MessageError as error:
            refused = _message_refused(error, command.payload)
        except MemoryError:  # no fault of the command: who has enough memory takes it
            raise
        except Exception as error:  # one command must never stop the others (M-15)
            refused = unforeseen(error)
        return refused.refusal(delivery_id=str(delivery_id), source=command.source)

    def _delivery(self, command: Command, delivery_id: uuid.UUID, now: datetime) -> NewDelivery:
        payload = command.payload
        content = self._content(payload)
        lane = _lane(command, content.mail)
        send_at, expires_at = self._times(command, lane, content.mail, now)
        sender = sender_for(self.identity, payload.sender or content.mail.sender)
        to, cc, bcc = (mailboxes(kind, getattr(payload, kind)) for kind in KINDS)
        message = _message(payload, content, sender=sender, to=to, cc=cc)
        mime = compose(message, message_id=f"<{delivery_id}@{sender.domain}>", date=now)
        return NewDelivery(
            delivery_id=delivery_id,
            source=command.source,
            lane=lane,
            status=self._status(command.payload_mode, send_at),
            payload_mode=command.payload_mode,
            template_id=content.template_id,
            template_version=content.template_version,
            locale=content.locale,
            mail_from=sender.address,
            idempotency_key=command.idempotency_key,
            fingerprint=command.fingerprint,
            retry_policy=self._policy(lane),
            next_attempt_at=None if self.stub else send_at,
            expires_at=expires_at,
            mime=self.keyring.sign(mime, sender_domain=sender.domain, at=now),
            traceparent=command.traceparent,
            failure=Failure.STUB if self.stub else None,
            recipients=recipients(to, cc, bcc),
        )

    def _times(
        self, command: Command, lane: Lane, mail: MailDefaults, now: datetime
    ) -> tuple[datetime | None, datetime | None]:
        """Return when to send, None for at once, and when to stop trying, None for never."""
        expires_at = command.expires_at
        if expires_at is None and mail.expires_after is not None:
            expires_at = max(now, command.send_at or now) + mail.expires_after
        if lane is Lane.AUTH:
            end = now + self.auth_life
            expires_at = min(expires_at, end) if expires_at else end
        send_at = command.send_at
        if send_at is not None and send_at <= now:
            send_at = None
        if expires_at is not None:
            if expires_at <= now:
                raise bad_value("expires_at_ms", "is already past")
            if send_at is not None and send_at >= expires_at:
                raise bad_value("send_at_ms", "is not before the message expires")
        return send_at, expires_at

    def _content(self, payload: RenderedPayload | TemplatePayload) -> Rendered:
        if isinstance(payload, TemplatePayload):
            return self.renderer.render(payload.template_id, payload.locale, payload.variables)
        return Rendered(payload.subject, payload.text_body or None, payload.html_body or None)

    def _status(self, mode: PayloadMode, send_at: datetime | None) -> Status:
        if self.stub:
            return Status.SUPPRESSED
        return mode.ready if send_at is None else Status.SCHEDULED

    def _policy(self, lane: Lane) -> str:
        return AUTH_RETRY_POLICY if lane is Lane.AUTH else self.retry_policy


def _lane(command: Command, mail: MailDefaults) -> Lane:
    """Return the command's own lane, or else the template's, or else its source's."""
    return command.lane if mail.lane is None or command.names_lane else mail.lane


def _message(
    payload: Payload,
    content: Rendered,
    *,
    sender: Sender,
    to: tuple[Mailbox, ...],
    cc: tuple[Mailbox, ...],
) -> Message:
    return Message(
        sender=sender.mailbox,
        to=to,
        cc=cc,
        reply_to=mailboxes("reply_to", payload.reply_to or content.mail.reply_to),
        subject=content.subject,
        text=content.text,
        html=content.html,
        attachments=tuple(
            Attachment(part.filename, part.content_type, part.content, part.content_id)
            for part in payload.attachments
        ),
        headers=_headers(payload, content.mail),
    )


def _headers(payload: Payload, mail: MailDefaults) -> tuple[tuple[str, str], ...]:
    """Return the template's headers, but those that the command has too, and the command's."""
    given = tuple(payload.headers.items())
    if not mail.headers:
        return given
    names = {name.lower() for name, _ in given}
    return (*(field for field in mail.headers if field[0].lower() not in names), *given)


# Where the fault of each of `TemplateError`'s codes lies.
_TEMPLATE_PATHS = {
    FailureCode.UNKNOWN_TEMPLATE: f"{PATH}.template_id",
    FailureCode.TEMPLATE_VARIABLES: f"{PATH}.variables",
    FailureCode.RENDER_FAILED: f"{PATH}.template_id",
}


def _template_refused(error: TemplateError) -> Refused:
    code = FailureCode(error.code)
    return Refused(code, _TEMPLATE_PATHS[code], error.detail)


def _message_refused(error: MessageError, payload: Payload) -> Refused:
    """Return the refusal of a value that cannot stand in the message's *field*."""
    injected = isinstance(error, HeaderInjection)
    code = FailureCode.HEADER_INJECTION if injected else FailureCode.INVALID_VALUE
    return Refused(code, _path(error.field, payload), f"{error.field}: {error.reason}")


def _path(field: str, payload: Payload) -> str:
    """Return the path of the payload's field that became the message's *field*."""
    if field == "Subject" and isinstance(payload, TemplatePayload):
        return f"{PATH}.variables"
    return f"{PATH}.{_PAYLOAD_FIELDS.get(field, 'headers')}"


_PAYLOAD_FIELDS = {
    "From": "from",
    "To": "to",
    "Cc": "cc",
    "Reply-To": "reply_to",
    "Subject": "subject",
    "body": "text_body",
    "filename": "attachments",
    "Content-Type": "attachments",
    "Content-ID": "attachments",
}
