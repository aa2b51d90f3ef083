"""At a million deliveries every hot statement reads what it handles, and little more.

The server's own counters judge, not the clock: they hold what the statement read, and its foreign
keys and functions too.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mailworkers.adapters import db, store
from mailworkers.adapters.store import reads, retention
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Lane,
    RecipientStatus,
    Stage,
    Status,
)
from mailworkers.embedded.servers import Servers
from tests.deliveries import new_delivery
from tests.store import volume

_COUNTERS = """
SELECT c.relname, c.relkind::text, pg_stat_get_xact_blocks_fetched(c.oid),
    pg_stat_get_xact_tuples_returned(c.oid), pg_stat_get_xact_numscans(c.oid)
FROM pg_class c WHERE c.oid >= 16384 AND c.relkind IN ('r', 'i', 't')
"""


class Work(NamedTuple):
    blocks: int
    rows: int
    scanned: list[str]
    detail: dict


def counters(conn):
    out = {}
    for name, kind, blocks, rows, scans in conn.execute(_COUNTERS):
        out[name, kind] = (blocks, rows, scans)
    return out


def measure(conn, act):
    before = counters(conn)
    answer = act()
    after = counters(conn)
    d = {k: tuple(a - b for a, b in zip(after[k], before.get(k, (0, 0, 0)))) for k in after}
    d = {k: v for k, v in d.items() if any(v)}
    return answer, Work(
        sum(v[0] for v in d.values()), sum(v[1] for v in d.values()),
        [n for (n, k), v in d.items() if k == "r" and v[2]], d)
