"""Checks of the tables: every end has its reason, and the past bears it out."""

from collections.abc import Iterator

from mailworkers.gameday.judging.checks import check, told
from mailworkers.gameday.judging.part import Part
from mailworkers.gameday.judging.whole import Row


@check("I-02 every delivery is over")
def _everything_ends(part: Part) -> Iterator[str]:
    for delivery_id, row in part.deliveries.items():
        if not part.is_final(row):
            yield f"{delivery_id} is {row.status}, next {row.next_attempt_at}"


@check("I-03 every end has its reason")
def _ends_have_reasons(part: Part) -> Iterator[str]:
    for delivery_id, row in part.deliveries.items():
        attempts = part.attempts.get(delivery_id, [])
        if not _has_reason(part, delivery_id, row, attempts):
            yield f"{delivery_id} is {row.status} ({row.failure}): {told(attempts)}"


def _has_reason(part: Part, delivery_id: str, row: Row, attempts: list[Row]) -> bool:
    outcomes = [attempt.outcome for attempt in attempts]
    match row.status, row.failure:
        case "sent", _:
            codes = {a.reply_code for a in attempts if a.outcome == "success"}
            return bool(codes) and all(200 <= code < 300 for code in codes)
        case "failed", "rejected":
            return "permanent_error" in outcomes or _was_refused(part, delivery_id)
        case "failed", "expired":
            # A retry that would come too late is not waited for.
            is_past = row.expires_at is not None and row.finished_at >= row.expires_at
            return bool(is_past) or (row.expires_at is not None and outcomes[-1:] != ["success"])
        case "failed", "poison":
            return [attempt.status for attempt in attempts].count("abandoned") >= 3
        case "dead_letter", _:
            return int(row.cycle_attempt) >= part.whole.places.ladder
        case "suppressed", ("policy" | "listed"):
            return "permanent_error" in outcomes or _is_listed(part, delivery_id)
        case "uncertain", _:
            return "unknown" in outcomes or _was_taken_back(part, delivery_id)
        case "cancelled", _:
            return part.was_asked(delivery_id, "cancel") and "success" not in outcomes
        case _:
            return False


def _was_refused(part: Part, delivery_id: str) -> bool:
    """Whether one recipient was refused for good in an attempt that was put off for the others.

    What became of those later, such as that they were listed, leaves the refusal for the end.
    """
    return any(
        recipient.status == "refused" and (recipient.reply_code or 0) // 100 == 5
        for recipient in part.recipients.get(delivery_id, ())
    )


def _was_taken_back(part: Part, delivery_id: str) -> bool:
    """Whether its sender had vanished: a transient outcome known later does not end the doubt."""
    return any(
        (move.before, move.after) == ("sending", "uncertain")
        and move.by.startswith("mailworkers scheduler")
        for move in part.moves.get(delivery_id, ())
    )


def _is_listed(part: Part, delivery_id: str) -> bool:
    return any(
        part.listed_at(delivery_id, recipient.address) is not None
        for recipient in part.recipients.get(delivery_id, ())
    )


@check("I-03 what an operator was told holds")
def _answers_to_operators_hold(part: Part) -> Iterator[str]:
    """200 to cancel: it ended as was told, at least once. 200 to requeue: a new cycle began."""
    for delivery_id, row in part.deliveries.items():
        command = part.command_of(delivery_id)
        for line in command.verbs if command else ():
            if line["kind"] != "answered" or line["status"] != 200:
                continue
            moves = [(move.before, move.after) for move in part.moves.get(delivery_id, ())]
            if line["verb"] == "cancel" and not any(a == line["word"] for _, a in moves):
                yield f"{delivery_id} is {row.status}, told was {line['word']}: {moves}"
            if line["verb"] == "requeue" and not any(b in _IN_TROUBLE for b, _ in moves):
                yield f"{delivery_id} was never tried again: {moves}"


_IN_TROUBLE = {"failed", "dead_letter", "uncertain"}
_ENDS = {"suppressed", "cancelled", *_IN_TROUBLE}
_LATE = {"sent", "failed", "suppressed"}  # what an outcome known too late may make of an end
_AGAIN = {"queued", "rendered"}  # what an operator may make of what is in trouble


@check("I-12 no status goes backwards from an end")
def _history_goes_on(part: Part) -> Iterator[str]:
    for delivery_id, row in part.deliveries.items():
        moves = part.moves.get(delivery_id, [])
        history = [(move.before, move.after, move.by) for move in moves]
        if [m.before for m in moves] != [None, *(m.after for m in moves[:-1])]:
            yield f"{delivery_id}: the history has a hole: {history}"
        if not moves or moves[-1].after != row.status:
            yield f"{delivery_id} is {row.status}, its history says {history}"
        for move in moves:
            was_over = move.before in _ENDS or move.before == "sent"
            if was_over and not _may_leave_its_end(part, delivery_id, move):
                yield f"{delivery_id} went from {move.before} to {move.after} by {move.by}"


def _may_leave_its_end(part: Part, delivery_id: str, move: Row) -> bool:
    if move.by.startswith("mailworkers sender"):
        return move.before in _ENDS and move.after in _LATE
    return (
        move.before in _IN_TROUBLE
        and move.after in _AGAIN
        and move.by.startswith("mailworkers api")
        and part.was_asked(delivery_id, "requeue")
    )


@check("I-14 every recipient has one outcome")
def _recipients_partition(part: Part) -> Iterator[str]:
    for command in part.commands.values():
        row = part.by_key.get((command.first["source"], command.first["key"]))
        if row is None:
            continue
        recipients = part.recipients.get(str(row.delivery_id), [])
        if sorted(r.address for r in recipients) != sorted(command.first["recipients"]):
            yield f"{row.delivery_id}: {recipients} for {command.first['recipients']}"
        statuses = {r.status for r in recipients}
        if part.is_final(row) and row.status != _closing(statuses):
            yield f"{row.delivery_id} is {row.status}, its recipients {sorted(statuses)}"


def _closing(statuses: set[str]) -> str:
    """Return the status that the recipients' rule of the contract gives."""
    for recipient, delivery in (
        ("open", "(alive)"),
        ("uncertain", "uncertain"),
        ("exhausted", "dead_letter"),
        ("accepted", "sent"),
        ("refused", "failed"),
        ("expired", "failed"),
        ("cancelled", "cancelled"),
    ):
        if recipient in statuses:
            return delivery
    return "suppressed"


@check("dead letters and deliveries match in both directions")
def _dead_letters_match(part: Part) -> Iterator[str]:
    for delivery_id, row in part.deliveries.items():
        wanted = int(row.status in ("failed", "dead_letter"))
        entered = sum(not e.closed_at for e in part.dead_letters.get(delivery_id, ()))
        if entered != wanted:
            yield f"{delivery_id} is {row.status} with {entered} open dead letters"
    unknown = part.dead_letters.keys() - part.deliveries.keys()
    yield from (f"of no delivery: {delivery_id}" for delivery_id in unknown)
