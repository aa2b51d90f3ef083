"""What the journal of a dead sender means for the rows it had leased (architecture section 4)."""

import enum

import msgspec

from mailworkers.core.journal import Answered, Begin, Dot
from mailworkers.core.replies import Fault, RecipientVerdict, Result, Verdict, judge
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Failure, Stage
from mailworkers.core.wire import Broken, Reply, Transaction

# So many senders may die over one delivery before it is taken for the reason.
MOST_DEATHS = 3


class Fate(enum.StrEnum):
    """What happened to a leased row as far as its journal tells."""

    ANSWERED = "answered"  # the outcome stands in the journal
    UNKNOWN = "unknown"  # the dot may have gone out
    BEGUN = "begun"  # its transaction began; the dot certainly did not go out
    UNTOUCHED = "untouched"  # certainly not started


def fate(record: Begin | Dot | Answered | None, *, is_trusted: bool) -> Fate:
    """Return the fate of a row by its latest *record*.

    What a journal that is not trusted (another boot, corrupt) does not say may have happened.
    """
    match record:
        case Answered():
            return Fate.ANSWERED
        case Dot():
            return Fate.UNKNOWN
        case _ if not is_trusted:
            return Fate.UNKNOWN
        case Begin():
            return Fate.BEGUN
        case _:
            return Fate.UNTOUCHED


def verdict_of_unknown(record: Begin | Dot | Answered | None, recipients: int) -> Verdict:
    """Return the verdict about an attempt whose dot may have gone: refusals before it stand."""
    replies: tuple[Reply | None, ...] = record.replies if isinstance(record, Dot) else ()
    transaction = Transaction(
        stage=Stage.END_OF_DATA,
        mail_reply=None,
        rcpt_replies=replies or (None,) * recipients,
        reply=None,
        broken=Broken.CLOSED,
        dot_sent=True,
    )
    verdict = judge(transaction, own_identity=False)
    return msgspec.structs.replace(verdict, attempt_status=AttemptStatus.ABANDONED)


def verdict_of_begun(recipients: int) -> Verdict:
    """Return the verdict about an attempt that certainly did not reach its dot: it is free."""
    return Verdict(
        attempt_status=AttemptStatus.ABANDONED,
        outcome=AttemptOutcome.TRANSIENT_ERROR,
        fault=Fault.NONE,
        stage=Stage.DATA,
        reply=None,
        recipients=(RecipientVerdict(Result.DEFERRED),) * recipients,
        burns_ladder=False,
        trips_breaker=False,
    )


def verdict_of_poison(recipients: int) -> Verdict:
    """Return the verdict about a delivery that must not be tried again: it kills senders, or its
    stored bytes could be read as something else on the wire."""
    return msgspec.structs.replace(
        verdict_of_begun(recipients),
        outcome=AttemptOutcome.PERMANENT_ERROR,
        fault=Fault.MESSAGE,
        recipients=(RecipientVerdict(Result.REFUSED),) * recipients,
        burns_ladder=True,
        failure=Failure.POISON,
    )
