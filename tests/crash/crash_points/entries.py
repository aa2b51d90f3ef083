"""What must be on the stream for a consumer to come to each of its points."""

import contextlib
from typing import Any
from uuid import UUID

import redis

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Point
from mailworkers.adapters.stream import GROUP
from mailworkers.embedded.servers import Servers
from tests.crash.commands import STREAM, put_commands
from tests.crash.crash_points.cells import ONCE
from tests.crash.crash_points.rehearsal import PATIENCE, end_of, pending_entries
from tests.deliveries import status
from tests.eventually import eventually
from tests.relay import Relay

# More than one part of an XAUTOCLAIM walk takes over.
_MANY = 150
_GHOST = "a consumer that died long ago"


def put_entries(servers: Servers, client: redis.Redis, point: Point, count: int = 3) -> list[str]:
    """Put *count* commands on the stream, or what *point* needs; return the good ones' ids."""
    if point is Point.REFUSAL_STORED:
        client.xadd(STREAM, {"payload_json": "{}"})
        return []
    if point is not Point.WALKING_STALE:
        return put_commands(servers, count)
    ids = put_commands(servers, _MANY)
    _ensure_group(client)
    client.xreadgroup(GROUP, _GHOST, {STREAM: ">"}, count=_MANY)
    held = client.xpending_range(STREAM, GROUP, "-", "+", _MANY, consumername=_GHOST)
    entry_ids: list[Any] = [entry["message_id"] for entry in held]
    client.xclaim(STREAM, GROUP, _GHOST, 0, entry_ids, idle=3_600_000, justid=True)
    return ids


def _ensure_group(client: redis.Redis) -> None:
    with contextlib.suppress(redis.ResponseError):  # it is there
        client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)


def assert_processed_once(
    conn: db.Connection,
    client: redis.Redis,
    relay: Relay,
    ids: list[str],
    *,
    refusals: int,
    within: float = PATIENCE,
) -> None:
    """Every command arrived once, every refusal stands once, nothing is pending."""
    wanted = [UUID(text) for text in ids]
    eventually(lambda: all(status(conn, one) == "sent" for one in wanted), within=within)
    eventually(lambda: _refusals(conn) == refusals, within=within)
    eventually(lambda: pending_entries(client) == 0, within=within)

    assert [end_of(conn, one, relay) for one in wanted] == [ONCE] * len(wanted)
    assert _refusals(conn) == refusals


def _refusals(conn: db.Connection) -> int:
    rows = conn.execute("SELECT count(*) FROM malformed_commands").fetchone()
    return int(rows[0]) if rows else 0
