"""What alarms look at: one row of counts and ages."""

from datetime import timedelta

import msgspec

from mailworkers.adapters.db import Connection, run


class Signs(msgspec.Struct, frozen=True):
    """Counts, and ages in milliseconds, at one moment."""

    breakers_open: int
    pauses: int
    oldest_pause_ms: float
    leases_overdue: int
    connections: int
    connections_max: int
    oldest_transaction_ms: float
    dead_rows: float
    without_room: int


def read_signs(conn: Connection, *, silence: timedelta) -> Signs:
    """Return the signs; a process that was silent for *silence* is dead."""
    return Signs(*run(conn, "read_signs", silence=silence)[0])
