"""How the whole service does: what the console, `status` and `GET /stats` show."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from mailworkers.adapters.db import Connection, run
from mailworkers.adapters.store import reads
from mailworkers.core.states import Lane

_ALIVE = timedelta(minutes=1)
_LATELY = timedelta(minutes=5)


class LiveCount(msgspec.Struct, frozen=True):
    """How many deliveries of one status and lane live."""

    status: str
    lane: str
    count: int


class EndCount(msgspec.Struct, frozen=True):
    """How many deliveries ended so in the last five minutes."""

    status: str
    count: int


class Stats(msgspec.Struct, frozen=True):
    """`oldest_due_ms`: by lane, how long the oldest due delivery has waited. `open_dead_letters`
    and `malformed` count what nobody has looked after yet."""

    live: list[LiveCount]
    oldest_due_ms: dict[str, float]
    ended_lately: list[EndCount]
    sent_per_second: float
    open_dead_letters: int
    malformed: int


class Process(msgspec.Struct, frozen=True):
    """One process of a role; `detail` is what it says of itself."""

    role: str
    host: str
    pid: int
    version: str
    started_at: datetime
    beat_at: datetime
    detail: dict[str, Any]


def read_stats(conn: Connection) -> Stats:
    """Return the counts of now and of the last five minutes."""
    ended = [EndCount(status, count) for status, count in run(conn, "count_ended", span=_LATELY)]
    sent = sum(found.count for found in ended if found.status == "sent")
    dead, malformed = run(conn, "count_unreviewed")[0]
    return Stats(
        live=[
            LiveCount(status, lane, count)
            for (status, lane), count in sorted(reads.count_live(conn).items())
        ],
        oldest_due_ms={lane.label: 0.0 for lane in Lane} | reads.oldest_due(conn),
        ended_lately=ended,
        sent_per_second=round(sent / _LATELY.total_seconds(), 2),
        open_dead_letters=dead,
        malformed=malformed,
    )


def list_processes(conn: Connection) -> list[Process]:
    """Return the processes that gave a sign of life in the last minute, by role and name."""
    return [Process(*row) for row in run(conn, "list_processes", silence=_ALIVE)]
