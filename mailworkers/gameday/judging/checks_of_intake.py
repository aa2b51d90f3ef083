"""Checks of the way in: nothing acknowledged is lost, nothing good is refused, repeats agree."""

from collections import Counter
from collections.abc import Iterator

from mailworkers.gameday.judging.checks import check, check_whole
from mailworkers.gameday.judging.ledgers import Line
from mailworkers.gameday.judging.part import Command, Part
from mailworkers.gameday.judging.whole import Row, Whole

_HANDOUTS = 3  # an entry handed out more often is set aside (contract section 2)


@check("I-01 every acknowledged command has exactly one delivery or one record")
def _nothing_is_lost(part: Part) -> Iterator[str]:
    lost = {part.commands[n].first["delivery_id"] for n in lost_with_redis(part)}
    refused = {row.delivery_id for row in part.refusals}
    unread = {row.stream_entry_id for row in part.refusals if not row.delivery_id}
    keys = Counter((row.source, row.idempotency_key) for row in part.deliveries.values())
    for number, command in part.commands.items():
        first = command.first
        found = keys[first["source"], first["key"]]
        if first["is_broken"]:
            yield from _broken_without_record(part, command)
        elif found > 1:
            yield f"command {number} has {found} deliveries"
        # Whether it was refused rightly is for the next check.
        elif (
            _is_taken(command)
            and not (found or first["delivery_id"] in refused | lost)
            and not any(answer.get("entry_id") in unread for answer in command.told)
        ):
            yield f"command {number} was acknowledged and is gone: {command.told}"
    known = {(c.first["source"], c.first["key"]) for c in part.commands.values()}
    yield from (f"delivery of no command: {key}" for key in keys if key not in known)


def _broken_without_record(part: Part, command: Command) -> Iterator[str]:
    for answer in command.told:
        count = part.whole.records[answer["entry_id"]]
        if count != 1 and not _may_be_wiped(part, command, answer):
            yield f"a broken command has {count} records: {answer}"


@check("I-01 no good command is refused")
def _nothing_good_is_refused(part: Part) -> Iterator[str]:
    commands = {c.first["delivery_id"]: c for c in part.commands.values()}
    entries = {
        answer.get("entry_id"): c.first["delivery_id"]
        for c in part.commands.values()
        for answer in c.told
    }
    for row in part.refusals:
        found = commands.get(entries.get(row.stream_entry_id) or row.delivery_id)
        if found is None or not (
            found.first["is_broken"]
            or _came_too_late(found, row.failure_code)
            or _was_unlucky(part, found, row)
        ):
            yield f"{row}"
    for number, command in part.commands.items():
        for answer in command.told:
            if "refused" in answer and not _came_too_late(
                command, answer["answer"]["error"]["code"]
            ):
                yield f"command {number}: {answer}"


@check_whole("I-01 no good command is refused")
def _every_refusal_is_of_a_command(whole: Whole) -> Iterator[str]:
    yield from (f"of no command: {row}" for row in whole.unexplained_refusals())


def _is_taken(command: Command) -> bool:
    """Whether somebody acknowledged a command; a refusal is an answer, too."""
    return any("refused" not in answer for answer in command.told)


def _was_unlucky(part: Part, command: Command, row: Row) -> bool:
    """Whether three consumers were killed with this entry in hand, which looks like its own doing.

    Nobody can tell from within: it is set aside, its bytes are kept, and an operator replays it.
    """
    if row.failure_code != "poison":
        return False
    sent = min(line["t"] for line in command.sent)
    is_explained = part.whole.deaths_of_consumers(sent, row.received_at) >= _HANDOUTS
    part.whole.tally["good commands set aside with their third consumer"] += is_explained
    return is_explained


def _came_too_late(command: Command, code: str) -> bool:
    """Whether a command that expires was refused for that, as it should: it waited so long."""
    return "expires_at_ms" in command.first and code == "invalid_value"


def lost_with_redis(part: Part) -> set[int]:
    """Return the commands that only stood in a Redis that was emptied."""
    return {
        number
        for number, command in part.commands.items()
        if _is_taken(command)
        and (command.first["source"], command.first["key"]) not in part.by_key
        and all(
            _may_be_wiped(part, command, answer)
            for answer in command.told
            if "refused" not in answer
        )
    }


def _may_be_wiped(part: Part, command: Command, answer: Line) -> bool:
    """Whether the entry of one answer was put before Redis lost everything."""
    sent = max(line["t"] for line in command.sent if line["t"] <= answer["t"])
    return "entry_id" in answer and part.whole.is_wiped(answer["entry_id"], sent)


@check("I-11 every repeat gets the same answer")
def _repeats_agree(part: Part) -> Iterator[str]:
    for number, command in part.commands.items():
        row = part.by_key.get((command.first["source"], command.first["key"]))
        answers = {answer["delivery_id"] for answer in command.told if "delivery_id" in answer}
        if answers and (row is None or answers != {str(row.delivery_id)}):
            yield f"command {number}: answers {answers}, row {row}"
