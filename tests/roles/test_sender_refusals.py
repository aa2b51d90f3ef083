"""What a delivery becomes when the relay refuses it in ways the grid of phases does not have."""

from collections.abc import Callable

import pytest

from mailworkers.adapters import db, store
from mailworkers.core.states import Failure, Status
from mailworkers.roles.sender import Sender
from tests.certificates import Certificates
from tests.deliveries import accept, attempts, new_delivery, recipient_statuses, row, status
from tests.eventually import eventually
from tests.relay import Relay, hang, raw

Build = Callable[..., Sender]
OWN, OTHER = "shop@example.org", "other@example.org"
READY_AGAIN = ("queued", None, 0)
FAILED = ("failed", Failure.REJECTED, 1)


def _summary(conn: db.Connection) -> str:
    """Return what the only attempt says of itself."""
    (row,) = conn.execute("SELECT summary FROM attempts").fetchall()
    return str(row[0])


@pytest.mark.parametrize(
    ("mail_from", "said", "end"),
    [
        # It would meet every message of ours alike: nobody pays for it.
        (OWN, "550 5.1.8 not from there", READY_AGAIN),
        (OWN, "553 5.7.1 not owned by user", READY_AGAIN),
        (OWN, "554 5.7.1 blocked using a list", READY_AGAIN),
        (OWN, "530 5.7.0 Must issue a STARTTLS command first", READY_AGAIN),
        # Another identity is the delivery's own.
        (OTHER, "550 5.1.8 not from there", FAILED),
        (OTHER, "553 5.7.1 not owned by user", FAILED),
        # Our login, whoever the sender is.
        (OTHER, "530 5.7.0 Authentication required", READY_AGAIN),
        (OTHER, "502 5.7.0 Please authenticate first", READY_AGAIN),
        (OTHER, "503 5.5.1 bad sequence of commands", READY_AGAIN),
        # The size and the parameters of this message.
        (OWN, "552 5.3.4 too big", FAILED),
        (OWN, "552 too much mail data", FAILED),
        (OWN, "554 5.3.4 too big", FAILED),
        (OTHER, "555 5.5.4 unsupported parameter", FAILED),
        # Not enough room, for now (F-S15).
        (OWN, "452 4.3.1 Insufficient system storage", ("deferred", None, 1)),
        (OTHER, "452 4.3.4 too big just now", ("deferred", None, 1)),
    ],
)
def test_a_refused_mail_command_ends_by_what_it_is_about(
    sender: Sender,
    relay: Relay,
    conn: db.Connection,
    mail_from: str,
    said: str,
    end: tuple[str, Failure | None, int],
) -> None:
    """The message, the sender identity, our account: it may be any of them."""
    relay.says(MAIL=[said])
    new = new_delivery(mail_from=mail_from)
    accept(conn, new)

    sender.step()

    after = row(conn, new.delivery_id)
    assert (after["status"], after["failure"], after["cycle_attempt"]) == end
    assert relay.accepted == []


def test_a_message_that_needs_smtputf8_fails_where_it_is_not_offered(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """F-S16: under its own name, with words; nothing 8-bit goes out, and the session is kept."""
    relay.offers("PIPELINING", "SIZE 52428800", "8BITMIME")
    new = new_delivery("jürgen@example.com", mime="To: jürgen\r\n\r\nhi\r\n".encode())
    plain = new_delivery()
    accept(conn, new)
    accept(conn, plain)

    while sender.step():
        pass

    after = row(conn, new.delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, Failure.SMTPUTF8)
    letters = conn.execute("SELECT reason FROM dead_letters").fetchall()
    assert letters == [("the relay does not offer SMTPUTF8, which this message needs",)]
    assert status(conn, plain.delivery_id) == Status.SENT
    assert relay.sessions == 1


@pytest.mark.parametrize("said", ["450 4.2.0 Greylisted", "451 4.7.1 Greylisting in action"])
def test_a_greylisted_recipient_gets_the_mail_once_when_its_time_has_come(
    sender: Sender, relay: Relay, conn: db.Connection, said: str
) -> None:
    """F-S18: refused for now until the relay has seen us often enough; then one message."""
    relay.says(RCPT=[said] * 3)
    new = new_delivery()
    accept(conn, new)

    for _ in range(4):
        sender.step()
        conn.execute("UPDATE deliveries SET next_attempt_at = clock_timestamp()")
        store.promote_due(conn, limit=10)

    assert status(conn, new.delivery_id) == Status.SENT
    assert [outcome for _, _, outcome in attempts(conn, new.delivery_id)] == [
        "transient_error",
        "transient_error",
        "transient_error",
        "success",
    ]
    assert len(relay.accepted) == 1


def test_too_many_recipients_costs_no_rung_however_often_it_is_said(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """F-S08: one a transaction; as long as some get it, the rest is only put off."""
    people = [f"r{number}@example.com" for number in range(4)]
    full = "452 4.5.3 too many recipients"
    relay.says(RCPT=["250 ok", full, full, full, "250 ok", full, full, "250 ok", full, "250 ok"])
    new = new_delivery(*people)
    accept(conn, new)

    while sender.step():
        pass

    after = row(conn, new.delivery_id)
    assert (after["status"], after["cycle_attempt"], after["attempt_no"]) == ("sent", 1, 4)
    assert [message.rcpt_to for message in relay.accepted] == [(person,) for person in people]
    assert recipient_statuses(conn, new.delivery_id) == ["accepted"] * 4


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"BANNER": raw(b"SSH-2.0-OpenSSH_9.6\r\n")}, "not an SMTP reply: 'SSH-2.0-OpenSSH_9.6'"),
        ({"MAIL": "354 what"}, "out of place at mail: 354 what"),
        ({"DOT": "200"}, "provider accepted"),
    ],
)
def test_an_attempt_says_in_words_why_it_ended(
    sender: Sender, relay: Relay, conn: db.Connection, script: dict[str, str], words: str
) -> None:
    """The relay's words, or ours where it had none to the matter: never nothing."""
    relay.says(**script)
    accept(conn, new_delivery())

    sender.step()

    assert _summary(conn) == words


def test_a_relay_that_is_down_is_said_to_be_so(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """Not just that it failed: who reads it has to know what to mend."""
    relay.stop()
    accept(conn, new_delivery())

    sender.step()

    assert _summary(conn) == "Connection refused"


def test_a_certificate_that_is_refused_is_named(
    build: Build, tls_relay: Relay, certificates: Certificates, conn: db.Connection
) -> None:
    """F-S20: in the attempt, and as the breaker's reason."""
    tls_relay.identity = "expired"
    sender = build(
        Sender,
        MAIL_SMTP_ADDR=tls_relay.addr,
        MAIL_SMTP_TLS="starttls",
        MAIL_SMTP_CA_FILE=str(certificates.ca),
    )
    accept(conn, new_delivery())

    sender.step()

    reason = "the relay's certificate is refused: certificate has expired"
    assert _summary(conn) == reason
    assert sender._line is not None
    assert sender._line.reason == reason


def test_operators_see_the_session_that_spoke_against_the_relay(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """In the sender's line of `processes`, masked, for as long as the relay is not well."""
    relay.users = {"alice": "another"}
    sender = build(
        Sender,
        MAIL_SMTP_ADDR=relay.addr,
        MAIL_SMTP_USERNAME="alice",
        MAIL_SMTP_PASSWORD="hunter2-geheim",
    )
    accept(conn, new_delivery())

    sender.step()
    sender.step()
    ill = sender._context.heartbeat.detail
    relay.users = {"alice": "hunter2-geheim"}
    eventually(lambda: sender.step() and len(relay.accepted) == 1, within=10)
    sender.step()
    well = sender._context.heartbeat.detail

    assert ill["transcript"] == (
        f"-: connected to 127.0.0.1 port {relay.port}",
        "S: 220 relay.test ESMTP",
        "C: EHLO localhost",
        (
            "S: 250 relay.test PIPELINING SIZE 52428800 8BITMIME ENHANCEDSTATUSCODES SMTPUTF8"
            " AUTH PLAIN LOGIN CRAM-MD5"
        ),
        "C: AUTH CRAM-MD5",
        "S: 334 PDEuMkByZWxheS50ZXN0Pg==",
        "C: ***",
        "S: 535 5.7.8 bad credentials",
        "-: auth: the relay answered 535 5.7.8 bad credentials",
    )
    assert (ill["breaker"], ill["reason"]) == ("open", "535 5.7.8 bad credentials")
    assert (well["breaker"], well["reason"], well["transcript"]) == ("closed", "", ())


def test_a_relay_that_does_not_answer_in_time_is_said_to_be_so(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr, MAIL_SMTP_TIMEOUT="300ms")
    relay.says(RCPT=hang)
    accept(conn, new_delivery())

    sender.step()

    assert _summary(conn) == "the relay did not answer in time"
