"""A part of a run: everything there is to know about some thousand commands, in memory."""

from collections import defaultdict
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from mailworkers.gameday.judging.ledgers import Line, Parts
from mailworkers.gameday.judging.whole import Row, Whole

_FINAL = {"sent", "suppressed", "failed", "dead_letter", "uncertain", "cancelled"}
_DELIVERIES = """
SELECT delivery_id, source, status, idempotency_key, attempt_no, cycle_attempt, expires_at,
    created_at, finished_at, failure, next_attempt_at
FROM {schema}.deliveries WHERE delivery_id BETWEEN %s AND %s"""
_RECIPIENTS = """
SELECT delivery_id, ordinal, address, status, reply_code
FROM {schema}.delivery_recipients WHERE delivery_id BETWEEN %s AND %s
ORDER BY delivery_id, ordinal"""
_ATTEMPTS = """
SELECT delivery_id, attempt_no, cycle_attempt, status, outcome, stage, reply_code, started_at,
    finished_at
FROM {schema}.attempts WHERE delivery_id BETWEEN %s AND %s ORDER BY delivery_id, attempt_no"""
_DEAD_LETTERS = """
SELECT delivery_id, cause, closed_at
FROM {schema}.dead_letters WHERE delivery_id BETWEEN %s AND %s"""
_MOVES = """
SELECT delivery_id, before, after, by FROM chaos.moves WHERE delivery_id BETWEEN %s AND %s
ORDER BY delivery_id, move_id"""


class Command(NamedTuple):
    """One command of the ledger: what it was, each sending, every answer, what operators did.

    `verbs` are the lines `asked`, `answered` and `listed`.
    """

    first: Line
    sent: list[Line]
    told: list[Line]
    verbs: list[Line]


class Part:
    """The commands numbered from *first* to before *end*, and all that became of them."""

    def __init__(self, whole: Whole, parts: Parts, first: int, end: int) -> None:
        self.whole = whole
        self.commands = _commands(parts, first)
        lines = list(parts.read("sink.jsonl", first))
        self.messages = [line for line in lines if line["kind"] == "message"]
        self.copies: dict[str, list[Line]] = defaultdict(list)
        for message in self.messages:
            self.copies[message["message_id"].partition("@")[0]].append(message)
        self._read_tables(whole.conn, UUID(int=first << 96), UUID(int=(end << 96) - 1))
        self.refusals = whole.take_refusals(
            {answer["entry_id"] for c in self.commands.values() for answer in c.told
             if "entry_id" in answer},
            {c.first["delivery_id"] for c in self.commands.values()},
        )  # fmt: skip

    def _read_tables(self, conn: psycopg.Connection[Any], low: UUID, high: UUID) -> None:
        def rows(query: str, *schemas: str) -> list[Row]:
            """Return what is there and what retention has deleted."""
            return [
                row
                for schema in schemas
                for row in conn.execute(
                    query.format(schema=schema).encode(), (low, high), binary=True
                )
            ]

        everywhere = ("mail", "chaos")
        self.deliveries = {str(row.delivery_id): row for row in rows(_DELIVERIES, *everywhere)}
        self.by_key = {(row.source, row.idempotency_key): row for row in self.deliveries.values()}
        self.recipients = _grouped(rows(_RECIPIENTS, *everywhere))
        self.attempts = _grouped(rows(_ATTEMPTS, *everywhere))
        self.moves = _grouped(rows(_MOVES, "chaos"))
        self.dead_letters = _grouped(rows(_DEAD_LETTERS, *everywhere))

    # What follows from it.

    def is_final(self, row: Row) -> bool:
        """Whether nothing happens to a delivery by itself any more."""
        return row.status in _FINAL

    def command_of(self, delivery_id: str) -> Command | None:
        """Return the command a delivery was made of."""
        number = int(delivery_id[:8], 16)
        command = self.commands.get(number)
        row = self.deliveries.get(delivery_id)
        if command is None or row is None:
            return None
        is_its = (row.source, row.idempotency_key) == (
            command.first["source"],
            command.first["key"],
        )
        return command if is_its else None

    def unknowns(self, delivery_id: str) -> int:
        """Return how many attempts of a delivery may have brought a copy without our knowing."""
        return sum(a.outcome == "unknown" for a in self.attempts.get(delivery_id, ()))

    def was_asked(self, delivery_id: str, verb: str) -> bool:
        """Whether an operator asked for *verb* on a delivery."""
        command = self.command_of(delivery_id)
        return command is not None and any(
            line["kind"] == "asked" and line["verb"] == verb for line in command.verbs
        )

    def listed_at(self, delivery_id: str, address: str) -> float | None:
        """Return since when (wall clock) an address is on our own list, None when it is not."""
        if address in self.whole.places.listed:
            return 0.0
        command = self.command_of(delivery_id)
        for line in command.verbs if command else ():
            if line["kind"] == "listed" and line["address"] == address:
                return float(line["wall"])
        return None


def _commands(parts: Parts, first: int) -> dict[int, Command]:
    """Return the commands of a part; an operator may have been faster than their sending."""
    lines = list(parts.read("load.jsonl", first))
    commands = {
        line["number"]: Command(line, [], [], []) for line in lines if line["kind"] == "command"
    }
    for line in lines:
        command = commands.get(line["number"])
        if command is None:
            continue  # an operator's, of a command that was never sent
        match line["kind"]:
            case "sent":
                command.sent.append(line)
            case "told":
                command.told.append(line)
            case "asked" | "answered" | "listed":
                command.verbs.append(line)
    return commands


def _grouped(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.delivery_id)].append(row)
    return dict(groups)
