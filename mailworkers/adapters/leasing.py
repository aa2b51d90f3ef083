"""What a sender takes next: from whose lane and source, how much, and from where on it is read."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID, uuid4

from mailworkers.adapters import store
from mailworkers.adapters.db import Connection
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import Leased
from mailworkers.core.lanes import LaneOrder, Pace
from mailworkers.core.states import Lane
from mailworkers.core.watermarks import Pair, Reading, ReadySince


class Batch:
    """The rows of one lease that were not started, and when the database's lease of them ends.

    `asked_at` is read on CLOCK_BOOTTIME before the lease statement, so that our end is never later
    than the database's; it goes on while the machine sleeps. `is_full`: as many as were asked for.
    """

    def __init__(
        self, token: UUID, asked_at: float, rows: Sequence[Leased], *, is_full: bool = False
    ) -> None:
        self.token = token
        self.asked_at = asked_at
        self.waiting = deque(rows)
        self.is_full = is_full

    def age(self) -> float:
        """Return the seconds since the lease was asked for."""
        return boottime() - self.asked_at


class Leasing:
    """Leases in the name of one holder, batch by batch; `pace` says how many the next one has."""

    def __init__(self, settings: Settings, holder_id: UUID, parked: frozenset[Lane]) -> None:
        self._settings = settings
        self._holder_id = holder_id
        self._order = LaneOrder(parked)
        self.pace = Pace()
        self._ready = ReadySince()
        self._conn: Connection | None = None
        self._last_source = ""

    def next(self, conn: Connection, *, is_probe: bool) -> Batch | None:
        """Lease the next batch, of one delivery where it is a probe; None when nothing is ready."""
        if conn is not self._conn:  # it may lead to another database, with another clock
            self._conn, self._ready = conn, ReadySince()
        now, order = time.monotonic(), list(self._order.next())
        since = self._ready.since(now)
        batch = self._lease(conn, order, since, is_probe=is_probe)
        if batch is None and len(less := self._ready.since(now, is_at_rest=True)) < len(since):
            batch = self._lease(conn, order, less, is_probe=is_probe)
        return batch

    def _lease(
        self,
        conn: Connection,
        order: Sequence[tuple[tuple[Lane, ...], int]],
        since: Mapping[Pair, datetime],
        *,
        is_probe: bool,
    ) -> Batch | None:
        """Lease from the first lanes of *order* that have something ready."""
        for lanes, most in order:
            limit = 1 if is_probe else min(self.pace.limit, most)
            token, asked_at, began = uuid4(), boottime(), time.monotonic()
            rows = store.lease_ready(
                conn,
                lease_token=token,
                leased_by=self._holder_id,
                lanes=lanes,
                after=self._last_source,
                since=since,
                limit=limit,
                lease=self._settings.lease,
                is_stub=self._settings.smtp_mode == "stub",
            )
            is_full = len(rows) == limit
            # Rows come in order: the last one of each pair tells how far it was read.
            last = {(row.lane, row.source): row.ready_at for row in rows}
            reading = Reading(lanes, self._last_source, since, is_full, began, time.monotonic())
            self._ready.note(reading, last)
            if rows:
                self._last_source = rows[-1].source
                return Batch(token, asked_at, rows, is_full=is_full)
        return None


def boottime() -> float:
    """Return the seconds since the machine started, those it slept included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
