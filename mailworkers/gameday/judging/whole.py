"""What there is once in a run: faults, the stream, counters, logs, refused commands."""

import re
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Set
from datetime import datetime, timedelta
from typing import Any

import psycopg
import redis
from psycopg.rows import namedtuple_row

from mailworkers.gameday.judging.ledgers import Line, read
from mailworkers.gameday.judging.lives import Life, read_lives
from mailworkers.gameday.judging.places import Places

Row = Any  # a named tuple of whatever the query names

EXPOSITION = "exposition-"  # begins the name of what another host's monitor showed
_SERIES = re.compile(r"(?P<name>\w+_total)(?:\{.*\})? (?P<value>\S+)$")


class Whole:
    """Everything that does not belong to single commands; holds a connection until `close`."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.tally: Counter[str] = Counter()  # sums over the parts
        self._read_faults(list(read(places.directory / "faults.jsonl")))
        self.relay_faults = Counter(
            line["mode"]
            for line in read(places.directory / "sink.jsonl")
            if line["kind"] == "fault"
        )
        self.conn: psycopg.Connection[Any] = psycopg.connect(
            places.dsn, autocommit=True, row_factory=namedtuple_row, application_name="chaos judge"
        )
        self.conn.execute(
            "CREATE INDEX IF NOT EXISTS moves_of ON chaos.moves (delivery_id, move_id)"
        )
        self._read_tables()
        self._read_redis()
        self.counters = _counters(places.metrics_port)
        for other in places.directory.glob(f"{EXPOSITION}*"):  # of other hosts, saved before
            _add_counters(self.counters, other.read_text())
        self.lives: list[Life] = read_lives(places.state_dir / "log" / "supervisord.log")
        self.samples = list(read(places.directory / "samples.jsonl"))

    def close(self) -> None:
        """Close the connection."""
        self.conn.close()

    def _read_faults(self, lines: list[Line]) -> None:
        self.faults = [line for line in lines if line["kind"] == "fault"]
        self.effects = {line["number"]: line for line in lines if line["kind"] == "effect"}
        self._wipes = [
            (effect["t"], _order(effect["delivered"]), frozenset(effect["pending"]))
            for effect in map(self._effect_of, self.effective("redis", "restart_empty"))
        ]

    def _effect_of(self, fault: Line) -> Line:
        return self.effects[fault["number"]]

    def rows(self, query: str) -> list[Row]:
        """Return what *query* gives."""
        return self.conn.execute(query.encode()).fetchall()

    def _read_tables(self) -> None:
        self.now: datetime = self.rows("SELECT clock_timestamp() AS now")[0].now
        self._began = self.now - timedelta(seconds=time.monotonic())  # as the ledgers count
        self.malformed = self.rows(
            "SELECT malformed_id, stream_entry_id, failure_code, delivery_id, detail, received_at"
            " FROM mail.malformed_commands UNION ALL"
            " SELECT malformed_id, stream_entry_id, failure_code, delivery_id, detail, received_at"
            " FROM chaos.malformed_commands"
        )
        self.records = Counter(row.stream_entry_id for row in self.malformed)
        self._refusals_by_entry: dict[str, list[Row]] = defaultdict(list)
        self._refusals_by_delivery: dict[str, list[Row]] = defaultdict(list)
        for row in self.malformed:
            self._refusals_by_entry[row.stream_entry_id].append(row)
            self._refusals_by_delivery[row.delivery_id].append(row)
        self._explained: set[int] = set()
        self.idle_transactions = self.rows(
            "SELECT application_name, state FROM pg_stat_activity"
            " WHERE state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
        )

    def _read_redis(self) -> None:
        with redis.Redis(unix_socket_path=self.places.redis_socket) as client:
            stream: Any = client
            self.pending = [
                (group["name"].decode(), group["pending"], self._unread(stream, group))
                for group in stream.xinfo_groups(self.places.stream)
            ]

    def _unread(self, stream: Any, group: dict[str, Any]) -> int:
        """Return how many entries a group has not read; Redis' own `lag` errs after a failover."""
        after = f"({group['last-delivered-id'].decode()}"
        return len(stream.xrange(self.places.stream, after, count=1000))

    # Refused commands.

    def take_refusals(self, entries: Set[str], delivery_ids: Set[str]) -> list[Row]:
        """Return the records of these entries or deliveries; they belong to some command now."""
        found = {
            row.malformed_id: row
            for index, names in (
                (self._refusals_by_entry, entries),
                (self._refusals_by_delivery, delivery_ids),
            )
            for name in names & index.keys()
            for row in index[name]
        }
        self._explained |= found.keys()
        return list(found.values())

    def unexplained_refusals(self) -> list[Row]:
        """Return the records that no part has taken."""
        return [row for row in self.malformed if row.malformed_id not in self._explained]

    # Faults.

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

    def deaths_of_consumers(self, since: float, until: datetime) -> int:
        """Return how often a consumer was killed or frozen from *since*, on the ledgers' clock."""
        end = (until - self._began).total_seconds()
        faults = [
            *self.effective("consumer", "kill", "freeze"),
            *self.effective("supervisord", "kill"),
        ]
        return sum(since <= self._effect_of(fault)["t"] <= end for fault in faults)

    def is_wiped(self, entry_id: str, sent: float) -> bool:
        """Whether an entry put after *sent* was lost with Redis before anybody was done with it."""
        order = _order(entry_id)
        return any(
            sent < at and (order > delivered or entry_id in pending)
            for at, delivered, pending in self._wipes
        )


def _order(entry_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def _counters(port: int) -> Counter[str]:
    """Return the sum of every series of each metric, as the monitor shows them."""
    counters: Counter[str] = Counter()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        _add_counters(counters, answer.read().decode())
    return counters


def _add_counters(counters: Counter[str], exposition: str) -> None:
    for line in exposition.splitlines():
        if found := _SERIES.match(line):
            counters[found["name"]] += int(float(found["value"]))
