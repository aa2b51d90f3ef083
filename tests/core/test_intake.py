"""Intake: a command becomes a delivery composed to its last byte, or a refusal with the reason."""

import email
import email.policy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailworkers.core.commands import Command, FailureCode, Refusal, decode_entry
from mailworkers.core.errors import TemplateError
from mailworkers.core.intake import Composer, Identity, NewDelivery, NewRecipient, Rendered
from mailworkers.core.states import Failure, Lane, Status
from tests.core.entries import DELIVERY_ID, RENDERED, TEMPLATE, TRACEPARENT, changed, entry

NOW = datetime(2026, 11, 21, 10, 0, 1, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
AUTH_LIFE = timedelta(minutes=10)


class Templates:
    """A renderer that says what it was given, and fails as it is told."""

    def __init__(self, failure: TemplateError | None = None, subject: str = "Hello") -> None:
        self.failure = failure
        self.subject = subject

    def render(self, template_id: str, locale: str, variables: Mapping[str, Any]) -> Rendered:
        """Return the arguments as text."""
        if self.failure:
            raise self.failure
        text = f"{template_id} {locale} {dict(variables)}"
        return Rendered(self.subject, text, f"<p>{text}</p>", template_id, "0123456789ab", "de")


def milliseconds(at: datetime) -> str:
    """Return *at* as a command carries it."""
    return str(int(at.timestamp() * 1000))


def composed(
    fields: dict[bytes, bytes], *, renderer: Templates | None = None, **settings: Any
) -> NewDelivery | Refusal:
    """Return what a composer with *settings* makes of an entry at NOW."""
    command = decode_entry(fields)
    assert isinstance(command, Command), command
    composer = Composer(
        identity=settings.pop("identity", Identity("Shop <no-reply@example.com>")),
        renderer=renderer or Templates(),
        auth_life=AUTH_LIFE,
        **settings,
    )
    return composer.compose(command, delivery_id=UUID(DELIVERY_ID), now=NOW)


def delivery(fields: dict[bytes, bytes], **settings: Any) -> NewDelivery:
    """Return the delivery made of a good entry."""
    made = composed(fields, **settings)
    assert isinstance(made, NewDelivery), made
    return made


def refusal(fields: dict[bytes, bytes], **settings: Any) -> Refusal:
    """Return why an entry that decodes is refused by intake."""
    made = composed(fields, **settings)
    assert isinstance(made, Refusal), made
    return made


def rendered(**changes: Any) -> dict[bytes, bytes]:
    """Return an entry with the rendered payload changed."""
    return entry(changed(RENDERED, changes))


def read(mime: bytes) -> EmailMessage:
    """Return *mime* as the standard library reads it."""
    return email.message_from_bytes(mime, policy=email.policy.default)


def test_a_rendered_command_becomes_a_queued_delivery() -> None:
    """Every column that accept needs is there, and the message is final."""
    made = delivery(entry(traceparent=TRACEPARENT, expires_at_ms=milliseconds(LATER)))

    assert made.delivery_id == UUID(DELIVERY_ID)
    assert (made.source, made.lane, made.status) == ("notification", Lane.NORMAL, Status.QUEUED)
    assert (made.template_id, made.template_version, made.locale) == (None, None, None)
    assert made.mail_from == "no-reply@example.com"
    assert (made.idempotency_key, len(made.fingerprint)) == ("order-4711", 32)
    assert (made.retry_policy, made.next_attempt_at, made.failure) == ("ladder", None, None)
    assert (made.expires_at, made.traceparent, made.resend_of) == (LATER, TRACEPARENT, None)
    assert made.recipients == (NewRecipient("to", "ada@example.com", "ada@example.com"),)


def test_the_message_has_the_id_and_the_date_it_will_always_have() -> None:
    """Accepting means composed: every retry sends these bytes."""
    first = delivery(entry())
    message = read(first.mime)

    assert message["Message-ID"] == f"<{DELIVERY_ID}@example.com>"
    assert message["Date"] == "Sat, 21 Nov 2026 10:00:01 +0000"
    assert message["From"] == "Shop <no-reply@example.com>"
    assert message["To"] == "Ada Lovelace <ada@example.com>"
    assert message["Subject"] == "Your order"
    assert delivery(entry()).mime == first.mime


def test_a_template_command_is_rendered_and_says_by_what() -> None:
    """`rendered` is accepted template content, ready for a sender."""
    made = delivery(entry(TEMPLATE))
    body = read(made.mime).get_body(("plain",))

    assert made.status is Status.RENDERED
    assert (made.template_id, made.template_version, made.locale) == (
        "login-code",
        "0123456789ab",
        "de",
    )
    assert body is not None
    assert "login-code de-DE {'code': '492817'}" in body.get_content()


def test_bcc_is_in_the_envelope_and_nowhere_else() -> None:
    """Contract section 3: Bcc stands only in the envelope and the table, never in the bytes."""
    made = delivery(rendered(cc=["c@example.com"], bcc=["hidden@example.com"]))

    assert [(recipient.kind, recipient.address) for recipient in made.recipients] == [
        ("to", "ada@example.com"),
        ("cc", "c@example.com"),
        ("bcc", "hidden@example.com"),
    ]
    assert b"hidden" not in made.mime


def test_a_recipient_named_twice_gets_one_copy() -> None:
    """The first of To, Cc, Bcc counts; sameness is that of suppression (X-16)."""
    made = delivery(
        rendered(
            to=["Ada@Example.com", "b@bücher.example"],
            cc=["ada@example.com"],
            bcc=["B@XN--BCHER-KVA.example", "c@example.com"],
        )
    )

    assert made.recipients == (
        NewRecipient("to", "Ada@Example.com", "ada@example.com"),
        NewRecipient("to", "b@xn--bcher-kva.example", "b@xn--bcher-kva.example"),
        NewRecipient("bcc", "c@example.com", "c@example.com"),
    )


def test_attachments_and_headers_go_into_the_message() -> None:
    """What was base64 in the command is the same bytes in the message."""
    part = {"filename": "a.bin", "content_type": "application/x-a", "content_base64": "AAECAw=="}
    message = read(delivery(rendered(attachments=[part], headers={"X-Order": "4711"})).mime)
    files = [(file.get_filename(), file.get_content()) for file in message.iter_attachments()]

    assert files == [("a.bin", b"\0\1\2\3")]
    assert message["X-Order"] == "4711"


def test_an_empty_body_beside_a_full_one_is_left_out() -> None:
    """Producers in other languages write "" for nothing."""
    message = read(delivery(rendered(text_body="", html_body="<p>Hi</p>")).mime)

    assert message.get_content_type() == "text/html"


def test_a_later_time_to_send_makes_it_scheduled() -> None:
    """The scheduler wakes it at that time, no other role."""
    made = delivery(entry(send_at_ms=milliseconds(LATER)))

    assert (made.status, made.next_attempt_at) == (Status.SCHEDULED, LATER)


def test_a_time_to_send_that_is_past_means_at_once() -> None:
    """F-C06: the past is not an error."""
    made = delivery(entry(send_at_ms=milliseconds(NOW)))

    assert (made.status, made.next_attempt_at) == (Status.QUEUED, None)


@pytest.mark.parametrize(
    ("times", "path"),
    [
        ({"expires_at_ms": NOW}, "expires_at_ms"),
        ({"expires_at_ms": NOW - timedelta(days=1)}, "expires_at_ms"),
        ({"expires_at_ms": LATER, "send_at_ms": LATER}, "send_at_ms"),
        ({"expires_at_ms": LATER, "send_at_ms": LATER + timedelta(seconds=1)}, "send_at_ms"),
        ({"lane": "auth", "send_at_ms": NOW + AUTH_LIFE}, "send_at_ms"),
    ],
)
def test_what_could_never_be_sent_in_time_is_refused(
    times: dict[str, datetime | str], path: str
) -> None:
    """Better told at once than found expired later."""
    texts = {
        name: milliseconds(value) if isinstance(value, datetime) else value
        for name, value in times.items()
    }
    refused = refusal(entry(**texts))

    assert (refused.code, refused.path) == (FailureCode.INVALID_VALUE, path)


def test_auth_mail_has_a_short_life_and_its_own_ladder() -> None:
    """Contract section 3: never sent after MAIL_AUTH_LIFE, whatever the producer asked for."""
    soon = NOW + timedelta(minutes=1)

    assert delivery(entry(source="authsession")).expires_at == NOW + AUTH_LIFE
    assert delivery(entry(source="authsession")).retry_policy == "auth"
    for asked_for, kept in ((LATER, NOW + AUTH_LIFE), (soon, soon)):
        fields = entry(source="authsession", expires_at_ms=milliseconds(asked_for))
        assert delivery(fields).expires_at == kept


def test_in_stub_mode_everything_ends_suppressed() -> None:
    """Contract section 3: decided at accept, without an attempt; scheduled mail too."""
    for fields in (entry(), entry(TEMPLATE), entry(send_at_ms=milliseconds(LATER))):
        made = delivery(fields, stub=True)

        assert (made.status, made.failure) == (Status.SUPPRESSED, Failure.STUB)
        assert made.next_attempt_at is None


def test_in_stub_mode_bad_commands_are_refused_all_the_same() -> None:
    """What is tried with the stub must not fail for the first time in production."""
    assert refusal(rendered(to=["nobody"]), stub=True).code is FailureCode.INVALID_ADDRESS


def test_from_may_be_another_mailbox_of_an_allowed_domain() -> None:
    """The default is the domain of the identity; MAIL_SMTP_FROM_ALLOWED names others."""
    own = delivery(rendered(**{"from": "Sales <sales@example.com>"}))
    others = Identity("no-reply@example.com", frozenset({"xn--bcher-kva.example"}))
    other = delivery(rendered(**{"from": "sales@bücher.example"}), identity=others)

    assert own.mail_from == "sales@example.com"
    assert read(own.mime)["From"] == "Sales <sales@example.com>"
    assert other.mail_from == "sales@xn--bcher-kva.example"
    assert f"<{DELIVERY_ID}@xn--bcher-kva.example>".encode() in other.mime


REFUSALS: dict[str, tuple[dict[str, Any], FailureCode, str]] = {
    "no at-sign": ({"to": ["ada"]}, FailureCode.INVALID_ADDRESS, "payload.to[0]"),
    "the second of two": (
        {"to": ["ada@example.com", "a b@example.com"]},
        FailureCode.INVALID_ADDRESS,
        "payload.to[1]",
    ),
    "in cc": ({"cc": ["<a@example.com"]}, FailureCode.INVALID_ADDRESS, "payload.cc[0]"),
    "in bcc": ({"bcc": [""]}, FailureCode.INVALID_ADDRESS, "payload.bcc[0]"),
    "in reply_to": ({"reply_to": ["a@"]}, FailureCode.INVALID_ADDRESS, "payload.reply_to[0]"),
    "in from": ({"from": "shop"}, FailureCode.INVALID_ADDRESS, "payload.from"),
    "a foreign from": ({"from": "a@example.org"}, FailureCode.INVALID_VALUE, "payload.from"),
    "a subdomain as from": (
        {"from": "a@mail.example.com"},
        FailureCode.INVALID_VALUE,
        "payload.from",
    ),
    "a header in an address": (
        {"to": ["ada@example.com\r\nBcc: eve@example.com"]},
        FailureCode.HEADER_INJECTION,
        "payload.to[0]",
    ),
    "a header in a name": (
        {"from": "Shop\nBcc: <a@example.com>"},
        FailureCode.HEADER_INJECTION,
        "payload.from",
    ),
    "a header in the subject": (
        {"subject": "Hi\r\nBcc: eve@example.com"},
        FailureCode.HEADER_INJECTION,
        "payload.subject",
    ),
    "a header in a header": (
        {"headers": {"X-A": "1\nBcc: eve@example.com"}},
        FailureCode.HEADER_INJECTION,
        "payload.headers",
    ),
    "a header in a header's name": (
        {"headers": {"X-A: 1\r\nBcc": "eve@example.com"}},
        FailureCode.HEADER_INJECTION,
        "payload.headers",
    ),
    "a header that is ours": (
        {"headers": {"Received": "x"}},
        FailureCode.INVALID_VALUE,
        "payload.headers",
    ),
    "a line break in a filename": (
        {"attachments": [{"filename": "a\nb", "content_type": "a/b", "content_base64": ""}]},
        FailureCode.HEADER_INJECTION,
        "payload.attachments",
    ),
    "a content type that is none": (
        {"attachments": [{"filename": "a", "content_type": "pdf", "content_base64": ""}]},
        FailureCode.INVALID_VALUE,
        "payload.attachments",
    ),
}


@pytest.mark.parametrize(("changes", "code", "path"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_bad_command_is_refused_with_the_code_and_the_field(
    changes: dict[str, Any], code: FailureCode, path: str
) -> None:
    """After intake nothing but SMTP can fail, so all of this is found here."""
    refused = refusal(rendered(**changes))

    assert (refused.code, refused.path) == (code, path)
    assert refused.detail.startswith(f"{path}: ")
    assert (refused.delivery_id, refused.source) == (DELIVERY_ID, "notification")


@pytest.mark.parametrize(
    ("code", "path"),
    [
        (FailureCode.UNKNOWN_TEMPLATE, "payload.template_id"),
        (FailureCode.TEMPLATE_VARIABLES, "payload.variables"),
        (FailureCode.RENDER_FAILED, "payload.template_id"),
    ],
)
def test_a_template_that_cannot_be_used_is_a_refusal(code: FailureCode, path: str) -> None:
    """The catalog's word is passed on, with the field it is about."""
    refused = refusal(entry(TEMPLATE), renderer=Templates(TemplateError(code, "because")))

    assert (refused.code, refused.path, refused.detail) == (code, path, f"{path}: because")


def test_a_variable_cannot_put_a_header_into_the_subject() -> None:
    """The field to blame is the variables: the subject is the template's."""
    refused = refusal(entry(TEMPLATE), renderer=Templates(subject="Hi\nBcc: eve@example.com"))

    assert (refused.code, refused.path) == (FailureCode.HEADER_INJECTION, "payload.variables")


def test_an_error_of_our_own_is_a_refusal_that_names_the_place() -> None:
    """One command must never stop the others, not even by our mistake (M-15)."""
    refused = refusal(entry(), identity=None)

    assert refused.code is FailureCode.INVALID_VALUE
    assert refused.detail.startswith("could not be handled: AttributeError in mailboxes.py, line ")


TEXTS = st.text(max_size=12)


@settings(deadline=None, max_examples=300)
@given(
    st.fixed_dictionaries(
        {"to": st.lists(TEXTS | st.just("ada@example.com"), min_size=1, max_size=2)},
        optional={
            "subject": TEXTS,
            "from": TEXTS,
            "reply_to": st.lists(TEXTS, max_size=2),
            "headers": st.dictionaries(TEXTS | st.just("X-A"), TEXTS, max_size=2),
        },
    )
)
def test_no_command_whatever_it_holds_raises(changes: dict[str, Any]) -> None:
    """A command is composed or refused; there is no third thing."""
    fields = rendered(**changes)
    if isinstance(decode_entry(fields), Command):
        assert isinstance(composed(fields), NewDelivery | Refusal)
