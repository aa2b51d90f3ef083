"""Entries that were refused: kept raw, so that an operator can look and replay."""

from collections.abc import Sequence

import msgspec

from mailworkers.adapters.db import Connection, run


class Malformed(msgspec.Struct, frozen=True):
    """A refused entry; `raw` is a msgpack map of its fields, cut when `is_complete` is False."""

    entry_id: str
    failure_code: str
    detail: str
    source: str
    delivery_id: str
    raw: bytes
    raw_size: int
    is_complete: bool


def store_malformed(conn: Connection, stream: str, records: Sequence[Malformed]) -> frozenset[str]:
    """Store *records* of *stream*; return the entry ids that had no record yet."""
    rows = run(
        conn,
        "store_malformed",
        stream=stream,
        entry_ids=[r.entry_id for r in records],
        failure_codes=[r.failure_code for r in records],
        details=[r.detail for r in records],
        sources=[r.source for r in records],
        delivery_ids=[r.delivery_id for r in records],
        raws=[r.raw for r in records],
        raw_sizes=[r.raw_size for r in records],
        is_complete=[r.is_complete for r in records],
    )
    return frozenset(row[0] for row in rows)
