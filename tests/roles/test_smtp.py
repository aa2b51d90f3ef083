"""Transactions and kept sessions, against a scripted relay on a real socket."""

import gc
import os
import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from mailworkers.adapters.smtp import Session
from mailworkers.core.states import Stage
from mailworkers.core.wire import Broken, Envelope, Reply, UnsafeOnWire
from tests.conversation import Conversation
from tests.eventually import eventually
from tests.relay import (
    Relay,
    Step,
    accepting,
    close,
    drip,
    endless,
    hang,
    late,
    raw,
    reset,
    then,
)
from tests.sessions import LARGE, MIME, ONE_BY_ONE, envelope_to, opened, send, settings_for, yes

SHORT = {"timeout": timedelta(seconds=0.4), "dot_timeout": timedelta(seconds=0.4)}


@pytest.fixture
def session(relay: Relay) -> Iterator[Session]:
    """An open session with `relay`."""
    session = opened(relay)
    yield session
    session.close()


# What is sent


@pytest.mark.parametrize("mime", [MIME, LARGE, b".\r\n", b"x", b"\r\n.\r\n"])
def test_the_message_arrives_byte_for_byte(relay: Relay, session: Session, mime: bytes) -> None:
    """Dots are stuffed and a missing last CRLF is added; nothing else changes."""
    transaction = send(session, mime=mime)

    assert transaction.reply == Reply(250, "2.0.0", "Ok: queued")
    assert transaction.broken is None
    assert transaction.dot_sent
    assert relay.accepted[0].raw == (mime if mime.endswith(b"\r\n") else mime + b"\r\n")


def test_the_envelope_is_what_mail_and_rcpt_carry(relay: Relay, session: Session) -> None:
    send(session, "a@example.com", "b@example.org")

    assert relay.accepted[0].mail == f"MAIL FROM:<sender@example.com> SIZE={len(MIME)}"
    assert relay.accepted[0].rcpt_to == ("a@example.com", "b@example.org")


def test_with_pipelining_mail_rcpt_and_data_go_out_before_any_reply(
    relay: Relay, session: Session
) -> None:
    """RFC 2920; a round trip costs more than all the rest."""
    waiting: list[bytes] = []

    def look(talk: Conversation) -> None:
        waiting.append(talk.unread)
        talk.do("250 ok")

    relay.says(MAIL=look)

    send(session, "a@example.com", "b@example.com")

    assert waiting == [b"RCPT TO:<a@example.com>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"]
    assert len(relay.accepted) == 1


def test_without_pipelining_a_refused_mail_is_not_followed_by_anything(relay: Relay) -> None:
    relay.offers(*ONE_BY_ONE)
    relay.says(MAIL="550 5.1.8 no")
    session = opened(relay)

    transaction = send(session)

    assert transaction.stage is Stage.MAIL
    assert [line.split()[0] for line in relay.commands[0]] == ["EHLO", "MAIL"]
    session.close()


def test_without_pipelining_data_is_not_said_when_no_recipient_is_accepted(relay: Relay) -> None:
    relay.offers(*ONE_BY_ONE)
    relay.says(RCPT="550 5.1.1 no")
    session = opened(relay)

    transaction = send(session, "a@example.com", "b@example.com")

    assert transaction.stage is Stage.RCPT
    verbs = [line.split()[0] for line in relay.commands[0]]
    assert verbs == ["EHLO", "MAIL", "RCPT", "RCPT", "RSET"]
    session.close()


def test_a_relay_without_size_is_not_told_one(relay: Relay) -> None:
    relay.offers("PIPELINING")
    session = opened(relay)
    send(session)
    session.close()

    assert relay.accepted[0].mail == "MAIL FROM:<sender@example.com>"


def test_a_message_past_the_stated_size_is_refused_before_mail(relay: Relay) -> None:
    """F-S15; judged as the 552 it would get, and the session stays good."""
    relay.offers("PIPELINING", f"SIZE {len(MIME) - 1}")
    session = opened(relay)

    transaction = send(session)

    assert transaction.stage is Stage.MAIL
    assert transaction.reply is not None
    assert (transaction.reply.code, transaction.reply.enhanced) == (552, "5.3.4")
    assert transaction.mail_reply == transaction.reply
    assert relay.commands == [["EHLO localhost"]]
    assert session.is_usable()
    session.close()


def test_smtputf8_is_used_when_needed_and_offered(relay: Relay, session: Session) -> None:
    mime = "To: jürgen@example.com\r\n\r\nhi\r\n".encode()
    envelope = Envelope("sender@example.com", ("jürgen@example.com",), len(mime), smtputf8=True)

    session.transact(envelope, mime, before_dot=yes)

    assert relay.accepted[0].mail.endswith(" BODY=8BITMIME SMTPUTF8")
    assert relay.accepted[0].rcpt_to == ("jürgen@example.com",)
    assert relay.accepted[0].raw == mime


def test_smtputf8_that_is_not_offered_ends_before_mail_without_a_reply(relay: Relay) -> None:
    relay.offers("PIPELINING", "8BITMIME")
    session = opened(relay)
    envelope = Envelope("sender@example.com", ("jürgen@example.com",), 9, smtputf8=True)

    transaction = session.transact(envelope, MIME, before_dot=yes)

    assert (transaction.stage, transaction.reply, transaction.broken) == (Stage.MAIL, None, None)
    assert not transaction.dot_sent
    assert relay.commands == [["EHLO localhost"]]
    session.close()


@pytest.mark.parametrize(
    ("envelope", "mime"),
    [
        (envelope_to("a@b>\r\nRCPT TO:<c@example.com"), MIME),
        (envelope_to(), b"bare\nlf\r\n"),
        (envelope_to(), b"8-bit \xff\r\n"),
        (Envelope("a@example.com", (), 1), MIME),
    ],
)
def test_what_is_unsafe_on_the_wire_raises_before_a_byte_is_sent(
    relay: Relay, session: Session, envelope: Envelope, mime: bytes
) -> None:
    with pytest.raises(UnsafeOnWire):
        session.transact(envelope, mime, before_dot=yes)

    assert not session.is_usable()
    assert relay.commands == [["EHLO localhost"]]


# The final dot


@pytest.mark.parametrize("mime", [MIME, LARGE])
def test_before_dot_hears_the_recipients_replies_and_can_say_no(
    relay: Relay, session: Session, mime: bytes
) -> None:
    heard: list[tuple[Reply | None, ...]] = []
    relay.says(RCPT=["250 2.1.5 one", "550 5.1.1 two"])

    def refuse(replies: tuple[Reply | None, ...]) -> bool:
        heard.append(replies)
        return False

    transaction = send(session, "a@example.com", "b@example.com", mime=mime, before_dot=refuse)

    assert heard == [(Reply(250, "2.1.5", "one"), Reply(550, "5.1.1", "two"))]
    assert transaction.broken is Broken.ABORTED
    assert transaction.reply is None
    assert not transaction.dot_sent
    assert not session.is_usable()
    relay.stop()
    assert relay.accepted == []


def test_a_large_body_is_sent_before_before_dot_is_asked(relay: Relay, session: Session) -> None:
    """The lease is checked after the slow part, not before it."""
    sizes: list[int] = []

    def look(_: tuple[Reply | None, ...]) -> bool:
        sizes.append(session._channel.unsent if session._channel else -1)
        return True

    send(session, mime=LARGE, before_dot=look)

    assert sizes == [0]
    assert len(relay.accepted) == 1


@pytest.mark.parametrize("error", [RuntimeError("ours"), OSError(28, "journal disk full")])
def test_an_exception_of_before_dot_comes_out_and_the_dot_stays(
    relay: Relay, session: Session, error: Exception
) -> None:
    """An OSError of the caller must not be taken for the network's."""

    def fail(_: tuple[Reply | None, ...]) -> bool:
        raise error

    with pytest.raises(type(error), match=str(error.args[-1])):
        send(session, before_dot=fail)

    assert not session.is_usable()
    relay.stop()
    assert relay.accepted == []


def test_an_exception_of_tick_comes_out_and_closes_the_session(
    relay: Relay, session: Session
) -> None:
    relay.says(MAIL=hang)

    def fail() -> None:
        raise OSError(5, "our disk")

    with pytest.raises(OSError, match="our disk"):
        send(session, tick=fail)

    assert not session.is_usable()


@pytest.mark.parametrize("said", ["252 ok", "299", "250 two\nlines"])
def test_any_2yz_to_the_dot_ends_in_acceptance(relay: Relay, session: Session, said: str) -> None:
    relay.says(DOT=said)

    transaction = send(session)

    assert transaction.broken is None
    assert transaction.reply is not None
    assert transaction.reply.code // 100 == 2
    assert session.is_usable()


@pytest.mark.parametrize("step", [reset, close, "421 bye", hang, "garbage", raw(b"x" * 9999)])
def test_an_answer_that_is_lost_after_acceptance_is_no_acceptance_and_no_refusal(
    relay: Relay, step: Step
) -> None:
    """M-07: what ended at the dot must be told from what ended before it."""
    session = opened(relay, **SHORT)
    relay.says(DOT=accepting(raw(b"nonsense\r\n") if step == "garbage" else step))

    transaction = send(session)

    assert transaction.stage is Stage.END_OF_DATA
    assert transaction.dot_sent
    assert (transaction.broken is None) == (step == "421 bye")
    assert len(relay.accepted) == 1
    assert not session.is_usable()


def test_a_reply_just_inside_the_dot_timeout_counts(relay: Relay) -> None:
    session = opened(relay, dot_timeout=timedelta(seconds=1))
    relay.says(DOT=late(0.7, "250 ok"))

    assert send(session).reply == Reply(250, "", "ok")
    session.close()


@pytest.mark.slow
@pytest.mark.parametrize(("after", "is_in_time"), [(2.6, True), (3.4, False)])
def test_a_reply_counts_up_to_its_deadline_and_not_beyond(
    relay: Relay, after: float, is_in_time: bool
) -> None:
    """F-S11: in doubt only if it came too late, and what comes then answers nothing."""
    session = opened(relay, dot_timeout=timedelta(seconds=3))
    relay.says(DOT=[late(after, "250 2.0.0 first"), "250 2.0.0 second"])

    first = send(session)
    second = send(session)

    assert (first.broken is None) == is_in_time
    assert first.reply == (Reply(250, "2.0.0", "first") if is_in_time else None)
    assert second.reply == Reply(250, "2.0.0", "second")
    session.close()


def test_a_reply_after_the_dot_timeout_is_never_taken_for_the_next_message(relay: Relay) -> None:
    """F-S11."""
    session = opened(relay, **SHORT)
    relay.says(DOT=[late(0.6, "250 first"), "550 5.6.0 second"])

    first = send(session)
    second = send(session)

    assert (first.broken, first.dot_sent) == (Broken.TIMEOUT, True)
    assert second.reply == Reply(550, "5.6.0", "second")
    session.close()


# What the relay says before the dot


@pytest.mark.parametrize("pipelining", [True, False])
def test_each_recipient_keeps_its_own_reply_and_the_rest_goes_on(
    relay: Relay, pipelining: bool
) -> None:
    """F-S08."""
    relay.offers(*(["PIPELINING"] if pipelining else []))
    relay.says(RCPT=["550 5.1.1 no", "250 2.1.5 ok", "452 4.5.3 full"])
    session = opened(relay)

    transaction = send(session, "a@example.com", "b@example.com", "c@example.com")

    assert [reply and reply.code for reply in transaction.rcpt_replies] == [550, 250, 452]
    assert transaction.stage is Stage.END_OF_DATA
    assert relay.accepted[0].rcpt_to == ("b@example.com",)
    session.close()


def test_with_all_recipients_refused_nothing_is_sent_and_the_session_is_reset(
    relay: Relay, session: Session
) -> None:
    relay.says(RCPT=["550 5.1.1 no", "550 5.1.1 no"])

    refused = send(session, "a@example.com", "b@example.com")
    accepted = send(session)

    assert (refused.stage, refused.broken, refused.dot_sent) == (Stage.RCPT, None, False)
    assert accepted.dot_sent
    assert relay.sessions == 1
    assert relay.commands[0].count("RSET") == 1
    assert len(relay.accepted) == 1


def test_354_for_no_recipient_drops_the_session_without_a_dot(
    relay: Relay, session: Session
) -> None:
    """RFC 2920 section 3.1 would send a lone dot; nothing may be delivered here, ever."""
    relay.says(RCPT="550 5.1.1 no", DATA="354 go on then")

    transaction = send(session)

    assert (transaction.stage, transaction.dot_sent) == (Stage.RCPT, False)
    assert not session.is_usable()
    relay.stop()
    assert relay.accepted == []


def test_a_refused_mail_leaves_the_pipelined_rest_unheeded(relay: Relay, session: Session) -> None:
    relay.says(MAIL=["451 4.3.0 later"])

    transaction = send(session, "a@example.com", "b@example.com")

    assert transaction.stage is Stage.MAIL
    assert transaction.reply == transaction.mail_reply == Reply(451, "4.3.0", "later")
    assert transaction.rcpt_replies == (None, None)
    assert session.is_usable()
    assert send(session).dot_sent
    assert relay.sessions == 1


def test_data_refused_after_accepted_recipients_is_reset(relay: Relay, session: Session) -> None:
    """F-S09."""
    relay.says(DATA=["451 4.3.0 no room"])

    transaction = send(session)

    assert transaction.stage is Stage.DATA
    assert transaction.reply == Reply(451, "4.3.0", "no room")
    assert send(session).dot_sent
    assert relay.commands[0].count("RSET") == 1
    assert relay.sessions == 1


@pytest.mark.parametrize("mime", [MIME, LARGE])
@pytest.mark.parametrize("code", ["550 5.7.1 stop", "421 4.3.2 bye", "451 4.3.0 no room"])
def test_a_relay_that_speaks_before_the_dot_gets_no_dot(
    relay: Relay, session: Session, mime: bytes, code: str
) -> None:
    """354 and a refusal at once: the reply is read, the dot not sent, the session dropped."""
    relay.says(DATA=raw(b"354 go\r\n" + code.encode() + b"\r\n"), DOT="250 wrong")

    transaction = send(session, mime=mime)

    assert transaction.stage is Stage.DATA
    assert transaction.reply is not None
    assert str(transaction.reply) == code
    assert transaction.broken is None
    assert not transaction.dot_sent
    assert not session.is_usable()
    relay.stop()
    assert relay.accepted == []


def test_a_refusal_in_mid_body_stops_the_body(relay: Relay) -> None:
    """smtp-sink -A does this; 20 MB must not go out for nothing."""
    session = opened(relay)
    mime = MIME + (b"x" * 76 + b"\r\n") * 260_000
    relay.says(BODY="552 5.3.4 that is too much")
    began = time.monotonic()

    transaction = send(session, mime=mime)

    assert (transaction.stage, transaction.broken) == (Stage.DATA, None)
    assert transaction.reply == Reply(552, "5.3.4", "that is too much")
    assert not transaction.dot_sent
    assert time.monotonic() - began < 2
    assert not session.is_usable()


def test_a_relay_that_refuses_and_hangs_up_in_mid_body_is_heard(relay: Relay) -> None:
    session = opened(relay)
    relay.says(BODY=then("552 5.3.4 too big", close))

    transaction = send(session, mime=MIME + (b"x" * 76 + b"\r\n") * 260_000)

    assert transaction.reply == Reply(552, "5.3.4", "too big")
    assert (transaction.stage, transaction.dot_sent) == (Stage.DATA, False)
    assert not session.is_usable()


@pytest.mark.parametrize("step", [reset, close])
def test_a_connection_lost_in_mid_body_is_safe_to_repeat(relay: Relay, step: Step) -> None:
    session = opened(relay)
    relay.says(BODY=step)

    transaction = send(session, mime=MIME + (b"x" * 76 + b"\r\n") * 260_000)

    assert (transaction.stage, transaction.broken) == (Stage.DATA, Broken.CLOSED)
    assert not transaction.dot_sent
    assert not session.is_usable()


def test_a_peer_that_stops_reading_cannot_hold_us(relay: Relay, session: Session) -> None:
    """F-S10: a zero window, seen from the channel that has to get rid of 64 MiB."""
    relay.says(NOOP=hang)
    channel = session._channel
    assert channel is not None
    channel.command(b"NOOP\r\n", time.monotonic() + 1)
    ticks: list[float] = []
    channel.tick_with(lambda: ticks.append(time.monotonic()))

    with pytest.raises(TimeoutError):
        channel.send(b"x" * (1 << 26), time.monotonic() + 0.7)

    assert channel.unsent > 0
    assert len(ticks) >= 2


# Deadlines and ticks


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "DOT"])
def test_a_dripping_relay_is_cut_off_by_the_deadline_of_the_phase(relay: Relay, stage: str) -> None:
    """M-03: each byte comes in time, the reply does not; and ticks go on meanwhile."""
    session = opened(relay, **SHORT)
    relay.says(**{stage: drip("250 2.0.0 a long reply that never ends in time", every=0.05)})
    ticks: list[float] = []
    began = time.monotonic()

    transaction = send(session, tick=lambda: ticks.append(time.monotonic()))

    assert transaction.broken is Broken.TIMEOUT
    assert transaction.dot_sent == (stage == "DOT")
    assert 0.35 < time.monotonic() - began < 1.2
    assert ticks


def test_all_replies_from_mail_to_354_share_one_deadline(relay: Relay) -> None:
    relay.offers(*ONE_BY_ONE)
    relay.says(RCPT=late(0.15, "250 ok"))
    session = opened(relay, **SHORT)

    transaction = send(session, *(f"{n}@example.com" for n in range(5)))

    assert transaction.broken is Broken.TIMEOUT
    assert transaction.stage is Stage.RCPT


def test_ticks_come_at_least_every_200_ms_of_waiting(relay: Relay, session: Session) -> None:
    relay.says(DOT=late(1.1, "250 ok"))
    began = time.monotonic()
    ticks: list[float] = []

    send(session, tick=lambda: ticks.append(time.monotonic()))

    gaps = [after - before for before, after in zip([began, *ticks], ticks, strict=False)]
    assert len(ticks) >= 4
    assert max(gaps) < 0.3


# Kept sessions


def test_a_session_carries_many_messages_and_no_more_than_its_most(relay: Relay) -> None:
    session = opened(relay, max_messages=3)

    for _ in range(7):
        send(session)

    assert [message.session for message in relay.accepted] == [0, 0, 0, 1, 1, 1, 2]
    eventually(lambda: relay.commands[0][-1] == "QUIT")
    session.close()


def test_a_relay_that_states_its_own_most_is_believed(relay: Relay) -> None:
    """RFC 9422."""
    relay.offers("PIPELINING", "LIMITS MAILMAX=2")
    session = opened(relay)

    for _ in range(3):
        send(session)

    assert [message.session for message in relay.accepted] == [0, 0, 1]
    session.close()


def test_a_session_that_was_idle_too_long_is_not_used(relay: Relay) -> None:
    session = opened(relay, idle=timedelta(milliseconds=50))

    eventually(lambda: not session.is_usable())

    send(session)
    assert relay.accepted[0].session == 1
    session.close()


@pytest.mark.parametrize(
    "step", ["421 4.4.2 idle too long", close, raw(b"250 surprise\r\n"), reset]
)
def test_a_session_the_relay_has_something_to_say_on_is_not_used(relay: Relay, step: Step) -> None:
    """F-S13: the next message must not be the one that finds out."""
    relay.says(DOT=[then("250 ok", late(0.05, step))])
    session = opened(relay)
    send(session)

    eventually(lambda: not session.is_usable())

    assert send(session).dot_sent
    assert relay.accepted[1].session == 1
    session.close()


@pytest.mark.parametrize("step", ["421 4.7.0 too many messages in this session", close, reset])
@pytest.mark.parametrize("pipelining", [True, False])
def test_a_kept_session_that_ends_just_as_we_begin_is_replaced_and_the_message_sent(
    relay: Relay, step: Step, pipelining: bool
) -> None:
    relay.offers(*(["PIPELINING"] if pipelining else []))
    session = opened(relay)
    send(session)
    relay.says(MAIL=[step])

    transaction = send(session)

    assert transaction.broken is None
    assert transaction.dot_sent
    assert [message.session for message in relay.accepted] == [0, 1]
    session.close()


def test_a_new_session_that_ends_as_we_begin_is_not_replaced(
    relay: Relay, session: Session
) -> None:
    relay.says(MAIL="421 4.7.0 not today")

    assert send(session).reply == Reply(421, "4.7.0", "not today")
    assert relay.sessions == 1


def test_a_kept_session_that_cannot_be_replaced_tells_how_it_ended(
    relay: Relay, session: Session
) -> None:
    send(session)
    relay.says("554 go away", MAIL=close)

    transaction = send(session)

    assert (transaction.stage, transaction.broken) == (Stage.MAIL, Broken.CLOSED)
    assert not session.is_usable()


def test_a_hanging_mail_on_a_kept_session_is_not_tried_twice(relay: Relay) -> None:
    session = opened(relay, **SHORT)
    send(session)
    relay.says(MAIL=hang)

    assert send(session).broken is Broken.TIMEOUT
    assert relay.sessions == 1


AFTERWARDS: list[Step] = [
    hang,
    reset,
    close,
    "421 bye",
    "451 no",
    "550 no",
    raw(b"\xff\xfe garbage\r\n"),
    raw(b"250 " + b"x" * 5000),
    endless(b"250-again\r\n"),
    drip("250 this takes far too long to be read by anyone", every=0.05),
]


@pytest.mark.parametrize("step", AFTERWARDS)
def test_nothing_that_happens_at_rset_changes_the_outcome(relay: Relay, step: Step) -> None:
    """F-S12."""
    session = opened(relay, **SHORT)
    relay.says(RCPT=["550 5.1.1 no"], RSET=[step])

    transaction = send(session)

    assert (transaction.stage, transaction.broken) == (Stage.RCPT, None)
    assert transaction.reply == Reply(550, "5.1.1", "no")
    assert not session.is_usable()
    assert send(session).dot_sent
    session.close()


@pytest.mark.parametrize("step", AFTERWARDS)
def test_nothing_that_happens_at_quit_is_waited_for(relay: Relay, step: Step) -> None:
    """M-05."""
    session = opened(relay, **SHORT)
    relay.says(QUIT=step)
    transaction = send(session)
    began = time.monotonic()

    session.close()

    assert transaction.dot_sent
    assert time.monotonic() - began < 0.1
    assert not session.is_usable()


def test_a_relay_that_dies_between_messages_is_noticed(relay: Relay, session: Session) -> None:
    send(session)
    relay.stop()

    assert not session.is_usable()

    relay.start()
    assert send(session).dot_sent


def test_a_session_can_be_closed_twice_and_opened_again(relay: Relay, session: Session) -> None:
    session.close()
    session.close()
    assert not session.is_usable()

    session.open()

    assert send(session).dot_sent


def test_transact_on_a_closed_session_is_a_mistake_of_ours(relay: Relay) -> None:
    with pytest.raises(RuntimeError):
        Session(settings_for(relay)).transact(envelope_to(), MIME, before_dot=yes)


def test_no_file_descriptor_is_left_behind_however_sessions_end(relay: Relay) -> None:
    def descriptors() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    session = opened(relay, **SHORT)
    send(session)
    before = descriptors()

    for step in (reset, close, "421 x", "550 x", raw(b"?\r\n"), accepting(reset), hang):
        relay.says(DOT=[step])
        send(session)
    session.open()
    session.open()
    eventually(lambda: descriptors() <= before)
    session.close()


# For operators


def test_the_transcript_tells_the_session_without_the_message_and_masked(
    relay: Relay, session: Session
) -> None:
    relay.says(RCPT="550 5.1.1 <alice@example.com>: no such user")
    send(session, "alice@example.com", mime=b"Subject: code 123456\r\n\r\nhi\r\n")

    told = "\n".join(session.transcript)

    assert "C: MAIL FROM:<s***@example.com>" in told
    assert "S: 550 5.1.1 <a***@example.com>: no such user" in told
    assert "alice" not in told
    assert "123456" not in told


def test_the_transcript_is_bounded(relay: Relay, session: Session) -> None:
    for _ in range(200):
        send(session)

    assert len(session.transcript) < 500


def test_an_answer_that_came_while_a_tick_took_its_time_counts(relay: Relay) -> None:
    """The deadline is for the relay, not for what we do meanwhile: its 250 is here."""
    relay.says(DOT=late(0.4, "250 ok"))
    session = opened(relay, dot_timeout=timedelta(seconds=1))
    slow = iter([1.2])

    transaction = send(session, tick=lambda: time.sleep(next(slow, 0)))
    session.close()

    assert transaction.broken is None
    assert transaction.reply is not None
    assert transaction.reply.code == 250
