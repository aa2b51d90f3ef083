"""Checks of the way in: nothing acknowledged is lost, nothing good is refused, repeats agree."""

from collections import Counter
from collections.abc import Iterator

from tests.crash.chaos.checks import check
from tests.crash.chaos.evidence import Command, Evidence
from tests.crash.chaos.ledger import Line


@check("I-01 every acknowledged command has exactly one delivery or one record")
def _nothing_is_lost(evidence: Evidence) -> Iterator[str]:
    lost = {evidence.commands[n].first["delivery_id"] for n in lost_with_redis(evidence)}
    records = Counter(row.stream_entry_id for row in evidence.malformed)
    refused = {row.delivery_id for row in evidence.malformed}
    keys = Counter((row.source, row.idempotency_key) for row in evidence.deliveries.values())
    for number, command in evidence.commands.items():
        first = command.first
        found = keys[first["source"], first["key"]]
        if first["is_broken"]:
            yield from _broken_without_record(evidence, command, records)
        elif found > 1:
            yield f"command {number} has {found} deliveries"
        # Whether it was refused rightly is for the next check.
        elif _is_taken(command) and not (found or first["delivery_id"] in refused | lost):
            yield f"command {number} was acknowledged and is gone: {command.told}"
    known = {(c.first["source"], c.first["key"]) for c in evidence.commands.values()}
    yield from (f"delivery of no command: {key}" for key in keys if key not in known)


def _broken_without_record(
    evidence: Evidence, command: Command, records: Counter[str]
) -> Iterator[str]:
    for answer in command.told:
        count = records[answer["entry_id"]]
        if count != 1 and not _may_be_wiped(evidence, command, answer):
            yield f"a broken command has {count} records: {answer}"


@check("I-01 no good command is refused")
def _nothing_good_is_refused(evidence: Evidence) -> Iterator[str]:
    commands = {c.first["delivery_id"]: c for c in evidence.commands.values()}
    entries = {
        answer.get("entry_id"): c.first["delivery_id"]
        for c in evidence.commands.values()
        for answer in c.told
    }
    for row in evidence.malformed:
        found = commands.get(entries.get(row.stream_entry_id) or row.delivery_id)
        if found is None or not (
            found.first["is_broken"] or _came_too_late(found, row.failure_code)
        ):
            yield f"{row}"
    for number, command in evidence.commands.items():
        for answer in command.told:
            if "refused" in answer and not _came_too_late(
                command, answer["answer"]["error"]["code"]
            ):
                yield f"command {number}: {answer}"


def _is_taken(command: Command) -> bool:
    """Whether somebody acknowledged a command; a refusal is an answer, too."""
    return any("refused" not in answer for answer in command.told)


def _came_too_late(command: Command, code: str) -> bool:
    """Whether a command that expires was refused for that, as it should: it waited so long."""
    return "expires_at_ms" in command.first and code == "invalid_value"


def lost_with_redis(evidence: Evidence) -> set[int]:
    """Return the commands that only stood in a Redis that was emptied."""
    return {
        number
        for number, command in evidence.commands.items()
        if _is_taken(command)
        and (command.first["source"], command.first["key"]) not in evidence.by_key
        and all(
            _may_be_wiped(evidence, command, answer)
            for answer in command.told
            if "refused" not in answer
        )
    }


def _may_be_wiped(evidence: Evidence, command: Command, answer: Line) -> bool:
    """Whether the entry of one answer was put before Redis lost everything."""
    sent = max(line["t"] for line in command.sent if line["t"] <= answer["t"])
    return "entry_id" in answer and evidence.is_wiped(answer["entry_id"], sent)


@check("I-11 every repeat gets the same answer")
def _repeats_agree(evidence: Evidence) -> Iterator[str]:
    for number, command in evidence.commands.items():
        row = evidence.by_key.get((command.first["source"], command.first["key"]))
        answers = {answer["delivery_id"] for answer in command.told if "delivery_id" in answer}
        if answers and (row is None or answers != {str(row.delivery_id)}):
            yield f"command {number}: answers {answers}, row {row}"
