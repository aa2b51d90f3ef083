"""What a template says about its mail, and that the command's own word wins."""

import email
import email.policy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest

from mailworkers.core.commands import Command, decode_entry
from mailworkers.core.contracts import MailDefaults
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.intake import Composer, Identity, Rendered
from mailworkers.core.refusals import FailureCode, Refusal
from mailworkers.core.states import Lane, Status
from tests.core.entries import DELIVERY_ID, TEMPLATE, changed, entry

NOW = datetime(2026, 11, 21, 10, 0, 1, tzinfo=UTC)
MAIL = MailDefaults(
    sender="Digest <digest@example.com>",
    reply_to=("help@example.com",),
    lane=Lane.BULK,
    expires_after=timedelta(days=2),
    headers=(("List-Id", "<digest.example.com>"), ("X-Kind", "digest")),
)


class Templates:
    """A catalog of one template."""

    def __init__(self, mail: MailDefaults) -> None:
        self.mail = mail

    def render(self, template_id: str, locale: str, variables: Mapping[str, Any]) -> Rendered:
        """Return some text."""
        return Rendered(
            "Hello", str(variables), None, template_id, "0123456789ab", locale, self.mail
        )


def composed(
    fields: dict[bytes, bytes], mail: MailDefaults = MAIL, **settings: Any
) -> NewDelivery | Refusal:
    """Return what becomes of an entry for a template with *mail*."""
    command = decode_entry(fields)
    assert isinstance(command, Command), command
    identity = settings.pop("identity", Identity("Shop <no-reply@example.com>"))
    composer = Composer(identity=identity, renderer=Templates(mail), **settings)
    return composer.compose(command, delivery_id=UUID(DELIVERY_ID), now=NOW)


def delivery(fields: dict[bytes, bytes], mail: MailDefaults = MAIL) -> NewDelivery:
    """Return the delivery made of a good entry."""
    made = composed(fields, mail)
    assert isinstance(made, NewDelivery), made
    return made


def read(mime: bytes) -> EmailMessage:
    """Return *mime* as the standard library reads it."""
    message = email.message_from_bytes(mime, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    return message


def ms(at: datetime) -> str:
    """Return *at* as a command carries it."""
    return str(int(at.timestamp() * 1000))


def test_the_template_says_what_the_command_does_not() -> None:
    """Sender, reply-to, lane, expiry, headers."""
    made = delivery(entry(TEMPLATE))
    message = read(made.mime)

    assert (made.mail_from, made.lane) == ("digest@example.com", Lane.BULK)
    assert made.expires_at == NOW + timedelta(days=2)
    assert message["From"] == "Digest <digest@example.com>"
    assert message["Reply-To"] == "help@example.com"
    assert message["List-Id"] == "<digest.example.com>"
    assert message["X-Kind"] == "digest"
    assert message["Auto-Submitted"] == "auto-generated"


def test_the_commands_own_word_wins() -> None:
    """The template only stands in."""
    soon = NOW.replace(microsecond=0) + timedelta(hours=1)
    own = {
        "from": "sales@example.com",
        "reply_to": ["sales@example.com"],
        "headers": {"x-kind": "offer", "Auto-Submitted": "no"},
    }
    made = delivery(entry(changed(TEMPLATE, own), lane="normal", expires_at_ms=ms(soon)))
    message = read(made.mime)

    assert (made.mail_from, made.lane, made.expires_at) == ("sales@example.com", Lane.NORMAL, soon)
    assert message["Reply-To"] == "sales@example.com"
    assert message.get_all("X-Kind") == ["offer"]
    assert message["List-Id"] == "<digest.example.com>"
    assert message["Auto-Submitted"] == "no"


def test_mail_of_an_auth_source_stays_on_its_lane() -> None:
    """A login code must not wait behind digests because a template says so."""
    made = delivery(entry(TEMPLATE, source="authsession"))

    assert (made.lane, made.retry_policy) == (Lane.AUTH, "auth")
    assert made.expires_at == NOW + timedelta(minutes=10)


def test_a_template_may_put_its_mail_on_the_auth_lane() -> None:
    """With all that belongs to it: its life and its ladder."""
    mail = MailDefaults(lane=Lane.AUTH, expires_after=timedelta(days=1))
    made = delivery(entry(TEMPLATE), mail)

    assert (made.lane, made.retry_policy) == (Lane.AUTH, "auth")
    assert made.expires_at == NOW + timedelta(minutes=10)


def test_the_expiry_counts_from_the_time_to_send() -> None:
    """Mail for tomorrow is not too old today."""
    tomorrow = NOW.replace(microsecond=0) + timedelta(days=1)
    made = delivery(entry(TEMPLATE, send_at_ms=ms(tomorrow)))

    assert (made.status, made.expires_at) == (Status.SCHEDULED, tomorrow + timedelta(days=2))


def test_the_fingerprint_is_the_commands_alone() -> None:
    """A changed template makes no conflict of a repeated command."""
    assert (
        delivery(entry(TEMPLATE)).fingerprint
        == delivery(entry(TEMPLATE), MailDefaults()).fingerprint
    )


def test_a_templates_sender_must_be_allowed_too() -> None:
    """The relay would refuse it, for all of this template's mail."""
    made = composed(entry(TEMPLATE), MailDefaults(sender="shop@example.org"))

    assert isinstance(made, Refusal)
    assert (made.code, made.path) == (FailureCode.INVALID_VALUE, "payload.from")


@pytest.mark.parametrize("lane", ["auth", "normal", "bulk"])
def test_a_lane_that_the_command_names_is_its_lane(lane: str) -> None:
    """Also when it is the one its source has anyway."""
    assert delivery(entry(TEMPLATE, lane=lane)).lane.label == lane
