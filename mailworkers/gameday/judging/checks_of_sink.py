"""Checks of what arrived: everything that should, once or with a reason, in time, unchanged."""

import itertools
from collections import Counter
from collections.abc import Iterator

from mailworkers.gameday.judging.checks import check, check_whole, told
from mailworkers.gameday.judging.part import Part
from mailworkers.gameday.judging.whole import Whole

_EARLY = 1.0  # seconds
_LATE = 2.0  # what a slow machine may take from the last look before MAIL until the sink reads it


@check("I-05 what is said to be sent is at the sink, and nothing else")
def _sent_is_there(part: Part) -> Iterator[str]:
    for delivery_id, recipients in part.recipients.items():
        there = Counter(r for copy in part.copies.get(delivery_id, ()) for r in copy["rcpt_to"])
        for recipient in recipients:
            is_there = there[recipient.address] > 0
            is_doubtful = part.unknowns(delivery_id) > 0
            if recipient.status == "accepted" and not is_there:
                yield f"{delivery_id} {recipient.address} is accepted, and not at the sink"
            # Told by a known exception: the doubt of an earlier attempt, then another end.
            known = {"accepted", "uncertain"}
            if is_there and recipient.status not in known and not is_doubtful:
                yield f"{delivery_id} {recipient.address} is at the sink, and {recipient.status}"
    unknown = part.copies.keys() - part.deliveries.keys()
    yield from (f"mail of no delivery: {message_id}" for message_id in unknown)


@check("I-05 whoever may have it is not called a failure")
def _doubt_is_kept(part: Part) -> Iterator[str]:
    """The doubt of the last attempt is; that of an earlier one ends with what the last one knew."""
    for delivery_id, recipients in part.recipients.items():
        there = {r for copy in part.copies.get(delivery_id, ()) for r in copy["rcpt_to"]}
        attempts = part.attempts.get(delivery_id, [])
        is_settled = part.unknowns(delivery_id) > 0 and attempts[-1].outcome != "unknown"
        for recipient in recipients:
            is_kept = recipient.status in {"accepted", "uncertain"} or is_settled
            if recipient.address in there and not is_kept:
                yield (
                    f"{delivery_id} {recipient.address} is at the sink, and {recipient.status}: "
                    f"{told(attempts)}"
                )


def duplicates(part: Part, delivery_id: str) -> int:
    """Return how many copies too many the most unlucky recipient of a delivery got."""
    there = Counter(r for copy in part.copies[delivery_id] for r in copy["rcpt_to"])
    return max(there.values(), default=1) - 1


@check("I-06 every duplicate is explained by an attempt whose outcome is unknown")
def _duplicates_are_explained(part: Part) -> Iterator[str]:
    for delivery_id in part.copies:
        doubled = duplicates(part, delivery_id)
        if doubled > part.unknowns(delivery_id):
            attempts = told(part.attempts.get(delivery_id, []))
            yield f"{delivery_id}: {doubled + 1} copies, attempts {attempts}"


@check("I-06 every copy is explained by an attempt that may have brought it")
def _copies_are_explained(part: Part) -> Iterator[str]:
    for delivery_id, copies in part.copies.items():
        attempts = part.attempts.get(delivery_id, [])
        able = [a for a in attempts if a.outcome in ("success", "unknown")]
        if len(copies) > len(able):
            yield f"{delivery_id}: {len(copies)} copies, attempts {told(attempts)}"


@check_whole("I-06 duplicates are within the bound")
def _duplicates_are_few(whole: Whole) -> Iterator[str]:
    doubled = whole.tally["duplicates"]
    if doubled > bound(whole):
        yield f"{doubled} duplicates, the faults explain {bound(whole)}"


def bound(whole: Whole) -> int:
    """Return the most duplicates the faults explain: one for each session at each fault.

    A sender has one session. Killed or frozen it may have one message under way, also when it is
    killed as an orphan of supervisord; so may each session the sink cut, and each message whose
    answer the sink withheld. Of other faults their effects say how many `sessions` they met.
    """
    senders = len(whole.effective("sender", "kill", "freeze"))
    cut = sum(
        int(whole.effects[fault["number"]].get("cut", 0))
        for fault in whole.effective(
            "relay", "cut_sessions", "connect_reset", "banner_421", "login_535"
        )
    )
    met = sum(int(effect.get("sessions", 0)) for effect in whole.effects.values())
    return senders + cut + met + whole.tally["messages hurt"]


@check("park: nothing parked comes twice")
def _parked_comes_once(part: Part) -> Iterator[str]:
    parked = part.whole.places.lanes_parked
    for delivery_id in part.copies:
        command = part.command_of(delivery_id)
        if command and command.first["lane"] in parked and duplicates(part, delivery_id):
            yield f"{delivery_id}: attempts {told(part.attempts.get(delivery_id, []))}"


@check("I-09 nothing comes to an address that was listed before")
def _listed_get_nothing(part: Part) -> Iterator[str]:
    for delivery_id, copies in part.copies.items():
        for copy in copies:
            for address in copy["rcpt_to"]:
                since = part.listed_at(delivery_id, address)
                # What a sender had leased by then may go: its lease is the longest it can.
                if since is not None and copy["mail_wall"] > since + part.whole.places.lease:
                    yield f"{delivery_id} came {copy['mail_wall'] - since:.2f} s after {address}"


@check("I-07 all copies of a message are the same, byte for byte")
def _copies_are_identical(part: Part) -> Iterator[str]:
    for delivery_id, copies in part.copies.items():
        if len({copy["digest"] for copy in copies}) > 1:
            yield f"{delivery_id}: {[copy['digest'] for copy in copies]}"


@check("I-08 attempts are numbered without a gap and never overlap")
def _attempts_are_in_order(part: Part) -> Iterator[str]:
    for delivery_id, row in part.deliveries.items():
        attempts = part.attempts.get(delivery_id, [])
        if [a.attempt_no for a in attempts] != list(range(1, row.attempt_no + 1)):
            yield f"{delivery_id} has attempt_no {row.attempt_no}: {told(attempts)}"
        for one, next_one in itertools.pairwise(attempts):
            if one.finished_at is None or one.finished_at > next_one.started_at:
                yield f"{delivery_id}: attempt {one.attempt_no} ends after the next has begun"
        if part.is_final(row) and any(a.status == "in_progress" for a in attempts):
            yield f"{delivery_id} is over, and an attempt is open: {told(attempts)}"


@check("I-10 nothing comes before its time or after its expiry")
def _times_are_kept(part: Part) -> Iterator[str]:
    for delivery_id, copies in part.copies.items():
        command = part.command_of(delivery_id)
        first = command.first if command else {}
        for copy in copies:
            early = first.get("send_at_ms", 0) / 1000 - copy["mail_wall"]
            late = copy["mail_wall"] - first.get("expires_at_ms", 9e15) / 1000
            if early > _EARLY:
                yield f"{delivery_id} came {early:.2f} s before its time"
            if late > _LATE:
                yield f"{delivery_id} came {late:.2f} s after its expiry"


@check("I-23 nobody gets another's content")
def _content_is_its_own(part: Part) -> Iterator[str]:
    for delivery_id, copies in part.copies.items():
        command = part.command_of(delivery_id)
        if command is None:
            continue  # told by I-05: mail of no delivery
        first = command.first
        for copy in copies:
            if copy["canaries"] != [first["canary"]]:
                yield f"{delivery_id}: {copy['canaries']} instead of {first['canary']}"
            if not set(copy["rcpt_to"]) <= set(first["recipients"]):
                yield f"{delivery_id}: {copy['rcpt_to']} instead of {first['recipients']}"
