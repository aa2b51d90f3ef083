"""What is said about a delivery: every blocker, every end, with what can be done."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from mailworkers.core.explanations import (
    Blocker,
    Circumstances,
    Explanation,
    Hold,
    LastAttempt,
    explain,
)
from mailworkers.core.states import FINAL, AttemptOutcome, Failure, RecipientStatus, Stage, Status

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
SOON, AGO = NOW + timedelta(minutes=5), NOW - timedelta(minutes=5)
READY = Circumstances(
    now=NOW,
    status=Status.QUEUED,
    lane="normal",
    next_attempt_at=None,
    expires_at=None,
    is_cancel_requested=False,
    failure=None,
    cycle_attempt=0,
    max_attempts=9,
    recipients=(RecipientStatus.OPEN,),
    last=None,
    holds=(),
    senders=2,
    schedulers=1,
    breaker="",
    ahead=0,
    has_content=True,
)
GREYLISTED = LastAttempt(
    1, AGO, AttemptOutcome.TRANSIENT_ERROR, Stage.RCPT, 451, "4.7.1", "greylisted", "mx:25"
)


def say(**changes: Any) -> Explanation:
    """Return what is said of a ready delivery but for *changes*."""
    return explain(msgspec.structs.replace(READY, **changes))


def test_what_is_ready_and_held_by_nothing_goes_next() -> None:
    """No blocker, no advice but that it can be withdrawn."""
    said = say()

    assert said.blockers == said.why == ()
    assert (said.summary, said.next) == (
        "it is ready for its first attempt",
        "the next free sender takes it",
    )
    assert len(said.advice) == 1


@pytest.mark.parametrize(
    ("changes", "blocker", "why", "advice"),
    [
        (
            {"holds": (Hold(7, "the relay is moved", "cli:ada", SOON),)},
            Blocker.PAUSED,
            "cli:ada holds it back: the relay is moved",
            "mailworkers resume 7",
        ),
        (
            {"breaker": "auth: 535 5.7.8 bad credentials"},
            Blocker.BREAKER_OPEN,
            "535 5.7.8 bad credentials",
            "mailworkers doctor",
        ),
        ({"senders": 0}, Blocker.NO_SENDER, "no sender", "supervisorctl status"),
        ({"ahead": 12}, Blocker.BEHIND_OTHERS, "12 in lane normal", ""),
        (
            {"status": Status.DEFERRED, "next_attempt_at": SOON},
            Blocker.NOT_DUE,
            "its time has not come",
            "",
        ),
        (
            {"status": Status.DEFERRED, "next_attempt_at": AGO, "schedulers": 0},
            Blocker.NO_SCHEDULER,
            "no scheduler",
            "supervisorctl status",
        ),
        (
            {"status": Status.SENDING, "next_attempt_at": SOON},
            Blocker.IN_PROGRESS,
            "not done with it yet",
            "",
        ),
        (
            {"status": Status.SENDING, "next_attempt_at": AGO},
            Blocker.LEASE_OVERDUE,
            "its lease has ended",
            "supervisorctl status",
        ),
    ],
)
def test_each_thing_in_the_way_is_named_with_what_can_be_done(
    changes: dict[str, Any], blocker: Blocker, why: str, advice: str
) -> None:
    """As a word for programs, in words for people, with the command that helps."""
    said = say(**changes)

    assert said.blockers == (blocker,)
    assert why in said.why[0]
    assert any(advice in line for line in said.advice)


def test_all_that_is_in_the_way_is_said_at_once() -> None:
    """Whoever resumes a pause learns beforehand that the relay is down, too."""
    said = say(holds=(Hold(1, "x", "ada", None),), breaker="connect: refused", senders=0)

    assert said.blockers == (Blocker.PAUSED, Blocker.BREAKER_OPEN, Blocker.NO_SENDER)


def test_a_retry_tells_the_relays_words_and_the_next_time() -> None:
    """Why it is not sent is answered by the relay's own reply."""
    said = say(status=Status.DEFERRED, cycle_attempt=1, next_attempt_at=SOON, last=GREYLISTED)

    assert said.summary == "attempt 1 of at most 9 did not succeed"
    assert "attempt 1 ended at rcpt by mx:25: 451 4.7.1 greylisted" in said.why
    assert said.next_at == SOON


def test_what_expires_before_its_next_try_is_said_to_expire() -> None:
    """Not promised a try that will not be made."""
    soon = NOW + timedelta(minutes=1)
    said = say(status=Status.DEFERRED, next_attempt_at=SOON, expires_at=soon)

    assert (said.next, said.next_at) == ("it expires before it can be tried again", soon)


def test_a_requested_cancel_is_told_and_not_advised_again() -> None:
    """It is decided by what the relay answers."""
    said = say(status=Status.SENDING, next_attempt_at=SOON, is_cancel_requested=True)

    assert said.next.startswith("a cancel was asked for")
    assert said.advice == ()


@pytest.mark.parametrize("status", sorted(FINAL))
def test_every_end_is_explained_and_nothing_more_happens(status: Status) -> None:
    """No blocker, no time."""
    said = say(status=status)

    assert said.summary
    assert (said.blockers, said.next_at) == ((), None)
    assert said.next == "nothing more happens by itself"


@pytest.mark.parametrize("failure", list(Failure))
def test_every_failure_has_words(failure: Failure) -> None:
    """None is shown as its bare name."""
    assert len(say(status=Status.FAILED, failure=failure).why[0]) > len(failure) + 5


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({}, "mailworkers deliveries requeue ID --reason ... tries it again"),
        ({"has_content": False}, "its content was deleted"),
        ({"lane": "auth"}, "auth mail is not sent again"),
        ({"expires_at": AGO}, "it needs --expires-at"),
    ],
)
def test_what_can_be_done_about_a_failure_is_what_requeue_would_accept(
    changes: dict[str, Any], advice: str
) -> None:
    """Nobody is sent to a command that refuses."""
    (line,) = say(status=Status.DEAD_LETTER, failure="exhausted", **changes).advice

    assert advice in line


def test_the_shares_of_several_recipients_are_counted() -> None:
    """`sent` may mean that most have it."""
    ends = (RecipientStatus.ACCEPTED, RecipientStatus.ACCEPTED, RecipientStatus.REFUSED)

    assert say(status=Status.SENT, recipients=ends).why == (
        "of its 3 recipients: 2 accepted, 1 refused",
    )
