"""Checks of what arrived: everything that should, once or with a reason, in time, unchanged."""

import itertools
from collections import Counter
from collections.abc import Iterator

from tests.crash.chaos.checks import check, told
from tests.crash.chaos.evidence import Evidence

_MARGIN = 1.0  # seconds a sink may see something late


@check("I-05 what is said to be sent is at the sink, and nothing else")
def _sent_is_there(evidence: Evidence) -> Iterator[str]:
    for delivery_id, recipients in evidence.recipients.items():
        there = Counter(r for copy in evidence.copies.get(delivery_id, ()) for r in copy["rcpt_to"])
        for recipient in recipients:
            is_there = there[recipient.address] > 0
            is_doubtful = evidence.unknowns(delivery_id) > 0
            if recipient.status == "accepted" and not is_there:
                yield f"{delivery_id} {recipient.address} is accepted, and not at the sink"
            # Told by a known exception: the doubt of an earlier attempt, then another end.
            known = {"accepted", "uncertain"}
            if is_there and recipient.status not in known and not is_doubtful:
                yield f"{delivery_id} {recipient.address} is at the sink, and {recipient.status}"
    unknown = evidence.copies.keys() - evidence.deliveries.keys()
    yield from (f"mail of no delivery: {message_id}" for message_id in unknown)


@check("I-05 whoever may have it is not called a failure")
def _doubt_is_kept(evidence: Evidence) -> Iterator[str]:
    for delivery_id, recipients in evidence.recipients.items():
        there = {r for copy in evidence.copies.get(delivery_id, ()) for r in copy["rcpt_to"]}
        for recipient in recipients:
            if recipient.address in there and recipient.status not in {"accepted", "uncertain"}:
                yield (
                    f"{delivery_id} {recipient.address} is at the sink, and {recipient.status}: "
                    f"{told(evidence.attempts[delivery_id])}"
                )


def duplicates(evidence: Evidence, delivery_id: str) -> int:
    """Return how many copies too many the most unlucky recipient of a delivery got."""
    there = Counter(r for copy in evidence.copies[delivery_id] for r in copy["rcpt_to"])
    return max(there.values(), default=1) - 1


@check("I-06 every duplicate is explained by an attempt whose outcome is unknown")
def _duplicates_are_explained(evidence: Evidence) -> Iterator[str]:
    for delivery_id in evidence.copies:
        doubled = duplicates(evidence, delivery_id)
        if doubled > evidence.unknowns(delivery_id):
            attempts = told(evidence.attempts.get(delivery_id, []))
            yield f"{delivery_id}: {doubled + 1} copies, attempts {attempts}"


@check("I-06 every copy is explained by an attempt that may have brought it")
def _copies_are_explained(evidence: Evidence) -> Iterator[str]:
    for delivery_id, copies in evidence.copies.items():
        attempts = evidence.attempts.get(delivery_id, [])
        able = [a for a in attempts if a.outcome in ("success", "unknown")]
        if len(copies) > len(able):
            yield f"{delivery_id}: {len(copies)} copies, attempts {told(attempts)}"


@check("I-06 duplicates are within the bound")
def _duplicates_are_few(evidence: Evidence) -> Iterator[str]:
    doubled = sum(duplicates(evidence, delivery_id) for delivery_id in evidence.copies)
    if doubled > bound(evidence):
        yield f"{doubled} duplicates, the faults explain {bound(evidence)}"


def bound(evidence: Evidence) -> int:
    """Return the most duplicates the faults explain: one for each session at each fault.

    A sender has one session. Killed or frozen it may have one message under way; so may each
    session the sink cut, and each message whose answer the sink withheld.
    """
    senders = len(evidence.effective("sender", "kill", "freeze"))
    cut = sum(
        evidence.effects[fault["number"]].get("cut", 0)
        for fault in evidence.effective(
            "relay", "cut_sessions", *("connect_reset", "banner_421", "login_535")
        )
    )
    return senders + int(cut) + sum(bool(message["is_hurt"]) for message in evidence.messages)


@check("I-07 all copies of a message are the same, byte for byte")
def _copies_are_identical(evidence: Evidence) -> Iterator[str]:
    for delivery_id, copies in evidence.copies.items():
        if len({copy["digest"] for copy in copies}) > 1:
            yield f"{delivery_id}: {[copy['digest'] for copy in copies]}"


@check("I-08 attempts are numbered without a gap and never overlap")
def _attempts_are_in_order(evidence: Evidence) -> Iterator[str]:
    for delivery_id, row in evidence.deliveries.items():
        attempts = evidence.attempts.get(delivery_id, [])
        if [a.attempt_no for a in attempts] != list(range(1, row.attempt_no + 1)):
            yield f"{delivery_id} has attempt_no {row.attempt_no}: {told(attempts)}"
        for one, next_one in itertools.pairwise(attempts):
            if one.finished_at is None or one.finished_at > next_one.started_at:
                yield f"{delivery_id}: attempt {one.attempt_no} ends after the next has begun"
        if evidence.is_final(row) and any(a.status == "in_progress" for a in attempts):
            yield f"{delivery_id} is over, and an attempt is open: {told(attempts)}"


@check("I-10 nothing comes before its time or after its expiry")
def _times_are_kept(evidence: Evidence) -> Iterator[str]:
    by_delivery = {
        str(evidence.by_key[c.first["source"], c.first["key"]].delivery_id): c.first
        for c in evidence.commands.values()
        if (c.first["source"], c.first["key"]) in evidence.by_key
    }
    for delivery_id, copies in evidence.copies.items():
        first = by_delivery.get(delivery_id, {})
        for copy in copies:
            early = first.get("send_at_ms", 0) / 1000 - copy["mail_wall"]
            late = copy["mail_wall"] - first.get("expires_at_ms", 9e15) / 1000
            if early > _MARGIN:
                yield f"{delivery_id} came {early:.2f} s before its time"
            if late > _MARGIN:
                yield f"{delivery_id} came {late:.2f} s after its expiry"


@check("I-23 nobody gets another's content")
def _content_is_its_own(evidence: Evidence) -> Iterator[str]:
    of_key = {(c.first["source"], c.first["key"]): c.first for c in evidence.commands.values()}
    for delivery_id, copies in evidence.copies.items():
        row = evidence.deliveries.get(delivery_id)
        if row is None:
            continue
        first = of_key[row.source, row.idempotency_key]
        for copy in copies:
            if copy["canaries"] != [first["canary"]]:
                yield f"{delivery_id}: {copy['canaries']} instead of {first['canary']}"
            if not set(copy["rcpt_to"]) <= set(first["recipients"]):
                yield f"{delivery_id}: {copy['rcpt_to']} instead of {first['recipients']}"
