"""What replies mean, case by case; sample replies as the large providers write them."""

import itertools

import pytest

from mailworkers.core.replies import Fault, Result, Verdict, judge, judge_unavailable
from mailworkers.core.reply_reader import ReplyReader
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Failure, Stage
from mailworkers.core.wire import Broken, Reply, Transaction

OK = Reply(250, "2.1.0", "Ok")
GO = Reply(354, "", "go")


def reply(text: str) -> Reply:
    """Return the reply a relay sends as *text*."""
    reader = ReplyReader()
    reader.feed(text.encode() + b"\r\n")
    read = reader.next()
    assert read is not None
    return read


def ended(
    stage: Stage,
    said: str | None = None,
    *,
    rcpt: tuple[str | None, ...] = ("250 2.1.5 Ok",),
    broken: Broken | None = None,
    dot_sent: bool | None = None,
) -> Transaction:
    """Return a transaction that ended at *stage* by the reply *said*, or *broken*."""
    at_mail = stage is Stage.MAIL
    final = reply(said) if said else None
    return Transaction(
        stage=stage,
        mail_reply=final if at_mail else OK,
        rcpt_replies=tuple(reply(text) if text and not at_mail else None for text in rcpt),
        reply=final,
        broken=broken,
        dot_sent=stage is Stage.END_OF_DATA if dot_sent is None else dot_sent,
    )


def results(verdict: Verdict) -> list[Result]:
    """Return the recipients' results in order."""
    return [recipient.result for recipient in verdict.recipients]


# The final dot


@pytest.mark.parametrize("said", ["250 2.0.0 Ok: queued as 4XyZ", "252 ok", "200 fine", "299"])
def test_any_2yz_to_the_dot_is_acceptance(said: str) -> None:
    """M-06: only the first digit says yes or no (RFC 5321 section 4.2.1)."""
    verdict = judge(ended(Stage.END_OF_DATA, said), own_identity=True)

    assert verdict.attempt_status is AttemptStatus.PROVIDER_ACCEPTED
    assert verdict.outcome is AttemptOutcome.SUCCESS
    assert verdict.fault is Fault.NONE
    assert results(verdict) == [Result.ACCEPTED]
    assert verdict.reply == reply(said)
    assert not verdict.trips_breaker
    assert verdict.failure is None


def test_4yz_to_the_dot_defers() -> None:
    verdict = judge(ended(Stage.END_OF_DATA, "451 4.3.0 try later"), own_identity=True)

    assert verdict.attempt_status is AttemptStatus.PROVIDER_DEFERRED
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert results(verdict) == [Result.DEFERRED]
    assert verdict.burns_ladder
    assert not verdict.trips_breaker


def test_5yz_to_the_dot_refuses_everyone_it_had_accepted() -> None:
    transaction = ended(
        Stage.END_OF_DATA, "552 5.3.4 too big", rcpt=("250 ok", "550 5.1.1 no", "250 ok")
    )
    verdict = judge(transaction, own_identity=True)

    assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
    assert verdict.outcome is AttemptOutcome.PERMANENT_ERROR
    assert verdict.fault is Fault.MESSAGE
    assert results(verdict) == [Result.REFUSED] * 3
    assert [recipient.reply.code for recipient in verdict.recipients if recipient.reply] == [
        552,
        550,
        552,
    ]
    assert verdict.failure is Failure.REJECTED


@pytest.mark.parametrize(
    ("broken", "status"),
    [
        (Broken.TIMEOUT, AttemptStatus.TIMED_OUT),
        (Broken.CLOSED, AttemptStatus.TRANSPORT_FAILED),
        (Broken.PROTOCOL, AttemptStatus.TRANSPORT_FAILED),
    ],
)
def test_no_usable_reply_after_the_dot_is_unknown(broken: Broken, status: AttemptStatus) -> None:
    """RFC 1047: the relay may have taken it, and nobody can tell."""
    verdict = judge(
        ended(Stage.END_OF_DATA, rcpt=("250 ok", "550 5.1.1 no"), broken=broken), own_identity=True
    )

    assert verdict.attempt_status is status
    assert verdict.outcome is AttemptOutcome.UNKNOWN
    assert results(verdict) == [Result.UNKNOWN, Result.REFUSED]
    assert verdict.burns_ladder
    assert verdict.trips_breaker
    assert verdict.failure is Failure.UNKNOWN


def test_a_dot_of_which_only_a_part_went_out_is_unknown_too() -> None:
    verdict = judge(ended(Stage.DATA, broken=Broken.TIMEOUT, dot_sent=True), own_identity=True)

    assert verdict.outcome is AttemptOutcome.UNKNOWN


def test_3yz_to_the_dot_is_garbage_and_not_an_answer() -> None:
    verdict = judge(ended(Stage.END_OF_DATA, "354 more", broken=Broken.PROTOCOL), own_identity=True)

    assert verdict.outcome is AttemptOutcome.UNKNOWN
    assert verdict.reply == reply("354 more")


def test_421_to_the_dot_is_a_definite_no() -> None:
    """F-S04: the relay answered, so the message was not accepted."""
    verdict = judge(ended(Stage.END_OF_DATA, "421 4.3.2 shutting down"), own_identity=True)

    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert verdict.attempt_status is AttemptStatus.PROVIDER_DEFERRED
    assert results(verdict) == [Result.DEFERRED]
    assert verdict.trips_breaker


# Before the dot


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA])
@pytest.mark.parametrize(
    ("broken", "status", "fault"),
    [
        (Broken.TIMEOUT, AttemptStatus.TIMED_OUT, Fault.NETWORK),
        (Broken.CLOSED, AttemptStatus.TRANSPORT_FAILED, Fault.NETWORK),
        (Broken.PROTOCOL, AttemptStatus.TRANSPORT_FAILED, Fault.RELAY),
    ],
)
def test_no_answer_before_the_dot_defers_and_speaks_against_the_relay(
    stage: Stage, broken: Broken, status: AttemptStatus, fault: Fault
) -> None:
    verdict = judge(ended(stage, rcpt=(None,), broken=broken), own_identity=True)

    assert verdict.attempt_status is status
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert verdict.fault is fault
    assert results(verdict) == [Result.DEFERRED]
    assert verdict.burns_ladder
    assert verdict.trips_breaker
    assert verdict.failure is None


def test_a_recipient_refused_before_the_connection_broke_stays_refused() -> None:
    verdict = judge(
        ended(Stage.RCPT, rcpt=("550 5.1.1 no", None), broken=Broken.CLOSED), own_identity=True
    )

    assert results(verdict) == [Result.REFUSED, Result.DEFERRED]
    assert verdict.attempt_status is AttemptStatus.TRANSPORT_FAILED


def test_our_own_no_before_the_dot_costs_nothing() -> None:
    verdict = judge(ended(Stage.DATA, broken=Broken.ABORTED), own_identity=True)

    assert verdict.attempt_status is AttemptStatus.ABANDONED
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert results(verdict) == [Result.DEFERRED]
    assert not verdict.burns_ladder
    assert not verdict.trips_breaker


@pytest.mark.parametrize("stage", [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA])
def test_421_ends_the_session_wherever_it_comes(stage: Stage) -> None:
    verdict = judge(ended(stage, "421 4.7.0 busy", rcpt=("250 ok", None)), own_identity=True)

    assert results(verdict) == [Result.DEFERRED] * 2
    assert verdict.attempt_status is AttemptStatus.PROVIDER_DEFERRED
    assert verdict.fault is Fault.RELAY
    assert verdict.burns_ladder
    assert verdict.trips_breaker


def test_421_after_some_recipients_delivers_to_none() -> None:
    transaction = ended(Stage.RCPT, "421 bye", rcpt=("250 ok", "550 5.1.1 no", "421 bye", None))

    verdict = judge(transaction, own_identity=True)

    deferred, refused = Result.DEFERRED, Result.REFUSED
    assert results(verdict) == [deferred, refused, deferred, deferred]


# MAIL


@pytest.mark.parametrize(
    "said",
    ["552 5.3.4 message too large", "552 too much", "555 5.5.4 unsupported", "554 5.3.4 too big"],
)
@pytest.mark.parametrize("own", [True, False])
def test_mail_refused_for_its_size_or_parameters_refuses_this_message(said: str, own: bool) -> None:
    verdict = judge(ended(Stage.MAIL, said, rcpt=("", "")), own_identity=own)

    assert verdict.outcome is AttemptOutcome.PERMANENT_ERROR
    assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
    assert verdict.fault is Fault.MESSAGE
    assert results(verdict) == [Result.REFUSED] * 2
    assert verdict.failure is Failure.REJECTED


@pytest.mark.parametrize(
    "said",
    [
        "550 5.1.8 sender rejected",
        "553 5.1.3 bad sender",
        "554 5.7.1 blocked using zen.spamhaus.org",
        "501 5.5.4 syntax",
    ],
)
def test_mail_refused_for_our_own_identity_is_an_account_fault(said: str) -> None:
    """It would fail every queued message alike, so it costs none of them anything."""
    verdict = judge(ended(Stage.MAIL, said), own_identity=True)

    assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert verdict.fault is Fault.RELAY
    assert results(verdict) == [Result.DEFERRED]
    assert not verdict.burns_ladder
    assert verdict.trips_breaker
    assert verdict.failure is None


def test_mail_refused_for_another_identity_refuses_this_message() -> None:
    verdict = judge(ended(Stage.MAIL, "550 5.1.8 not yours"), own_identity=False)

    assert results(verdict) == [Result.REFUSED]
    assert verdict.failure is Failure.REJECTED
    assert not verdict.trips_breaker


@pytest.mark.parametrize(
    "said",
    [
        "530 5.7.0 Must issue a STARTTLS command first",
        "530 5.7.57 Client not authenticated to send mail",
        "530 Authentication required",
        "503 5.5.1 bad sequence",
        "550 5.7.1 Relaying denied",
    ],
)
@pytest.mark.parametrize("own", [True, False])
def test_mail_refused_for_our_login_is_an_account_fault_whoever_the_sender_is(
    said: str, own: bool
) -> None:
    verdict = judge(ended(Stage.MAIL, said), own_identity=own)

    assert results(verdict) == [Result.DEFERRED]
    assert not verdict.burns_ladder
    assert verdict.trips_breaker


def test_4yz_to_mail_counts_on_the_ladder() -> None:
    verdict = judge(ended(Stage.MAIL, "452 4.3.1 out of space"), own_identity=True)

    assert results(verdict) == [Result.DEFERRED]
    assert verdict.attempt_status is AttemptStatus.PROVIDER_DEFERRED
    assert verdict.burns_ladder
    assert not verdict.trips_breaker


def test_smtputf8_that_is_not_offered_fails_under_its_own_name() -> None:
    verdict = judge(ended(Stage.MAIL, rcpt=(None, None)), own_identity=True)

    assert verdict.failure is Failure.SMTPUTF8
    assert verdict.outcome is AttemptOutcome.PERMANENT_ERROR
    assert results(verdict) == [Result.REFUSED] * 2
    assert verdict.reply is None
    assert not verdict.trips_breaker


# RCPT


@pytest.mark.parametrize(
    ("rcpt", "expected", "status"),
    [
        (
            ("250 ok", "550 5.1.1 no", "450 4.2.1 busy"),
            [Result.ACCEPTED, Result.REFUSED, Result.DEFERRED],
            AttemptStatus.PROVIDER_ACCEPTED,
        ),
        (("251 forwarded",), [Result.ACCEPTED], AttemptStatus.PROVIDER_ACCEPTED),
        (
            ("450 4.2.1 busy", "252 perhaps"),
            [Result.DEFERRED, Result.ACCEPTED],
            AttemptStatus.PROVIDER_ACCEPTED,
        ),
    ],
)
def test_each_recipient_has_its_own_outcome(
    rcpt: tuple[str, ...], expected: list[Result], status: AttemptStatus
) -> None:
    verdict = judge(ended(Stage.END_OF_DATA, "250 queued", rcpt=rcpt), own_identity=True)

    assert results(verdict) == expected
    assert verdict.attempt_status is status
    assert verdict.outcome is AttemptOutcome.SUCCESS
    assert verdict.stage is Stage.END_OF_DATA


def test_with_none_accepted_the_attempt_is_what_can_still_be_served() -> None:
    verdict = judge(
        ended(Stage.RCPT, "550 5.1.1 no", rcpt=("451 4.7.1 greylisted", "550 5.1.1 no")),
        own_identity=True,
    )

    assert verdict.attempt_status is AttemptStatus.PROVIDER_DEFERRED
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert verdict.stage is Stage.RCPT
    assert verdict.reply == reply("451 4.7.1 greylisted")
    assert verdict.failure is None


def test_all_recipients_refused_is_permanent() -> None:
    verdict = judge(ended(Stage.RCPT, "550 no", rcpt=("550 5.1.1 no", "550 no")), own_identity=True)

    assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
    assert verdict.fault is Fault.RECIPIENT
    assert verdict.failure is Failure.REJECTED
    assert verdict.reply == reply("550 5.1.1 no")


@pytest.mark.parametrize(
    "said",
    [
        "452 4.5.3 Too many recipients",
        "452 too many recipients",
        "452-4.5.3 Your message has too many recipients. For more information\r\n452 4.5.3 x gsmtp",
        "552 5.5.3 too many recipients",
        (
            "452 4.5.3 Domain policy size per transaction exceeded, please try this recipient in a"
            " separate transaction"
        ),
    ],
)
def test_a_full_transaction_sends_the_rest_later_without_burning_an_attempt(said: str) -> None:
    verdict = judge(
        ended(Stage.END_OF_DATA, "250 queued", rcpt=("250 ok", said, said)), own_identity=True
    )

    assert results(verdict) == [Result.ACCEPTED, Result.LATER, Result.LATER]
    assert verdict.outcome is AttemptOutcome.SUCCESS
    assert not verdict.burns_ladder


def test_a_full_transaction_with_none_accepted_burns_the_attempt_or_it_would_never_end() -> None:
    verdict = judge(
        ended(Stage.RCPT, "452 4.5.3 x", rcpt=("452 Too many recipients received this hour",)),
        own_identity=True,
    )

    assert results(verdict) == [Result.DEFERRED]
    assert verdict.burns_ladder


def test_a_full_transaction_burns_the_attempt_when_the_accepted_ones_are_deferred() -> None:
    verdict = judge(
        ended(Stage.END_OF_DATA, "451 later", rcpt=("250 ok", "452 4.5.3 full")),
        own_identity=True,
    )

    assert results(verdict) == [Result.DEFERRED, Result.LATER]
    assert verdict.burns_ladder


def test_a_full_transaction_whose_message_was_refused_goes_on_with_the_rest() -> None:
    verdict = judge(
        ended(Stage.END_OF_DATA, "550 5.6.0 no", rcpt=("250 ok", "452 4.5.3 full")),
        own_identity=True,
    )

    assert results(verdict) == [Result.REFUSED, Result.LATER]
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert not verdict.burns_ladder
    assert verdict.failure is None


# Sample replies of large providers, given to RCPT, DATA or the dot

REFUSED = [
    ("550-5.1.1 The email account that you tried to reach does not exist. Please try\r\n"
     "550-5.1.1 double-checking the recipient's email address\r\n550 5.1.1 x - gsmtp"),
    "550 5.1.1 <bob@aol.com>: Recipient address rejected: aol.com",
    "550 5.1.1 User unknown",
    "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup",
    "550 5.2.1 The email account that you tried to reach is disabled.",
    "552 5.2.2 The email account that you tried to reach is over quota",
    "554 5.2.2 mailbox full",
    "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
    "550 #5.1.0 Address rejected.",
    "550 Requested action not taken: mailbox unavailable",
    "550 No such user here",
    "551 not our customer",
    "553 Invalid/inactive user.",
    "554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0]",
    "550 mailbox blocked",
    "550 5.7.1 Access denied",
    "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication is needed",
    "550 5.6.0 Invalid header found (see RFC2822 section 3.6)",
    "554 5.4.14 Hop count exceeded - possible mail loop",
    "501 5.1.3 Bad recipient address syntax",
]  # fmt: skip

POLICY = [
    ("550-5.7.1 [1.2.3.4] Our system has detected that this message is likely unsolicited mail.\r\n"
     "550-5.7.1 To reduce the amount of spam sent to Gmail, this message has been\r\n"
     "550 5.7.1 blocked. x - gsmtp"),
    ("550-5.7.26 This mail has been blocked because the sender is unauthenticated.\r\n"
     "550 5.7.26 x - gsmtp"),
    "550 5.7.28 There is an unusual rate of unsolicited mail originating from your IP address.",
    ("550 5.7.1 Unfortunately, messages from [1.2.3.4] weren't sent. Please contact your Internet"
     " service provider since part of their network is on our block list (S3140)."),
    "550 5.7.606 Access denied, banned sending IP [1.2.3.4]",
    "550 5.7.509 Access denied, sending domain example.com does not pass DMARC verification",
    "550 5.7.515 Access denied, sending domain does not meet the required authentication level",
    "554 5.7.9 Message not accepted for policy reasons.",
    "554 Message not allowed - [PH01] Email not accepted for policy reasons.",
    ("553 5.7.1 [BL21] Connections will not be accepted from 1.2.3.4, because the ip is in"
    " Spamhaus's list"),
    "554 5.7.1 [P4] Message blocked due to spam content in the message.",
    "554 5.7.1 Service unavailable; Client host [1.2.3.4] blocked using zen.spamhaus.org",
    "554 5.7.1 [HM08] Message rejected due to local policy.",
    "550 5.7.1 Mail rejected by DMARC policy of example.com",
    "554 Transaction failed Reject due to policy restrictions.",
    "550 5.7.1 This message violates example.com email policy. - gcdp x - gsmtp",
    "550 High probability of spam",
    "554 rejected: your IP 1.2.3.4 is on a DNSBL",
    "550 5.7.25 The IP address sending this message does not have a PTR record setup",
]  # fmt: skip

ABOUT_US = [
    "554 5.7.1 <bob@example.com>: Relay access denied",
    "550 5.7.1 Relaying denied. Proper authentication required.",
    "550 5.7.64 TenantAttribution; Relay Access Denied",
    "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "530 5.7.1 Authentication required",
    "530 5.7.57 SMTP; Client was not authenticated to send anonymous mail during MAIL FROM",
    "504 5.5.2 <host>: Helo command rejected: need fully-qualified hostname",
    "550 5.7.1 Client host rejected: cannot find your reverse hostname, [1.2.3.4]",
    "550 5.4.5 Daily user sending limit exceeded. For more information on Gmail",
    (
        "554 5.7.0 Your message could not be sent. The limit on the number of allowed outgoing"
        " messages was exceeded. Try again later."
    ),
    "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException; Failed to process message",
    "503 5.5.1 Error: need MAIL command",
]

ABOUT_OUR_IDENTITY = [
    "550 5.7.60 SMTP; Client does not have permissions to send as this sender",
    "554 5.2.252 SendAsDenied; a@example.com not allowed to send as b@example.com",
    (
        "554 Message rejected: Email address is not verified. The following identities failed the"
        " check in region EU-WEST-1: a@example.com"
    ),
    "553 5.7.1 <a@example.com>: Sender address rejected: not owned by user b",
    "550 5.1.8 Sender address rejected: Domain not found",
]

DEFERRED = [
    "450 4.2.1 The user you are trying to contact is receiving mail too quickly.",
    "452-4.2.2 The email account that you tried to reach is over quota.\r\n452 4.2.2 x gsmtp",
    "451 4.7.1 Greylisting in action, please come back later",
    "451 4.7.650 The mail server [1.2.3.4] has been temporarily rate limited due to IP reputation.",
    "451 mta1012.mail.gq1.yahoo.com Resources temporarily unavailable. [#4.16.1].",
    "454 Throttling failure: Maximum sending rate exceeded.",
    "451 4.3.0 Multiple destination domains per transaction is unsupported.",
    "450 too frequent connects from 1.2.3.4, please try again later. (throttled)",
]

LATE_STAGES = [Stage.RCPT, Stage.DATA, Stage.END_OF_DATA]


def judged(said: str, stage: Stage, *, own: bool = True) -> Verdict:
    """Return the verdict on one recipient to whom the relay answered *said* at *stage*."""
    rcpt = said if stage is Stage.RCPT else "250 ok"
    return judge(ended(stage, said, rcpt=(rcpt,)), own_identity=own)


@pytest.mark.parametrize("stage", LATE_STAGES)
@pytest.mark.parametrize("said", REFUSED)
def test_a_plain_refusal_is_permanent(said: str, stage: Stage) -> None:
    verdict = judged(said, stage)

    assert results(verdict) == [Result.REFUSED]
    assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
    assert verdict.outcome is AttemptOutcome.PERMANENT_ERROR
    assert verdict.failure is Failure.REJECTED
    assert not verdict.trips_breaker


@pytest.mark.parametrize("stage", LATE_STAGES)
@pytest.mark.parametrize("said", POLICY)
def test_a_policy_refusal_is_told_from_a_plain_one(said: str, stage: Stage) -> None:
    verdict = judged(said, stage)

    assert results(verdict) == [Result.POLICY]
    assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
    assert verdict.outcome is AttemptOutcome.PERMANENT_ERROR
    assert verdict.fault is Fault.POLICY
    assert verdict.failure is Failure.POLICY


@pytest.mark.parametrize("stage", LATE_STAGES)
@pytest.mark.parametrize("said", ABOUT_US)
def test_a_refusal_of_our_account_never_fails_a_message_at_once(said: str, stage: Stage) -> None:
    for own in (True, False):
        verdict = judged(said, stage, own=own)

        assert results(verdict) == [Result.DEFERRED]
        assert verdict.attempt_status is AttemptStatus.PROVIDER_REJECTED
        assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
        assert verdict.fault is Fault.RELAY
        assert verdict.burns_ladder


@pytest.mark.parametrize("stage", LATE_STAGES)
@pytest.mark.parametrize("said", ABOUT_OUR_IDENTITY)
def test_a_refusal_of_the_sender_is_ours_for_our_identity_only(said: str, stage: Stage) -> None:
    assert results(judged(said, stage, own=True)) == [Result.DEFERRED]
    assert results(judged(said, stage, own=False)) == [Result.REFUSED]


@pytest.mark.parametrize("stage", LATE_STAGES)
@pytest.mark.parametrize("said", DEFERRED)
def test_4yz_is_temporary_whatever_it_says(said: str, stage: Stage) -> None:
    verdict = judged(said, stage)

    assert results(verdict) == [Result.DEFERRED]
    assert verdict.attempt_status is AttemptStatus.PROVIDER_DEFERRED
    assert verdict.burns_ladder
    assert not verdict.trips_breaker


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("450 4.1.1 x", Fault.RECIPIENT),
        ("450 4.2.1 x", Fault.RECIPIENT),
        ("451 4.3.0 x", Fault.RELAY),
        ("451 4.4.1 x", Fault.RELAY),
        ("451 4.5.0 x", Fault.RELAY),
        ("451 4.6.0 x", Fault.MESSAGE),
        ("451 4.7.1 x", Fault.POLICY),
        ("452 4.3.4 x", Fault.MESSAGE),
        ("450 x", Fault.RECIPIENT),
    ],
)
def test_the_enhanced_code_says_whose_fault_it_is(said: str, fault: Fault) -> None:
    assert judged(said, Stage.RCPT).fault is fault


# No session


@pytest.mark.parametrize(
    ("stage", "said", "timed_out", "status", "fault"),
    [
        (Stage.CONNECT, None, False, AttemptStatus.TRANSPORT_FAILED, Fault.NETWORK),
        (Stage.CONNECT, None, True, AttemptStatus.TIMED_OUT, Fault.NETWORK),
        (Stage.CONNECT, "554 no", False, AttemptStatus.PROVIDER_REJECTED, Fault.RELAY),
        (Stage.CONNECT, "421 busy", False, AttemptStatus.PROVIDER_DEFERRED, Fault.RELAY),
        (Stage.EHLO, "550 5.7.1 no", False, AttemptStatus.PROVIDER_REJECTED, Fault.RELAY),
        (Stage.STARTTLS, None, False, AttemptStatus.TRANSPORT_FAILED, Fault.RELAY),
        (Stage.STARTTLS, "454 4.7.0 no", False, AttemptStatus.PROVIDER_DEFERRED, Fault.RELAY),
        (Stage.AUTH, "535 5.7.8 no", False, AttemptStatus.PROVIDER_REJECTED, Fault.RELAY),
        (Stage.AUTH, None, True, AttemptStatus.TIMED_OUT, Fault.RELAY),
    ],
)
def test_no_session_is_never_the_fault_of_a_message(
    stage: Stage, said: str | None, timed_out: bool, status: AttemptStatus, fault: Fault
) -> None:
    """F-S05..F-S07: a rotated password must not fail what is queued."""
    verdict = judge_unavailable(stage, reply(said) if said else None, timed_out)

    assert verdict.attempt_status is status
    assert verdict.fault is fault
    assert verdict.outcome is AttemptOutcome.TRANSIENT_ERROR
    assert verdict.recipients == ()
    assert not verdict.burns_ladder
    assert verdict.trips_breaker
    assert verdict.failure is None


# What holds for all of them


def test_every_combination_has_a_verdict_that_keeps_the_promises() -> None:
    """A sent dot without a definite reply is never retried blindly nor called a failure."""
    replies = ["250 ok", "354 x", "150 x", "421 x", "451 x", "452 4.5.3 x", "530 x", "552 x"]
    replies += ["550 5.7.1 spam", "550 x"]
    stages = [Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END_OF_DATA]
    for stage, broken, said, rcpt, dot, own in itertools.product(
        stages, [None, *Broken], [None, *replies], replies, [True, False], [True, False]
    ):
        transaction = ended(stage, said, rcpt=(rcpt, "250 ok"), broken=broken, dot_sent=dot)
        verdict = judge(transaction, own_identity=own)

        if broken not in (None, Broken.ABORTED) and dot:
            assert verdict.outcome is AttemptOutcome.UNKNOWN
        if verdict.outcome is AttemptOutcome.SUCCESS:
            assert said == "250 ok"
            assert broken is None
        if not verdict.burns_ladder:
            assert verdict.failure is None
        assert (verdict.failure is None) == (
            verdict.outcome in (AttemptOutcome.SUCCESS, AttemptOutcome.TRANSIENT_ERROR)
        )
        assert len(verdict.recipients) == 2
