"""Sums over the parts of a run: what the bound of duplicates, counters and the report need."""

from mailworkers.gameday.judging.checks_of_intake import lost_with_redis
from mailworkers.gameday.judging.checks_of_sink import duplicates
from mailworkers.gameday.judging.part import Part


def add(part: Part) -> None:
    """Add what *part* holds to the tally of its whole."""
    tally = part.whole.tally
    commands = part.commands.values()
    tally["commands"] += len(commands)
    tally["entries and requests"] += sum(len(c.sent) for c in commands)
    tally["never acknowledged"] += sum(not c.told for c in commands)
    tally["lost with Redis before they were accepted"] += len(lost_with_redis(part))
    tally["deliveries"] += len(part.deliveries)
    for row in part.deliveries.values():
        tally[f"status {row.status}"] += 1
    tally["attempts"] += sum(map(len, part.attempts.values()))
    tally["attempts with outcome unknown"] += sum(map(part.unknowns, part.deliveries))
    tally["copies at the sink"] += len(part.messages)
    tally["messages hurt"] += sum(bool(message["is_hurt"]) for message in part.messages)
    tally["duplicates"] += sum(duplicates(part, found) for found in part.copies)
    for command in commands:
        for line in command.verbs:
            if line["kind"] == "answered":
                tally[f"{line['verb']} answered {line['status']} {line['word']}"] += 1
            elif line["kind"] == "listed":
                tally["addresses listed meanwhile"] += 1
