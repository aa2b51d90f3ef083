"""What a verdict makes of a delivery: every kind of end, with and without a cancel."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailworkers.core.replies import Fault, RecipientVerdict, Result, Verdict
from mailworkers.core.retry import ladder
from mailworkers.core.settlement import (
    SHORTEST_RECLAIM,
    Case,
    Settlement,
    decide,
    reclaimed,
)
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Failure,
    PayloadMode,
    RecipientStatus,
    Stage,
    Status,
)
from mailworkers.core.wire import Reply

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
LADDER = ladder("ladder", (timedelta(seconds=5), timedelta(seconds=30)))
OK, NO, LATER = Reply(250), Reply(550, "5.1.1", "no"), Reply(451, "", "later")

ACCEPTED = RecipientVerdict(Result.ACCEPTED, OK)
REFUSED = RecipientVerdict(Result.REFUSED, NO)
DEFERRED = RecipientVerdict(Result.DEFERRED, LATER)
POLICY = RecipientVerdict(Result.POLICY, NO)
UNKNOWN = RecipientVerdict(Result.UNKNOWN)
LEFT_OVER = RecipientVerdict(Result.LATER, LATER)


def _decide(*recipients: RecipientVerdict, **changes: Any) -> Settlement:
    case: dict[str, Any] = {
        "delivery_id": UUID(int=1),
        "lease_token": UUID(int=2),
        "payload_mode": PayloadMode.TEMPLATE,
        "cycle_attempt": 1,
        "expires_at": None,
        "ordinals": list(range(len(recipients))),
        "closed": [],
    }
    case.update({name: changes.pop(name) for name in list(changes) if name in case})
    verdict = Verdict(
        attempt_status=AttemptStatus.PROVIDER_DEFERRED,
        outcome=AttemptOutcome.TRANSIENT_ERROR,
        fault=Fault.NONE,
        stage=Stage.RCPT,
        reply=None,
        recipients=recipients,
        burns_ladder=changes.pop("burns_ladder", True),
        trips_breaker=False,
        failure=changes.pop("failure", None),
    )
    return decide(
        Case(**case),
        verdict,
        now=NOW,
        policy=LADDER,
        chance=0.5,
        is_parked=changes.pop("is_parked", False),
        relay="relay:25",
        summary="",
    )


def _statuses(settlement: Settlement) -> list[str]:
    return [str(end.status) for end in settlement.recipients]


@pytest.mark.parametrize(
    ("recipients", "status", "failure"),
    [
        ((ACCEPTED,), Status.SENT, None),
        ((ACCEPTED, REFUSED), Status.SENT, None),
        ((REFUSED,), Status.FAILED, Failure.REJECTED),
        ((POLICY,), Status.SUPPRESSED, Failure.POLICY),
        ((POLICY, REFUSED), Status.FAILED, Failure.REJECTED),
        ((DEFERRED,), Status.DEFERRED, None),
        ((ACCEPTED, DEFERRED), Status.DEFERRED, None),
        ((UNKNOWN,), Status.DEFERRED, None),
    ],
)
def test_the_recipients_together_give_the_status(
    recipients: tuple[RecipientVerdict, ...], status: Status, failure: Failure | None
) -> None:
    """While somebody is open the delivery goes on; closed, the rule of the contract holds."""
    settlement = _decide(*recipients)

    assert (settlement.status, settlement.failure) == (status, failure)


def test_a_retry_comes_after_the_rung_of_its_attempt() -> None:
    """The first attempt is followed by the first wait, the second by the second."""
    assert _decide(DEFERRED).next_attempt_at == NOW + timedelta(seconds=5)
    assert _decide(DEFERRED, cycle_attempt=2).next_attempt_at == NOW + timedelta(seconds=30)


def test_the_end_of_the_ladder_exhausts_the_open_recipients() -> None:
    """Whoever was accepted stays accepted; the delivery is a dead letter."""
    settlement = _decide(ACCEPTED, DEFERRED, cycle_attempt=3)

    assert settlement.status is Status.DEAD_LETTER
    assert settlement.failure is Failure.EXHAUSTED
    assert _statuses(settlement) == ["accepted", "exhausted"]
    assert settlement.next_attempt_at is None


def test_a_retry_past_the_expiry_expires_the_open_recipients() -> None:
    """The moment itself is too late."""
    at_the_end = _decide(DEFERRED, expires_at=NOW + timedelta(seconds=5))
    in_time = _decide(DEFERRED, expires_at=NOW + timedelta(seconds=5.001))

    assert (at_the_end.status, at_the_end.failure) == (Status.FAILED, Failure.EXPIRED)
    assert in_time.status is Status.DEFERRED


def test_recipients_closed_earlier_count_in_the_end() -> None:
    """An attempt speaks only of those who were open; the rule speaks of all."""
    settlement = _decide(REFUSED, closed=[RecipientStatus.ACCEPTED])

    assert settlement.status is Status.SENT


def test_a_fault_before_mail_makes_it_ready_again_and_costs_nothing() -> None:
    """The relay's fault, or ours; the mode says in which status it is ready."""
    settlement = _decide(DEFERRED, burns_ladder=False, cycle_attempt=3)

    assert settlement.status is Status.RENDERED
    assert not settlement.is_burnt
    assert _statuses(settlement) == ["open"]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, Status.DEFERRED),
        ({"is_parked": True}, Status.UNCERTAIN),
        ({"cycle_attempt": 3}, Status.UNCERTAIN),
        ({"expires_at": NOW}, Status.UNCERTAIN),
    ],
)
def test_whoever_may_have_it_is_tried_again_or_called_uncertain(
    changes: dict[str, Any], status: Status
) -> None:
    """Never exhausted, expired or refused: we do not know."""
    settlement = _decide(UNKNOWN, **changes)

    assert settlement.status is status
    expected = Failure.UNKNOWN if status is Status.UNCERTAIN else None
    assert settlement.failure == expected


@pytest.mark.parametrize(
    ("recipients", "status"),
    [
        ((DEFERRED,), Status.CANCELLED),
        ((ACCEPTED, DEFERRED), Status.SENT),
        ((REFUSED, DEFERRED), Status.FAILED),
        ((UNKNOWN,), Status.UNCERTAIN),
        ((ACCEPTED,), Status.SENT),
    ],
)
def test_a_cancel_closes_who_is_open(
    recipients: tuple[RecipientVerdict, ...], status: Status
) -> None:
    """If it was sent it stays sent; any retry becomes cancelled, or uncertain if in doubt."""
    assert _decide(*recipients).cancelled_status is status


def test_recipients_left_over_are_ready_at_once() -> None:
    """452 too many recipients: the verdict says that it costs nothing."""
    settlement = _decide(ACCEPTED, LEFT_OVER, burns_ladder=False)

    assert settlement.status is Status.RENDERED
    assert _statuses(settlement) == ["accepted", "open"]


def test_the_failure_of_the_verdict_is_kept() -> None:
    """SMTPUTF8 needed and not offered is named."""
    assert _decide(REFUSED, failure=Failure.SMTPUTF8).failure is Failure.SMTPUTF8


def test_a_vanished_sender_is_not_followed_at_its_heels() -> None:
    """Ten seconds at least, or more where the ladder says so."""
    first = reclaimed(1, now=NOW, policy=LADDER, chance=0.5, is_parked=False)
    second = reclaimed(2, now=NOW, policy=LADDER, chance=0.5, is_parked=False)

    assert first == (Status.DEFERRED, NOW + SHORTEST_RECLAIM, None)
    assert second == (Status.DEFERRED, NOW + timedelta(seconds=30), None)


def test_a_vanished_sender_at_the_end_of_the_ladder_or_under_park_ends_the_delivery() -> None:
    """`dead_letter` where another try would have been allowed once more, `uncertain` under park."""
    exhausted = reclaimed(3, now=NOW, policy=LADDER, chance=0.5, is_parked=False)
    parked = reclaimed(1, now=NOW, policy=LADDER, chance=0.5, is_parked=True)

    assert exhausted == (Status.DEAD_LETTER, None, Failure.EXHAUSTED)
    assert parked == (Status.UNCERTAIN, None, Failure.UNKNOWN)
