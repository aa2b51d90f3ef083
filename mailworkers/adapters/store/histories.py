"""What happened to one delivery, in order, and what bears on what happens next."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.db import Connection, run
from mailworkers.adapters.store import reads
from mailworkers.adapters.store.operator_actions import list_actions
from mailworkers.adapters.store.reads import LANES, Attempt, Delivery
from mailworkers.core.explanations import Circumstances, Explanation, Hold, LastAttempt, explain
from mailworkers.core.retry import RetryPolicy

SILENCE = timedelta(seconds=20)  # four heartbeats: a process that was quiet so long is not counted
_MOST = 200
_RANKS = {"dead_letter": 1, "ended": 2}
_ONE_STATEMENT = timedelta(seconds=1)


class Event(msgspec.Struct, frozen=True):
    """Something that happened: `kind` for programs, `words` for people, `facts` for both."""

    at: datetime
    kind: str
    words: str
    facts: dict[str, Any] = {}


def timeline(conn: Connection, delivery: Delivery) -> list[Event]:
    """Return what happened to *delivery*, oldest first: the newest 200 attempts and actions."""
    attempts = reads.list_attempts(conn, delivery.delivery_id, before_no=None, limit=_MOST)
    events = [_accepted(delivery), *(e for attempt in attempts for e in _of_attempt(attempt))]
    events += _of_dead_letters(conn, delivery.delivery_id)
    subject = f"delivery {delivery.delivery_id}"
    for action in list_actions(conn, subject=subject, before_id=None, limit=_MOST):
        facts = {"actor": action.actor, "reason": action.reason}
        words = f"{action.actor}: {action.action.replace('_', ' ')}"
        events.append(Event(action.acted_at, "operator_action", words, facts))
    if delivery.finished_at is not None:
        words = f"ended {delivery.status}" + (f": {delivery.failure}" if delivery.failure else "")
        events.append(Event(delivery.finished_at, "ended", words, {"status": delivery.status}))
    ends = {attempt.attempt_no: attempt.finished_at for attempt in attempts}
    return sorted(events, key=lambda event: _place(event, ends.get(delivery.attempt_no), ends))


def _place(
    event: Event, last: datetime | None, ends: Mapping[int, datetime | None]
) -> tuple[datetime, int]:
    """Return where *event* stands: what an attempt caused comes after it.

    One statement writes all of it, and reads the clock for each in an order of its own.
    """
    rank = _RANKS.get(event.kind, 0)
    cause = last if event.kind == "ended" else ends.get(event.facts.get("attempt_no", 0))
    is_later = rank and cause is not None and cause - event.at < _ONE_STATEMENT
    return (max(event.at, cause) if is_later and cause is not None else event.at, rank)


def _accepted(delivery: Delivery) -> Event:
    words = f"accepted from {delivery.source} in lane {delivery.lane}"
    return Event(delivery.created_at, "accepted", words, {"bytes": delivery.mime_size})


def _of_attempt(attempt: Attempt) -> Iterator[Event]:
    number = attempt.attempt_no
    yield Event(
        attempt.started_at, "attempt_began", f"attempt {number} began", {"attempt_no": number}
    )
    if attempt.finished_at is None:
        return
    code = " ".join(str(part) for part in (attempt.reply_code, attempt.enhanced_code) if part)
    said = " ".join(part for part in (code, attempt.summary or "") if part)
    at = f" at {attempt.stage}" if attempt.stage else ""
    facts = {
        "attempt_no": number,
        "status": attempt.status,
        "outcome": attempt.outcome,
        "stage": attempt.stage,
        "reply_code": attempt.reply_code,
        "enhanced_code": attempt.enhanced_code,
        "summary": attempt.summary,
        "relay": attempt.relay,
    }
    words = f"attempt {number}: {attempt.status}{at}" + (f": {said}" if said else "")
    yield Event(attempt.finished_at, "attempt_ended", words, facts)


def _of_dead_letters(conn: Connection, delivery_id: UUID) -> Iterator[Event]:
    for row in run(conn, "list_dead_letters_of", delivery_id=delivery_id):
        number, cause, attempt_no, reason, created, closed, resolved, resolver, note, replay = row
        facts = {"dead_letter_id": number, "cause": cause, "attempt_no": attempt_no}
        yield Event(created, "dead_letter", f"dead letter ({cause}): {reason}", facts)
        if closed is not None:
            words = "no longer a dead letter" + (f": replay {replay}" if replay else "")
            facts = {"dead_letter_id": number, "replay_id": replay}
            yield Event(closed, "dead_letter_closed", words, facts)
        if resolved is not None:
            words = f"dead letter resolved by {resolver}: {note}"
            yield Event(resolved, "dead_letter_resolved", words, {"dead_letter_id": number})


def explain_delivery(
    conn: Connection, delivery: Delivery, policies: Mapping[str, RetryPolicy]
) -> Explanation | None:
    """Return how it stands with *delivery* and why; None when it was deleted meanwhile."""
    rows = run(conn, "find_circumstances", delivery_id=delivery.delivery_id, silence=SILENCE)
    if not rows:
        return None
    now, ahead, senders, schedulers, breaker, has_content = rows[0]
    lane = int(LANES[delivery.lane])
    holds = run(conn, "list_holds", lane=lane, source=delivery.source)
    attempts = reads.list_attempts(conn, delivery.delivery_id, before_no=None, limit=1)
    return explain(
        Circumstances(
            now=now,
            status=delivery.status,
            lane=delivery.lane,
            next_attempt_at=delivery.next_attempt_at or delivery.lease_until,
            expires_at=delivery.expires_at,
            is_cancel_requested=delivery.cancel_requested_at is not None,
            failure=delivery.failure,
            cycle_attempt=delivery.cycle_attempt,
            max_attempts=policies[delivery.retry_policy].max_attempts,
            recipients=tuple(
                found.status for found in reads.list_recipients(conn, delivery.delivery_id)
            ),
            last=_last(attempts[0]) if attempts else None,
            holds=tuple(Hold(*row) for row in holds),
            senders=senders,
            schedulers=schedulers,
            breaker=breaker or "",
            ahead=ahead,
            has_content=has_content,
        )
    )


def _last(attempt: Attempt) -> LastAttempt:
    return LastAttempt(
        attempt_no=attempt.attempt_no,
        started_at=attempt.started_at,
        outcome=attempt.outcome,
        stage=attempt.stage,
        reply_code=attempt.reply_code,
        enhanced_code=attempt.enhanced_code,
        summary=attempt.summary,
        relay=attempt.relay,
    )
