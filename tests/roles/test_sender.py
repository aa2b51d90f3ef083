"""The sender against a scripted relay: every way a transaction ends, and what becomes of it."""

import socket
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
import redis

from mailworkers.adapters import db, store
from mailworkers.core.states import Failure, Lane, Status
from mailworkers.roles.sender import Sender
from tests.deliveries import accept, attempts, new_delivery, recipient_statuses, row, status
from tests.eventually import eventually
from tests.relay import Relay, accepting, close, late, reset

Build = Callable[..., Sender]


def _steps(sender: Sender, most: int = 5) -> None:
    """Step until there is nothing to do."""
    for _ in range(most):
        if not sender.step():
            return


def test_a_ready_delivery_arrives_and_is_sent(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """The bytes of the payload arrive under the envelope of the row; the attempt is closed."""
    new = new_delivery("a@example.com", "b@example.com")
    accept(conn, new)

    assert sender.step() is True

    (message,) = relay.accepted
    assert message.raw == new.mime
    assert (message.mail_from, message.rcpt_to) == (
        "shop@example.org",
        ("a@example.com", "b@example.com"),
    )
    assert status(conn, new.delivery_id) == Status.SENT
    assert recipient_statuses(conn, new.delivery_id) == ["accepted", "accepted"]
    assert attempts(conn, new.delivery_id) == [(1, "provider_accepted", "success")]


def test_nothing_ready_is_no_work(sender: Sender, relay: Relay) -> None:
    """False lets the loop wait; no session is opened for nothing."""
    assert sender.step() is False
    assert relay.commands == []


def test_many_deliveries_use_one_session(sender: Sender, relay: Relay, conn: db.Connection) -> None:
    """The session is kept between deliveries and batches."""
    accept(conn, *(new_delivery() for _ in range(40)))

    _steps(sender, 100)

    assert len(relay.accepted) == 40
    assert len(relay.commands) == 1


@pytest.mark.parametrize("script", ["451 4.3.0 later", "452 4.2.2 full"])
def test_a_temporary_refusal_defers_by_the_ladder(
    sender: Sender, relay: Relay, conn: db.Connection, script: str
) -> None:
    """4yz to the final dot: again after the first rung of 5 s, nothing is lost."""
    relay.says(DOT=script)
    new = new_delivery()
    accept(conn, new)

    sender.step()

    after = row(conn, new.delivery_id)
    assert (after["status"], after["cycle_attempt"], after["lease_token"]) == ("deferred", 1, None)
    wait = conn.execute(
        "SELECT extract(epoch FROM %s - clock_timestamp())", [after["next_attempt_at"]]
    ).fetchone()
    assert wait is not None
    assert 4 < wait[0] < 6
    assert attempts(conn, new.delivery_id) == [(1, "provider_deferred", "transient_error")]


def test_a_permanent_refusal_fails_with_a_dead_letter(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """550 to the only recipient: final, with its reply kept where an operator looks."""
    relay.says(RCPT="550 5.1.1 no such user")
    new = new_delivery()
    accept(conn, new)

    sender.step()

    after = row(conn, new.delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, Failure.REJECTED)
    letters = conn.execute("SELECT delivery_id, cause, reason FROM dead_letters").fetchall()
    assert letters == [(new.delivery_id, "permanent", "no such user")]
    replies = conn.execute("SELECT reply_code, enhanced_code FROM delivery_recipients").fetchall()
    assert replies == [(550, "5.1.1")]


def test_each_recipient_has_its_own_end(sender: Sender, relay: Relay, conn: db.Connection) -> None:
    """Accepted, refused, deferred in one envelope: only the deferred one is tried again."""
    relay.says(RCPT=["250 ok", "550 5.1.1 no", "450 4.2.1 later"])
    new = new_delivery("yes@example.com", "no@example.com", "later@example.com")
    accept(conn, new)

    sender.step()
    assert recipient_statuses(conn, new.delivery_id) == ["accepted", "refused", "open"]
    assert status(conn, new.delivery_id) == Status.DEFERRED
    conn.execute("UPDATE deliveries SET next_attempt_at = clock_timestamp()")
    store.promote_due(conn, limit=10)
    sender.step()

    assert [m.rcpt_to for m in relay.accepted] == [("yes@example.com",), ("later@example.com",)]
    assert recipient_statuses(conn, new.delivery_id) == ["accepted", "refused", "accepted"]
    assert status(conn, new.delivery_id) == Status.SENT


def test_an_exhausted_ladder_ends_in_dead_letter(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """A ladder of one rung has two attempts; the second ends it."""
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr, MAIL_RETRY_LADDER="1s")
    relay.says(DOT="451 later")
    new = new_delivery()
    accept(conn, new)

    sender.step()
    conn.execute("UPDATE deliveries SET next_attempt_at = clock_timestamp()")
    store.promote_due(conn, limit=10)
    sender.step()

    assert status(conn, new.delivery_id) == Status.DEAD_LETTER
    assert recipient_statuses(conn, new.delivery_id) == ["exhausted"]
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == [("exhausted",)]


def test_a_retry_that_would_pass_the_expiry_fails_as_expired(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """There is no use in waiting for a time that never comes."""
    relay.says(DOT="451 later")
    new = new_delivery()
    accept(conn, new)
    conn.execute("UPDATE deliveries SET expires_at = clock_timestamp() + interval '3 s'")

    sender.step()

    after = row(conn, new.delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, Failure.EXPIRED)


def test_wrong_credentials_fail_no_mail_and_stop_the_leasing(
    build: Build, tls_relay: Relay, conn: db.Connection
) -> None:
    """535 at AUTH is our mistake: attempt recorded, ladder not burnt, breaker open at once."""
    assert tls_relay.certificates is not None
    tls_relay.users = {"shop": "right"}
    sender = build(
        Sender,
        MAIL_SMTP_ADDR=f"localhost:{tls_relay.port}",
        MAIL_SMTP_TLS="starttls",
        MAIL_SMTP_CA_FILE=str(tls_relay.certificates.ca),
        MAIL_SMTP_USERNAME="shop",
        MAIL_SMTP_PASSWORD="wrong",
    )
    first, second = new_delivery(), new_delivery()
    accept(conn, first)
    accept(conn, second)
    sender._leasing.pace.limit = 2

    sender.step()

    assert attempts(conn, first.delivery_id) == [(1, "provider_rejected", "transient_error")]
    assert [status(conn, d.delivery_id) for d in (first, second)] == ["queued", "queued"]
    assert row(conn, first.delivery_id)["cycle_attempt"] == 0
    assert attempts(conn, second.delivery_id) == []
    assert sender.step() is False


def test_a_relay_that_is_down_costs_a_delivery_nothing_but_time(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """Refused connections burn no rung; when the relay is back, the mail goes."""
    relay.stop()
    new = new_delivery()
    accept(conn, new)

    _steps(sender)
    before = row(conn, new.delivery_id)
    relay.start()
    eventually(lambda: sender.step() and status(conn, new.delivery_id) == Status.SENT)

    assert (before["status"], before["cycle_attempt"]) == ("queued", 0)


@pytest.mark.parametrize("ending", [reset, close])
def test_an_answer_lost_after_the_dot_is_unknown_and_tried_again(
    sender: Sender, relay: Relay, conn: db.Connection, ending: object
) -> None:
    """The policy `retry`: a duplicate is possible, a loss is not."""
    relay.says(DOT=[accepting(ending), "250 ok"])  # type: ignore[arg-type]
    new = new_delivery()
    accept(conn, new)

    sender.step()

    assert status(conn, new.delivery_id) == Status.DEFERRED
    assert attempts(conn, new.delivery_id) == [(1, "transport_failed", "unknown")]


def test_an_answer_lost_after_the_dot_is_parked_where_that_is_the_policy(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """The policy `park`: never twice; an operator decides."""
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr, MAIL_UNCERTAIN_POLICY="park")
    relay.says(DOT=accepting(reset))
    new = new_delivery()
    accept(conn, new)

    sender.step()

    assert status(conn, new.delivery_id) == Status.UNCERTAIN
    assert recipient_statuses(conn, new.delivery_id) == ["uncertain"]


def test_a_reset_before_the_dot_is_certainly_not_sent(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """A cut at DATA is a failed transport, not a doubt."""
    relay.says(DATA=reset)
    new = new_delivery()
    accept(conn, new)

    sender.step()

    assert attempts(conn, new.delivery_id) == [(1, "transport_failed", "transient_error")]
    assert status(conn, new.delivery_id) == Status.DEFERRED


def test_a_large_message_is_fetched_when_its_turn_comes(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """What did not fit into the lease's answer arrives whole all the same."""
    large = b"Subject: x\r\n\r\n" + b"line of text\r\n" * 400_000
    accept(conn, new_delivery(mime=large))

    sender.step()

    assert relay.accepted[0].raw == large


def test_a_policy_refusal_is_suppressed_and_no_failure(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """Attempt provider_rejected, delivery suppressed (MS-101)."""
    relay.says(RCPT="550 5.7.1 message rejected due to reputation of the sender")
    new = new_delivery()
    accept(conn, new)

    sender.step()

    assert attempts(conn, new.delivery_id) == [(1, "provider_rejected", "permanent_error")]
    assert status(conn, new.delivery_id) == Status.SUPPRESSED


def test_too_many_recipients_sends_the_rest_without_burning_an_attempt(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """452 to a later RCPT: the others went, the rest is ready again at once."""
    relay.says(RCPT=["250 ok", "452 4.5.3 too many recipients"])
    new = new_delivery("a@example.com", "b@example.com")
    accept(conn, new)

    sender.step()

    after = row(conn, new.delivery_id)
    assert (after["status"], after["cycle_attempt"], after["attempt_no"]) == ("queued", 0, 1)
    sender.step()
    assert [m.rcpt_to for m in relay.accepted] == [("a@example.com",), ("b@example.com",)]
    assert status(conn, new.delivery_id) == Status.SENT


def test_stub_mode_ends_everything_without_a_session(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """Nothing leaves, and it is no failure."""
    sender = build(Sender, MAIL_SMTP_MODE="stub")
    new = new_delivery(lane=Lane.AUTH)
    accept(conn, new)

    _steps(sender)

    after = row(conn, new.delivery_id)
    assert (after["status"], after["failure"]) == (Status.SUPPRESSED, Failure.STUB)
    assert relay.commands == []


def test_a_lease_whose_answer_was_lost_is_handed_back_by_its_holder(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """It may have been committed all the same: not held here, it is given up at the next look."""
    new = new_delivery()
    accept(conn, new)
    store.lease_ready(
        conn,
        lease_token=uuid4(),
        leased_by=sender.holder_id,
        lanes=list(Lane),
        after="",
        since={},
        limit=1,
        lease=timedelta(hours=1),
        is_stub=False,
    )

    sender.step()

    assert status(conn, new.delivery_id) == Status.SENT
    assert attempts(conn, new.delivery_id) == [(1, "provider_accepted", "success")]
    assert len(relay.accepted) == 1


def test_bytes_that_could_be_read_as_something_else_are_poison(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """Intake never stores them; if they are there all the same, they never go out (X-03)."""
    new = new_delivery(mime=b"Subject: x\r\n\r\nsmuggled\n.\nMAIL FROM:<x>\r\n")
    accept(conn, new)

    sender.step()

    after = row(conn, new.delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, Failure.POISON)
    assert relay.accepted == []


def test_a_breaker_opened_by_one_sender_is_open_for_all_and_one_probes(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """The others neither lease nor ask the relay; when it is back, all of them go on."""
    one, two = (build(Sender, MAIL_SMTP_ADDR=relay.addr) for _ in range(2))
    news = [new_delivery() for _ in range(3)]
    relay.says("554 not today")
    accept(conn, *news)

    _steps(one, 10)
    sessions = len(relay.commands)
    assert two.step() is False
    assert len(relay.commands) == sessions
    relay.says("220 hello again")

    def all_sent() -> bool:
        one.step()
        two.step()
        return all(status(conn, new.delivery_id) == Status.SENT for new in news)

    eventually(all_sent, within=10)
    assert [row(conn, new.delivery_id)["cycle_attempt"] for new in news] == [1, 1, 1]


def test_without_redis_each_sender_judges_for_itself(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """The breaker opens and closes all the same."""
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr, MAIL_REDIS_MASTER_ADDR="unix:/nowhere")
    new = new_delivery()
    relay.says("554 not today")
    accept(conn, new)

    _steps(sender, 10)
    assert sender.step() is False
    relay.says("220 hello again")

    eventually(lambda: sender.step() and status(conn, new.delivery_id) == Status.SENT, within=10)


def _put_behind(sender: Sender, conn: db.Connection) -> UUID:
    """Let *sender* send one, then put another that became ready long before it."""
    first, second = new_delivery(), new_delivery()
    accept(conn, first)
    sender.step()
    accept(conn, second)
    conn.execute(
        "UPDATE deliveries SET ready_at = now() - interval '1 hour' WHERE delivery_id = %s",
        [second.delivery_id],
    )
    return second.delivery_id


def test_what_was_overtaken_is_not_overlooked(sender: Sender, conn: db.Connection) -> None:
    """A sender reads on from where it was; what comes to lie before it is swept up."""
    behind = _put_behind(sender, conn)

    eventually(lambda: sender.step() and status(conn, behind) == Status.SENT)


def test_on_a_new_connection_all_is_read_at_once(sender: Sender, conn: db.Connection) -> None:
    """It may lead to another database: where the last lease was in that one is not known."""
    behind = _put_behind(sender, conn)
    sender._context.database.drop()  # as a tick does when the store is away

    sender.step()

    assert status(conn, behind) == Status.SENT


def test_a_batch_that_takes_long_is_settled_and_its_rest_given_to_others(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """A relay that becomes slow in the middle keeps neither outcomes nor leases waiting."""
    news = [new_delivery() for _ in range(30)]
    accept(conn, *news)
    sender._leasing.pace.limit = 30
    relay.says(DOT=["250 ok"] + [late(0.15, "250 ok")] * 29)

    sender.step()

    rows = conn.execute("SELECT status, count(*) FROM deliveries GROUP BY status").fetchall()
    found: dict[str, int] = dict(rows)
    assert set(found) == {"sent", "queued"}
    assert found["sent"] == len(relay.accepted)
    assert 2 < found["sent"] < 20


def test_a_silent_redis_does_not_slow_down_the_mail(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """It is asked before a lease, waited for a moment, then left alone (F-R10)."""
    with socket.create_server(("127.0.0.1", 0)) as black_hole:
        port = black_hole.getsockname()[1]
        sender = build(
            Sender, MAIL_SMTP_ADDR=relay.addr, MAIL_REDIS_MASTER_ADDR=f"127.0.0.1:{port}"
        )
        accept(conn, *(new_delivery() for _ in range(200)))
        began = time.monotonic()

        _steps(sender, 300)

        assert len(relay.accepted) == 200
        assert time.monotonic() - began < 5


def test_what_nobody_wrote_into_the_breakers_key_is_removed(
    build: Build, relay: Relay, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """Another version, another program, a typing error: no reason to die."""
    redis_client.set(f"mail:breaker:{relay.addr}", b"junk")
    sender = build(Sender, MAIL_SMTP_ADDR=relay.addr)
    accept(conn, new_delivery())

    sender.step()

    assert len(relay.accepted) == 1
    assert redis_client.get(f"mail:breaker:{relay.addr}") is None


def test_a_delivery_without_its_bytes_fails_and_stops_nobody(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """There is nothing to send; the mail behind it goes."""
    empty, other = new_delivery(), new_delivery()
    accept(conn, empty)
    accept(conn, other)
    conn.execute("DELETE FROM delivery_payloads WHERE delivery_id = %s", [empty.delivery_id])

    _steps(sender)

    after = row(conn, empty.delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, Failure.POISON)
    assert status(conn, other.delivery_id) == Status.SENT


def test_what_expires_while_it_waits_for_its_turn_is_not_sent(
    sender: Sender, relay: Relay, conn: db.Connection
) -> None:
    """The sender looks again before MAIL; the scheduler ends it."""
    first, second = new_delivery(), new_delivery()
    accept(conn, first)
    accept(conn, second)
    conn.execute(
        "UPDATE deliveries SET expires_at = clock_timestamp() + interval '300 ms'"
        " WHERE delivery_id = %s",
        [second.delivery_id],
    )
    sender._leasing.pace.limit = 2
    relay.says(DOT=late(0.5, "250 ok"))

    _steps(sender)

    assert len(relay.accepted) == 1
    assert status(conn, second.delivery_id) == Status.QUEUED


def test_a_prober_that_dies_is_followed_by_another_soon(
    build: Build, relay: Relay, conn: db.Connection
) -> None:
    """Its right to probe ends by itself a few seconds after it fell silent."""
    relay.says("554 not today")
    dead, other = (build(Sender, MAIL_SMTP_ADDR=relay.addr) for _ in range(2))
    new = new_delivery()
    accept(conn, new)
    _steps(dead, 10)
    assert dead._line is not None
    eventually(lambda: dead._line is not None and not dead._line.seconds_to_probe())
    dead._line.look()  # takes the right to probe, and is never heard of again
    relay.says("220 hello again")

    eventually(lambda: other.step() and status(conn, new.delivery_id) == Status.SENT, within=10)
