"""Entries that were refused: kept raw, so that an operator can look and replay."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from mailworkers.adapters.db import SQL, Connection, run
from mailworkers.adapters.sqlstates import translated
from mailworkers.adapters.store.reads import NumberedPosition, Time
from mailworkers.core.refusals import FailureCode

# How many a page looks at for those that are wanted.
_MOST_LOOKED_AT = 5000


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


class MalformedFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which refused entries are meant; what is empty or None is not asked for.

    `received_from` is included, `received_to` is not.
    """

    failure_codes: tuple[FailureCode, ...] = ()
    sources: tuple[str, ...] = ()
    is_replayed: bool | None = None
    received_from: datetime | None = None
    received_to: datetime | None = None


class MalformedCommand(msgspec.Struct, frozen=True):
    """An entry of the stream that was refused, without what stood in it.

    `source` and `delivery_id` are "" where they could not be read. Of `raw_size` bytes all are kept
    where `is_complete`; others cannot be replayed. `replayed_as`: the delivery it became after all.
    `failure_code` is one of `FailureCode`, or one that a newer release knew and wrote.
    """

    malformed_id: int
    stream: str
    stream_entry_id: str
    failure_code: str
    detail: str
    source: str
    delivery_id: str
    raw_size: int
    is_complete: bool
    received_at: Time
    replayed_at: Time | None
    replayed_as: UUID | None


class FoundMalformed(msgspec.Struct, frozen=True):
    """A page of refused entries; *next* is where to go on, None when all were looked at.

    A page may be short, even empty, with more to follow: it ends after so many that were looked at.
    """

    items: list[MalformedCommand]
    next: NumberedPosition | None


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


def list_malformed(
    conn: Connection, wanted: MalformedFilter, *, before: NumberedPosition | None, limit: int
) -> FoundMalformed:
    """Return up to *limit* refused entries before *before*, newest first."""
    parameters: dict[str, object] = {
        "failure_codes": [str(code) for code in wanted.failure_codes] or None,
        "sources": list(wanted.sources) or None,
        "is_replayed": wanted.is_replayed,
        "received_from": wanted.received_from,
        "received_to": wanted.received_to,
        "before_at": before and before.at,
        "before_id": before and before.number,
        "most": _MOST_LOOKED_AT,
        "limit": limit + 1,
    }
    with translated():
        rows = conn.execute(SQL["list_malformed"], parameters, prepare=False, binary=True)
        found = [_command(row) for row in rows.fetchall()]
        if len(found) > limit:
            last = found[limit - 1]
            return FoundMalformed(
                found[:limit], NumberedPosition(last.received_at, last.malformed_id)
            )
        ends = conn.execute(SQL["malformed_looked_at"], parameters, prepare=False).fetchone()
    return FoundMalformed(found, NumberedPosition(*ends) if ends else None)


def find_malformed(conn: Connection, malformed_id: int) -> MalformedCommand | None:
    """Return one refused entry, None when there is none."""
    rows = run(conn, "find_malformed", malformed_id=malformed_id)
    return _command(rows[0]) if rows else None


def read_entry(conn: Connection, malformed_id: int) -> Mapping[bytes, bytes] | None:
    """Return the fields of a refused entry, None when they were not kept as a whole."""
    rows = run(conn, "find_raw", malformed_id=malformed_id)
    try:
        return msgspec.msgpack.decode(rows[0][0], type=dict[bytes, bytes]) if rows else None
    except msgspec.DecodeError:  # cut off
        return None


def hold_malformed(conn: Connection, malformed_id: int) -> tuple[UUID | None] | None:
    """Lock a refused entry and return what it was replayed as; None when there is no entry."""
    rows = run(conn, "hold_malformed", malformed_id=malformed_id)
    return (rows[0][0],) if rows else None


def mark_malformed_replayed(conn: Connection, malformed_id: int, delivery_id: UUID) -> None:
    """Note that a refused entry, which is held, became a delivery after all."""
    run(conn, "mark_malformed_replayed", malformed_id=malformed_id, delivery_id=delivery_id)


def _command(row: Sequence[object]) -> MalformedCommand:
    facts = dict(zip(MalformedCommand.__struct_fields__, row, strict=True))
    return msgspec.convert(facts, MalformedCommand)
