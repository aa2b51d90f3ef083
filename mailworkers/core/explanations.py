"""Why a delivery is not sent, what happens next and when, and what an operator can do: in words.

Pure: everything that is known about the delivery and its surroundings comes as `Circumstances`.
"""

import enum
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from mailworkers.core.states import AttemptOutcome, Failure, RecipientStatus, Stage, Status

LATE = timedelta(seconds=5)  # what the contract allows between a due time and the next attempt


class Blocker(enum.StrEnum):
    """What keeps a delivery from being sent now, for programs."""

    NOT_DUE = "not_due"
    PAUSED = "paused"
    BREAKER_OPEN = "breaker_open"
    NO_SENDER = "no_sender"
    NO_SCHEDULER = "no_scheduler"
    BEHIND_OTHERS = "behind_others"
    IN_PROGRESS = "in_progress"
    LEASE_OVERDUE = "lease_overdue"


class LastAttempt(msgspec.Struct, frozen=True):
    """The newest attempt, whose `summary` is the relay's reply or what went wrong."""

    attempt_no: int
    started_at: datetime
    outcome: AttemptOutcome | None
    stage: Stage | None
    reply_code: int | None
    enhanced_code: str | None
    summary: str | None
    relay: str | None


class Hold(msgspec.Struct, frozen=True):
    """A pause that concerns the delivery."""

    pause_id: int
    reason: str
    created_by: str
    ends_at: datetime | None


class Circumstances(msgspec.Struct, frozen=True):
    """What is known at `now`. `breaker` is why senders do not trust the relay, "" when they do;
    `ahead` counts what is ready in the same lane and goes first, up to a bound."""

    now: datetime
    status: Status
    lane: str
    next_attempt_at: datetime | None
    expires_at: datetime | None
    is_cancel_requested: bool
    failure: str | None
    cycle_attempt: int
    max_attempts: int
    recipients: tuple[RecipientStatus, ...]
    last: LastAttempt | None
    holds: tuple[Hold, ...]
    senders: int
    schedulers: int
    breaker: str
    ahead: int
    has_content: bool


class Explanation(msgspec.Struct, frozen=True):
    """`summary`: how it stands. `blockers`: why not now, `why` in words. `next`: what happens by
    itself, at `next_at` where that is known. `advice`: what an operator can do."""

    summary: str
    why: tuple[str, ...]
    blockers: tuple[Blocker, ...]
    next: str
    next_at: datetime | None
    advice: tuple[str, ...]


def explain(seen: Circumstances) -> Explanation:
    """Return what there is to say about a delivery in these circumstances."""
    if seen.status in _ENDS:
        return _explain_end(seen)
    found = list(_blockers(seen))
    next_, next_at = _next(seen)
    return Explanation(
        summary=_summary_of_live(seen),
        why=(*(why for _, why, _ in found), *_about_last(seen)),
        blockers=tuple(blocker for blocker, _, _ in found),
        next=next_,
        next_at=next_at,
        advice=(*(advice for _, _, advice in found if advice), *_advice_of_live(seen)),
    )


# What lives.


def _summary_of_live(seen: Circumstances) -> str:
    match seen.status:
        case Status.SCHEDULED:
            return "it was accepted to be sent later"
        case Status.SENDING:
            return f"a sender has it: attempt {seen.cycle_attempt} of at most {seen.max_attempts}"
        case Status.DEFERRED:
            return f"attempt {seen.cycle_attempt} of at most {seen.max_attempts} did not succeed"
        case _ if seen.cycle_attempt:
            return f"it is ready for attempt {seen.cycle_attempt + 1} of {seen.max_attempts}"
        case _:
            return "it is ready for its first attempt"


_Finding = tuple[Blocker, str, str]


def _blockers(seen: Circumstances) -> Iterator[_Finding]:
    """Yield what keeps it from being sent now: for programs, in words, and what can be done."""
    if seen.status in (Status.SCHEDULED, Status.DEFERRED):
        yield from _waiting(seen)
    if seen.status is Status.SENDING:
        yield from _sending(seen)
        return
    for hold in seen.holds:
        yield (
            Blocker.PAUSED,
            f"{hold.created_by} holds it back: {hold.reason}",
            f"mailworkers resume {hold.pause_id} --reason ... lets it go",
        )
    if seen.breaker:
        yield (
            Blocker.BREAKER_OPEN,
            f"senders wait for the relay, which failed: {seen.breaker}",
            "mailworkers doctor tries the relay and says what is wrong with it",
        )
    if not seen.senders:
        yield (
            Blocker.NO_SENDER,
            "no sender has given a sign of life lately",
            "supervisorctl status shows whether the senders run, and their logs why not",
        )
    if seen.ahead and seen.status in (Status.QUEUED, Status.RENDERED):
        yield Blocker.BEHIND_OTHERS, f"{seen.ahead} in lane {seen.lane} became ready before it", ""


def _waiting(seen: Circumstances) -> Iterator[_Finding]:
    due = seen.next_attempt_at
    if due is not None and due > seen.now:
        yield Blocker.NOT_DUE, "its time has not come", ""
    elif not seen.schedulers:
        yield (
            Blocker.NO_SCHEDULER,
            "it is due, but no scheduler has given a sign of life lately",
            "supervisorctl status shows whether the scheduler runs, and its log why not",
        )


def _sending(seen: Circumstances) -> Iterator[_Finding]:
    until = seen.next_attempt_at
    if until is not None and until + LATE < seen.now:
        yield (
            Blocker.LEASE_OVERDUE,
            "its lease has ended and nobody took it back yet",
            "supervisorctl status shows whether the scheduler runs, and its log why not",
        )
    else:
        yield Blocker.IN_PROGRESS, "the relay was not done with it yet", ""


def _about_last(seen: Circumstances) -> Iterator[str]:
    """Say what the last attempt met, in the relay's words where it had any."""
    last = seen.last
    if last is None or last.outcome in (None, AttemptOutcome.SUCCESS):
        return
    at = f" at {last.stage}" if last.stage else ""
    relay = f" by {last.relay}" if last.relay else ""
    code = " ".join(str(part) for part in (last.reply_code, last.enhanced_code) if part)
    words = " ".join(part for part in (code, last.summary or "") if part) or "without an answer"
    yield f"attempt {last.attempt_no} ended{at}{relay}: {words}"


def _next(seen: Circumstances) -> tuple[str, datetime | None]:
    """Return what happens by itself, and when where that can be said."""
    due = seen.next_attempt_at
    if seen.is_cancel_requested:
        return "a cancel was asked for: it stays sent if the relay takes it, else it ends", None
    if seen.status is Status.SENDING:
        return "the sender records what the relay answers, or its lease ends", due
    expires = seen.expires_at
    if expires is not None and (expires <= seen.now or (due is not None and expires <= due)):
        return "it expires before it can be tried again", expires
    if seen.status in (Status.SCHEDULED, Status.DEFERRED) and due is not None and due > seen.now:
        return "it becomes ready, and the next free sender takes it", due
    return "the next free sender takes it", None


def _advice_of_live(seen: Circumstances) -> Iterator[str]:
    if not seen.is_cancel_requested:
        yield "mailworkers deliveries cancel ID --reason ... withdraws it"


# What has ended.

_ENDS = {
    Status.SENT: "the relay accepted it",
    Status.SUPPRESSED: "it was not sent, on purpose",
    Status.FAILED: "it failed for good",
    Status.DEAD_LETTER: "every retry was used up",
    Status.UNCERTAIN: "it may have been sent; whether it arrived is not known",
    Status.CANCELLED: "it was withdrawn before it was sent",
}
_FAILURES = {
    Failure.REJECTED: "the relay refused it",
    Failure.EXPIRED: "its time was over before the relay took it",
    Failure.POISON: "three senders died over it",
    Failure.EXHAUSTED: "no attempt of its cycle succeeded",
    Failure.SMTPUTF8: "an address needs SMTPUTF8, which the relay does not offer",
    Failure.LISTED: "every recipient is on the list of suppressed addresses",
    Failure.STUB: "MAIL_SMTP_MODE is stub: nothing leaves",
    Failure.POLICY: "the relay refused it by its policy, not for its recipient",
    Failure.UNKNOWN: "the final dot may have gone out, and its answer was never read",
}
_REQUEUE = "mailworkers deliveries requeue ID --reason ... tries it again"


def _explain_end(seen: Circumstances) -> Explanation:
    why = [_FAILURES[Failure(seen.failure)]] if seen.failure in set(Failure) else []
    if len(seen.recipients) > 1:
        counts = Counter(seen.recipients)
        shares = ", ".join(f"{n} {status}" for status, n in counts.most_common())
        why.append(f"of its {len(seen.recipients)} recipients: {shares}")
    return Explanation(
        summary=_ENDS[seen.status],
        why=(*why, *_about_last(seen)),
        blockers=(),
        next="nothing more happens by itself",
        next_at=None,
        advice=tuple(_advice_of_end(seen)),
    )


def _advice_of_end(seen: Circumstances) -> Iterator[str]:
    if seen.failure == Failure.LISTED:
        yield "mailworkers suppressions list ADDRESS says who put it there and why"
    if seen.status not in (Status.FAILED, Status.DEAD_LETTER, Status.UNCERTAIN):
        return
    if not seen.has_content:
        yield "its content was deleted: the producer has to send it anew"
    elif seen.lane == "auth":
        yield "auth mail is not sent again: whoever signs in asks for a new code"
    elif seen.expires_at is not None and seen.expires_at <= seen.now:
        yield f"{_REQUEUE}; it needs --expires-at, its time is over"
    elif seen.status is Status.UNCERTAIN:
        yield f"ask the recipient, or: {_REQUEUE}, perhaps a second time"
    else:
        yield _REQUEUE
