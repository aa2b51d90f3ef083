"""Resends: another message with the same text, as a delivery of its own."""

from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import default
from uuid import UUID

import msgspec

from mailworkers.core.addresses import parse_mailbox
from mailworkers.core.deliveries import NewRecipient
from mailworkers.core.dkim import Algorithm, Keyring, SigningKey
from mailworkers.core.mime import Message, compose
from mailworkers.core.resending import Cloner, Original, renew
from mailworkers.core.states import Failure, Lane, PayloadMode, Status

FIRST, SECOND = UUID(int=1), UUID(int=2)
THEN, NOW = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 11, 22, 6, 30, 5, tzinfo=UTC)
KEY = SigningKey("example.org", "s1", Algorithm.RSA, lambda digest: digest * 8)
KEYRING = Keyring({"example.org": (KEY,)})
MIME = compose(
    Message(
        sender=parse_mailbox("Shop <shop@example.org>"),
        to=(parse_mailbox("Ada <ada@example.com>"),),
        cc=(),
        reply_to=(),
        subject="Grüße " + "aus einer langen Betreffzeile " * 5,
        text="Date: not a header\r\nMessage-ID: nor this\r\n",
        html="<p>Hello</p>",
        headers=(("X-Date-Of-Order", "yesterday"),),
    ),
    message_id="<first@example.org>",
    date=THEN,
)


def original(**changes: object) -> Original:
    """Return a delivery that was sent signed."""
    made = Original(
        delivery_id=FIRST,
        lane=Lane.BULK,
        payload_mode=PayloadMode.TEMPLATE,
        template_id="welcome",
        template_version="v1",
        locale="de",
        mail_from="shop@example.org",
        retry_policy="exponential",
        expires_at=None,
        mime=KEYRING.sign(MIME, sender_domain="example.org", at=THEN),
        recipients=(NewRecipient("bcc", "Ada@example.com", "ada@example.com"),),
    )
    return msgspec.structs.replace(made, **changes)


def test_only_message_id_and_date_are_another() -> None:
    """Their places, every other header to the byte, and the body stay."""
    renewed = renew(MIME, message_id="<second@example.org>", date=NOW)

    expected = MIME.replace(b"<first@example.org>", b"<second@example.org>").replace(
        b"Date: Thu, 01 Jan 2026 00:00:00 +0000", b"Date: Sun, 22 Nov 2026 06:30:05 +0000"
    )
    assert renewed == expected != MIME


def test_old_signatures_go_whatever_their_number() -> None:
    """They would not fit any more; a folded one goes as a whole."""
    twice = Keyring({"example.org": (KEY, KEY)}).sign(MIME, sender_domain="example.org", at=THEN)

    renewed = renew(twice, message_id="<second@example.org>", date=NOW)

    assert twice.count(b"DKIM-Signature:") == 2
    assert renewed == renew(MIME, message_id="<second@example.org>", date=NOW)


def test_a_clone_is_signed_anew() -> None:
    """One signature, on top, of this time."""
    clone = Cloner(stub=False, keyring=KEYRING).clone(
        original(), delivery_id=SECOND, idempotency_key="k", now=NOW
    )

    message = message_from_bytes(clone.mime, policy=default)
    assert message["Message-ID"] == f"<{SECOND}@example.org>"
    assert len(message.get_all("DKIM-Signature", [])) == 1
    assert f"t={int(NOW.timestamp())};" in message["DKIM-Signature"]
    assert clone.mime.startswith(b"DKIM-Signature:")


def test_a_clone_is_a_delivery_of_its_own_with_a_link() -> None:
    """Ready at once; lane, policy, template and envelope are the original's."""
    clone = Cloner(stub=False, keyring=Keyring({})).clone(
        original(), delivery_id=SECOND, idempotency_key="k", now=NOW
    )

    assert (clone.delivery_id, clone.resend_of, clone.source) == (SECOND, FIRST, "resend")
    assert (clone.status, clone.lane, clone.retry_policy) == ("rendered", Lane.BULK, "exponential")
    assert (clone.template_id, clone.locale) == ("welcome", "de")
    assert clone.recipients == original().recipients
    assert (clone.idempotency_key, clone.traceparent) == ("k", None)


def test_an_end_is_kept_unless_another_is_given() -> None:
    """And another end is another order: its fingerprint differs, as that of another original."""
    cloner = Cloner(stub=False, keyring=Keyring({}))
    end = NOW + timedelta(days=1)

    kept = cloner.clone(original(expires_at=end), delivery_id=SECOND, idempotency_key="k", now=NOW)
    given = cloner.clone(
        original(), delivery_id=SECOND, idempotency_key="k", now=NOW, expires_at=end
    )
    other = cloner.clone(
        original(delivery_id=UUID(int=3)), delivery_id=SECOND, idempotency_key="k", now=NOW
    )

    assert kept.expires_at == given.expires_at == end
    assert len({kept.fingerprint, given.fingerprint, other.fingerprint}) == 3
    assert len(kept.fingerprint) == 32


def test_in_stub_mode_nothing_leaves() -> None:
    """As with every delivery: it ends suppressed at once."""
    clone = Cloner(stub=True, keyring=Keyring({})).clone(
        original(), delivery_id=SECOND, idempotency_key="k", now=NOW
    )

    assert (clone.status, clone.failure) == (Status.SUPPRESSED, Failure.STUB)
