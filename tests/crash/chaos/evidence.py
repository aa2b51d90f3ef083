"""What a run left behind, read for the verdict: ledgers, tables, Redis, logs.

Shares no code with the service: its own SQL, its own reading.
"""

import re
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import redis
from psycopg.rows import namedtuple_row

from tests.crash.chaos.ledger import Line, read

Row = Any  # a named tuple of whatever the query names

_FINAL = {"sent", "suppressed", "failed", "dead_letter", "uncertain", "cancelled"}
_SERIES = re.compile(r"(?P<name>\w+_total)(?:\{.*\})? (?P<value>\S+)$")
_EXIT = re.compile(r"exited: (?P<program>\S+) \((?P<how>exit status \d+|terminated by \w+)")


class Places(NamedTuple):
    """Where a run left its traces."""

    directory: Path
    state_dir: Path
    dsn: str
    redis_socket: str
    stream: str
    secret: str
    metrics_port: int


class Command(NamedTuple):
    """One command of the ledger: what was sent, and every answer to it."""

    first: Line
    sent: list[Line]
    told: list[Line]


class Evidence:
    """Everything there is to know about a run, in memory."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.commands = _commands(places.directory / "load.jsonl")
        self._read_sink(list(read(places.directory / "sink.jsonl")))
        self._read_faults(list(read(places.directory / "faults.jsonl")))
        with psycopg.connect(places.dsn, row_factory=namedtuple_row) as conn:
            self._read_tables(conn)
        self._read_redis()
        self.counters = _counters(places.metrics_port)
        self.exits = list(_exits(places.state_dir / "log" / "supervisord.log"))

    def _read_sink(self, lines: list[Line]) -> None:
        self.messages = [line for line in lines if line["kind"] == "message"]
        self.relay_faults = [line for line in lines if line["kind"] == "fault"]
        self.copies: dict[str, list[Line]] = defaultdict(list)
        for message in self.messages:
            self.copies[message["message_id"].partition("@")[0]].append(message)

    def _read_faults(self, lines: list[Line]) -> None:
        self.faults = [line for line in lines if line["kind"] == "fault"]
        self.effects = {line["number"]: line for line in lines if line["kind"] == "effect"}

    def _read_tables(self, conn: psycopg.Connection[Any]) -> None:
        def rows(query: str) -> list[Row]:
            return conn.execute(query).fetchall()

        self.now: datetime = rows("SELECT clock_timestamp() AS now")[0].now
        self.deliveries = {
            str(row.delivery_id): row
            for row in rows(
                "SELECT delivery_id, source, status, idempotency_key, attempt_no, cycle_attempt,"
                " expires_at, created_at, finished_at, failure, next_attempt_at"
                " FROM mail.deliveries"
            )
        }
        self.by_key = {(row.source, row.idempotency_key): row for row in self.deliveries.values()}
        self.recipients = _grouped(
            rows(
                "SELECT delivery_id, ordinal, address, status FROM mail.delivery_recipients"
                " ORDER BY delivery_id, ordinal"
            )
        )
        self.attempts = _grouped(
            rows(
                "SELECT delivery_id, attempt_no, cycle_attempt, status, outcome, stage, reply_code,"
                " started_at, finished_at FROM mail.attempts ORDER BY delivery_id, attempt_no"
            )
        )
        self.moves = _grouped(rows("SELECT * FROM chaos.moves ORDER BY move_id"))
        self.dead_letters = rows("SELECT delivery_id, cause, closed_at FROM mail.dead_letters")
        self.malformed = rows(
            "SELECT stream_entry_id, failure_code, delivery_id, detail FROM mail.malformed_commands"
        )
        self.idle_transactions = rows(
            "SELECT application_name, state FROM pg_stat_activity"
            " WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
        )
        self.texts = rows(
            "SELECT summary AS text FROM mail.attempts UNION SELECT reason FROM mail.dead_letters"
            " UNION SELECT detail FROM mail.malformed_commands"
            " UNION SELECT detail::text FROM mail.processes"
        )

    def _read_redis(self) -> None:
        with redis.Redis(unix_socket_path=self.places.redis_socket) as client:
            stream: Any = client
            self.pending = [
                (group["name"].decode(), group["pending"], group.get("lag"))
                for group in stream.xinfo_groups(self.places.stream)
            ]

    # What follows from it.

    def is_final(self, row: Row) -> bool:
        """Whether nothing happens to a delivery by itself any more."""
        return row.status in _FINAL

    def unknowns(self, delivery_id: str) -> int:
        """Return how many attempts of a delivery may have brought a copy without our knowing."""
        return sum(a.outcome == "unknown" for a in self.attempts.get(delivery_id, ()))

    def is_done(self, fault: Line) -> bool:
        """Whether a fault took effect."""
        return bool(self.effects.get(fault["number"], {}).get("is_done"))

    def effective(self, target: str, *actions: str) -> list[Line]:
        """Return the faults on *target* (a prefix) that took effect."""
        return [
            fault
            for fault in self.faults
            if fault["target"].startswith(target)
            and fault["action"] in actions
            and self.is_done(fault)
        ]

    def is_wiped(self, entry_id: str, sent: float) -> bool:
        """Whether an entry put after *sent* was lost with Redis before anybody was done with it."""
        for fault in self.effective("redis", "restart_empty"):
            effect = self.effects[fault["number"]]
            is_left = _order(entry_id) > _order(effect["delivered"])
            if sent < effect["t"] and (is_left or entry_id in effect["pending"]):
                return True
        return False


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _commands(path: Path) -> dict[int, Command]:
    commands: dict[int, Command] = {}
    for line in read(path):
        if line["kind"] == "sent":
            commands.setdefault(line["number"], Command(line, [], [])).sent.append(line)
        else:
            commands[line["number"]].told.append(line)
    return commands


def _grouped(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(row.delivery_id)].append(row)
    return dict(groups)


def _counters(port: int) -> Counter[str]:
    """Return the sum of every series of each metric, as the monitor shows them."""
    counters: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            if found := _SERIES.match(line):
                counters[found["name"]] += int(float(found["value"]))
    return counters


def _exits(log: Path) -> Iterator[tuple[str, str]]:
    """Yield program and manner of every exit that supervisord saw."""
    for part in sorted(log.parent.glob(f"{log.name}*")):
        for found in _EXIT.finditer(part.read_text(errors="replace")):
            yield found["program"], found["how"]


class Watch:
    """What only shows while it happens: leases and expiries that stay, after the faults ended."""

    def __init__(self, dsn: str) -> None:
        self._conn = psycopg.connect(dsn, autocommit=True, application_name="chaos watch")
        self.stuck: list[str] = []
        self.overdue: list[str] = []

    def close(self) -> None:
        """Close the connection."""
        self._conn.close()

    def look(self) -> int:
        """Return how many deliveries live still; note those that should have moved by now."""
        self.stuck += self._ids("status = 'sending' AND next_attempt_at < now() - interval '5 s'")
        self.overdue += self._ids(
            "status IN ('scheduled', 'queued', 'rendered', 'deferred')"
            " AND expires_at < now() - interval '3 s'"
        )
        row = self._conn.execute(
            "SELECT count(*) FROM mail.deliveries WHERE finished_at IS NULL"
        ).fetchone()
        return int(row[0]) if row else 0

    def _ids(self, condition: str) -> list[str]:
        query = f"SELECT delivery_id FROM mail.deliveries WHERE {condition} LIMIT 20"  # noqa: S608
        return [str(row[0]) for row in self._conn.execute(query.encode())]

    def wait_until_quiet(self, within: float) -> bool:
        """Return whether every delivery came to its end in *within* seconds."""
        deadline = time.monotonic() + within
        while self.look():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True
