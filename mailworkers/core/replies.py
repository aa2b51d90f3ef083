"""What a relay's replies mean: for each recipient, for the delivery, and whose fault it is.

The table, top down, first match wins:

| where it ended                                  | recipients          | fault            | ladder | breaker |
| ----------------------------------------------- | ------------------- | ---------------- | ------ | ------- |
| before MAIL: connect, EHLO, TLS, AUTH           | (not judged)        | relay or network | kept   | trips   |
| dot sent, no usable reply                       | unknown             | network          | burnt  | trips   |
| timeout, closed, garbage before the dot         | deferred            | network or relay | burnt  | trips   |
| our own no before the dot                       | deferred            | none             | kept   | -       |
| 421 anywhere                                    | deferred            | relay            | burnt  | trips   |
| MAIL 4yz                                        | deferred            | relay            | burnt  | -       |
| MAIL 552, 555, x.3.4; SMTPUTF8 not offered      | refused             | message          | burnt  | -       |
| MAIL 5yz, own identity; or about our account    | deferred            | relay            | kept   | trips   |
| MAIL 5yz, another identity                      | refused             | message          | burnt  | -       |
| RCPT 452 "too many", another was accepted       | later               | none             | kept   | -       |
| RCPT, DATA, dot: 4yz                            | deferred            | by enhanced code | burnt  | -       |
| RCPT, DATA, dot: 5yz about our account; about   |                     |                  |        |         |
| the sender, own identity (markers)              | deferred            | relay            | burnt  | -       |
| RCPT, DATA, dot: 5yz policy (markers)           | policy              | policy           | burnt  | -       |
| RCPT, DATA, dot: any other 5yz                  | refused             | by enhanced code | burnt  | -       |
| dot: 2yz                                        | accepted            | none             | burnt  | -       |

A reply to RCPT is its recipient's own; what ends the transaction later is for those it accepted.
Only the first digit says yes or no (M-06); the markers are in `reply_markers.py`. For operators it
is docs/classification.md, with what the large providers say.
"""  # noqa: E501  a table

from mailworkers.core.reply_markers import (
    is_about_account,
    is_about_sender,
    is_about_size,
    is_policy,
    is_too_many_recipients,
)
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Failure, Stage
from mailworkers.core.verdicts import Fault, RecipientVerdict, Result, Verdict
from mailworkers.core.wire import Broken, Reply, Transaction

__all__ = ["Fault", "RecipientVerdict", "Result", "Verdict", "judge", "judge_unavailable"]


def judge(transaction: Transaction, *, own_identity: bool) -> Verdict:
    """Return what *transaction* means; *own_identity*: `mail_from` is the configured sender."""
    ending = _judge_ending(transaction, own_identity=own_identity)
    some_accepted = any(reply and reply.code // 100 == 2 for reply in transaction.rcpt_replies)
    recipients = tuple(
        _judge_recipient(reply, ending, own_identity=own_identity, some_accepted=some_accepted)
        for reply in transaction.rcpt_replies
    )
    return _sum_up(transaction, recipients, ending)


def judge_unavailable(
    error_stage: Stage, reply: Reply | None, timed_out: bool, reason: str = ""
) -> Verdict:
    """Return what it means that no session came about: never the message's fault (F-S05..F-S07)."""
    if reply is not None:
        status = _refusal_status(reply)
    else:
        status = AttemptStatus.TIMED_OUT if timed_out else AttemptStatus.TRANSPORT_FAILED
    is_network = reply is None and error_stage in (Stage.CONNECT, Stage.EHLO)
    return Verdict(
        attempt_status=status,
        outcome=AttemptOutcome.TRANSIENT_ERROR,
        fault=Fault.NETWORK if is_network else Fault.RELAY,
        stage=error_stage,
        reply=reply,
        recipients=(),
        burns_ladder=False,
        trips_breaker=True,
        reason="" if reply else reason,
    )


# One recipient


def _judge_recipient(
    reply: Reply | None, ending: RecipientVerdict, *, own_identity: bool, some_accepted: bool
) -> RecipientVerdict:
    """Judge by the recipient's own refusal, else by how the transaction ended."""
    if reply is None or reply.code == 421 or reply.code // 100 not in (4, 5):
        return ending
    # With none accepted a full transaction would be full again: no progress, so it must cost.
    if some_accepted and is_too_many_recipients(reply):
        return RecipientVerdict(Result.LATER, reply)
    return _judge_reply(reply, Stage.RCPT, own_identity=own_identity)


def _judge_reply(reply: Reply, stage: Stage, *, own_identity: bool) -> RecipientVerdict:
    """Judge a reply to RCPT, DATA or the dot by its first digit, a 5yz by what it is about."""
    match reply.code // 100:
        case 2:
            return RecipientVerdict(Result.ACCEPTED, reply)
        case 5 if is_about_account(reply) or (own_identity and is_about_sender(reply)):
            return RecipientVerdict(Result.DEFERRED, reply, Fault.RELAY)
        case 5 if is_policy(reply) and not is_about_sender(reply):
            return RecipientVerdict(Result.POLICY, reply, Fault.POLICY)
        case 5:
            return RecipientVerdict(Result.REFUSED, reply, _fault(reply, stage))
        case _:
            return RecipientVerdict(Result.DEFERRED, reply, _fault(reply, stage))


_FAULT_BY_SUBJECT = {  # RFC 3463 section 4
    "1": Fault.RECIPIENT,
    "2": Fault.RECIPIENT,
    "3": Fault.RELAY,
    "4": Fault.RELAY,
    "5": Fault.RELAY,
    "6": Fault.MESSAGE,
    "7": Fault.POLICY,
}


def _fault(reply: Reply, stage: Stage) -> Fault:
    """Return whose fault a refusal is, by its enhanced code, else by what it answered."""
    if reply.enhanced.endswith(".3.4"):  # the message is too big for the relay
        return Fault.MESSAGE
    by_stage = Fault.RECIPIENT if stage is Stage.RCPT else Fault.MESSAGE
    return _FAULT_BY_SUBJECT.get(reply.enhanced[2:3], by_stage)


# The transaction


def _judge_ending(transaction: Transaction, *, own_identity: bool) -> RecipientVerdict:
    """Judge what ended the transaction, for the recipients that were not refused themselves."""
    reply, broken = transaction.reply, transaction.broken
    if broken is Broken.ABORTED:
        return RecipientVerdict(Result.DEFERRED)
    if broken is not None:
        result = Result.UNKNOWN if transaction.dot_sent else Result.DEFERRED
        fault = Fault.RELAY if broken is Broken.PROTOCOL else Fault.NETWORK
        return RecipientVerdict(result, reply, fault)
    if reply is None:  # SMTPUTF8 is needed and not offered
        return RecipientVerdict(Result.REFUSED, None, Fault.MESSAGE)
    if reply.code == 421:
        return RecipientVerdict(Result.DEFERRED, reply, Fault.RELAY)
    if transaction.stage is Stage.MAIL:
        return _judge_mail(reply, own_identity=own_identity)
    return _judge_reply(reply, transaction.stage, own_identity=own_identity)


def _judge_mail(reply: Reply, *, own_identity: bool) -> RecipientVerdict:
    """Judge a refused MAIL: it is about the message's size, the session, or the sender."""
    if reply.code // 100 == 5:
        if is_about_size(reply):
            return RecipientVerdict(Result.REFUSED, reply, Fault.MESSAGE)
        if not own_identity and not is_about_account(reply):
            return RecipientVerdict(Result.REFUSED, reply, Fault.MESSAGE)
    return RecipientVerdict(Result.DEFERRED, reply, Fault.RELAY)


def _sum_up(
    transaction: Transaction, recipients: tuple[RecipientVerdict, ...], ending: RecipientVerdict
) -> Verdict:
    """Return the verdict: the attempt is what its best-served recipient got (see `_PRECEDENCE`)."""
    decisive = min(recipients or (ending,), key=lambda verdict: _PRECEDENCE[verdict.result])
    outcome = _OUTCOMES[decisive.result]
    results = {verdict.result for verdict in recipients}
    reply = transaction.reply
    said_goodbye = reply is not None and reply.code == 421
    gave_no_answer = transaction.broken not in (None, Broken.ABORTED)
    is_account_fault = (
        transaction.stage is Stage.MAIL
        and transaction.broken is None
        and ending.result is Result.DEFERRED
        and reply is not None
        and reply.code // 100 == 5
    )
    costs_nothing = transaction.broken is Broken.ABORTED or is_account_fault
    only_later = Result.LATER in results and not results & {Result.DEFERRED, Result.UNKNOWN}
    return Verdict(
        attempt_status=_attempt_status(transaction, decisive),
        outcome=outcome,
        fault=decisive.fault,
        stage=transaction.stage if decisive is ending else Stage.RCPT,
        reply=decisive.reply,
        recipients=recipients,
        burns_ladder=not costs_nothing and not only_later,
        trips_breaker=gave_no_answer or said_goodbye or is_account_fault,
        failure=_failure(transaction, results, outcome),
        reason=transaction.trouble if decisive is ending else "",
    )


_PRECEDENCE = {
    Result.ACCEPTED: 0,
    Result.UNKNOWN: 1,
    Result.DEFERRED: 2,
    Result.LATER: 3,
    Result.REFUSED: 4,
    Result.POLICY: 5,
}
_OUTCOMES = {
    Result.ACCEPTED: AttemptOutcome.SUCCESS,
    Result.UNKNOWN: AttemptOutcome.UNKNOWN,
    Result.DEFERRED: AttemptOutcome.TRANSIENT_ERROR,
    Result.LATER: AttemptOutcome.TRANSIENT_ERROR,
    Result.REFUSED: AttemptOutcome.PERMANENT_ERROR,
    Result.POLICY: AttemptOutcome.PERMANENT_ERROR,
}
_STATUS_WHEN_BROKEN = {
    Broken.TIMEOUT: AttemptStatus.TIMED_OUT,
    Broken.CLOSED: AttemptStatus.TRANSPORT_FAILED,
    Broken.PROTOCOL: AttemptStatus.TRANSPORT_FAILED,
    Broken.ABORTED: AttemptStatus.ABANDONED,
}


def _attempt_status(transaction: Transaction, decisive: RecipientVerdict) -> AttemptStatus:
    if decisive.result is Result.ACCEPTED:
        return AttemptStatus.PROVIDER_ACCEPTED
    if transaction.broken is not None:
        return _STATUS_WHEN_BROKEN[transaction.broken]
    return _refusal_status(decisive.reply)


def _refusal_status(reply: Reply | None) -> AttemptStatus:
    """Return the attempt status of a refusal; without a reply it was we who foresaw it."""
    if reply is not None and reply.code // 100 == 4:
        return AttemptStatus.PROVIDER_DEFERRED
    return AttemptStatus.PROVIDER_REJECTED


def _failure(
    transaction: Transaction, results: set[Result], outcome: AttemptOutcome
) -> Failure | None:
    if outcome is AttemptOutcome.UNKNOWN:
        return Failure.UNKNOWN
    if outcome is not AttemptOutcome.PERMANENT_ERROR:
        return None
    if transaction.reply is None:
        return Failure.SMTPUTF8
    return Failure.REJECTED if Result.REFUSED in results else Failure.POLICY
