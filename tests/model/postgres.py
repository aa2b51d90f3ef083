"""The real statements on a clock of ours: their `clock_timestamp()` is found in a schema before it.

Nothing else is changed: tables, functions and statements are the product's.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mailworkers.adapters import db, store
from mailworkers.adapters.store import retention
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.settlement import Settlement
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Failure,
    Lane,
    PayloadMode,
    RecipientStatus,
    Status,
)
from mailworkers.core.watermarks import Pair
from tests.model.rows import Attempt, DeadLetter, Row
from tests.model.store import Lease

_CLOCK = """
CREATE SCHEMA IF NOT EXISTS model_clock;
CREATE OR REPLACE FUNCTION model_clock.clock_timestamp() RETURNS timestamptz
LANGUAGE sql VOLATILE AS $$ SELECT current_setting('model.now')::timestamptz $$;
SET search_path = model_clock, mail, pg_catalog;
"""
_EMPTY = """
DELETE FROM dead_letters; DELETE FROM attempts; DELETE FROM delivery_payloads;
DELETE FROM delivery_recipients; DELETE FROM deliveries; DELETE FROM idempotency_reservations;
DELETE FROM suppressed_addresses; DELETE FROM operator_actions;
"""
_ROWS = """
SELECT d.delivery_id, d.source, d.lane, d.payload_mode, d.retry_policy, d.status, d.failure,
    d.next_attempt_at, d.ready_at, d.expires_at, d.finished_at, d.cancel_requested_at,
    d.lease_token, d.leased_by, d.attempt_no, d.cycle_attempt,
    ARRAY(SELECT r.status FROM delivery_recipients r
          WHERE r.delivery_id = d.delivery_id ORDER BY r.ordinal)
FROM deliveries d
"""
_ATTEMPTS = """
SELECT delivery_id, lease_token, leased_by, cycle_attempt, status, outcome
FROM attempts ORDER BY delivery_id, attempt_no
"""
_LETTERS = """
SELECT delivery_id, cause, attempt_no, cycle_attempt, closed_at IS NULL
FROM dead_letters ORDER BY delivery_id, dead_letter_id
"""
_MANY = 100


class PostgresStore:
    """The statements of `sql/` with *now* for their clock."""

    def __init__(self, conn: db.Connection, now: Callable[[], datetime]) -> None:
        self._conn = conn
        self._now = now
        self.touched: set[UUID] = set()
        conn.execute(_CLOCK.encode())
        conn.execute(_EMPTY.encode())

    @property
    def rows(self) -> Mapping[UUID, Row]:
        """Read everything there is."""
        rows = {found[0]: _row(found) for found in self._conn.execute(_ROWS)}
        for key, *attempt in self._conn.execute(_ATTEMPTS):
            rows[key].attempts.append(_attempt(attempt))
        for key, *letter in self._conn.execute(_LETTERS):
            rows[key].dead_letters.append(DeadLetter(*letter))
        return rows

    def _timed(self) -> db.Connection:
        """Return the connection, its clock set."""
        self._conn.execute("SELECT set_config('model.now', %s, false)", [self._now().isoformat()])
        return self._conn

    def accept(self, news: Sequence[NewDelivery]) -> list[store.Acceptance]:
        """Run `accept` and what belongs to it."""
        conn = self._timed()
        return db.run_transaction(conn, lambda: store.accept(conn, news))

    def suppress(self, canonical: str) -> None:
        """Put an address on the list."""
        self._conn.execute(
            "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
            " VALUES (%s, 'complaint', 'model') ON CONFLICT DO NOTHING",
            [canonical],
        )

    def lease_ready(
        self,
        *,
        lease_token: UUID,
        leased_by: UUID,
        lanes: Sequence[Lane],
        after: str,
        since: Mapping[Pair, datetime],
        limit: int,
        lease: timedelta,
    ) -> list[store.Leased]:
        """Run `lease_ready`."""
        return store.lease_ready(
            self._timed(),
            lease_token=lease_token,
            leased_by=leased_by,
            lanes=lanes,
            after=after,
            since=since,
            limit=limit,
            lease=lease,
            is_stub=False,
        )

    def settle(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        """Run `settle`."""
        rows = store.settle(self._timed(), settlements)
        return {key: row.status for key, row in rows.items()}

    def settle_late(self, settlements: Sequence[Settlement]) -> dict[UUID, str]:
        """Run `settle_late`."""
        rows = store.settle_late(self._timed(), settlements)
        return {key: row.status for key, row in rows.items()}

    def leases_of(self, leased_by: UUID, held: Sequence[UUID]) -> list[Lease]:
        """Run `leases_of`."""
        rows = db.run(self._timed(), "leases_of", leased_by=leased_by, held=list(held))
        return [(delivery_id, lease_token) for delivery_id, lease_token in rows]

    def hand_back(self, leases: Sequence[Lease]) -> int:
        """Run `hand_back`, which may come long after what it was told was read."""
        delivery_ids, lease_tokens = zip(*leases, strict=True)
        return len(
            db.run(
                self._timed(),
                "hand_back",
                delivery_ids=list(delivery_ids),
                lease_tokens=list(lease_tokens),
            )
        )

    def leased_rows(self, leased_by: UUID) -> list[store.LeasedRow]:
        """Run `leased_rows`."""
        return store.leased_rows(self._timed(), leased_by)

    def promote_due(self) -> int:
        """Run `promote_due`."""
        return store.promote_due(self._timed(), limit=_MANY)

    def expired_leases(self) -> list[store.ExpiredLease]:
        """Run `expired_leases`."""
        return store.expired_leases(self._timed(), limit=_MANY)

    def reclaim(self, reclaims: Sequence[store.Reclaim]) -> dict[UUID, str]:
        """Run `reclaim`."""
        return store.reclaim(self._timed(), reclaims)

    def expire_overdue(self) -> int:
        """Run `expire_overdue`."""
        return len(store.expire_overdue(self._timed(), limit=_MANY))

    def cancel(self, delivery_id: UUID) -> str:
        """Do what an operator does who cancels."""
        effects = store.cancel(self._timed(), [delivery_id], actor="model", reason="")
        return effects[delivery_id].after.status if effects else "(deleted)"

    def requeue(self, delivery_id: UUID, expires_at: datetime | None) -> str:
        """Do what an operator does who requeues."""
        effects = store.requeue(
            self._timed(), [delivery_id], actor="model", reason="", expires_at=expires_at
        )
        return effects[delivery_id].after.status if effects else "(deleted)"

    def delete_deliveries(self, keep: timedelta) -> int:
        """Run `delete_deliveries`."""
        return retention.delete_deliveries(self._timed(), keep=keep, limit=_MANY)


def _row(found: Sequence[Any]) -> Row:
    return Row(
        delivery_id=found[0],
        source=found[1],
        lane=Lane(found[2]),
        payload_mode=PayloadMode(found[3]),
        retry_policy=found[4],
        status=Status(found[5]),
        failure=Failure(found[6]) if found[6] else None,
        next_attempt_at=found[7],
        ready_at=found[8],
        expires_at=found[9],
        finished_at=found[10],
        cancel_requested_at=found[11],
        lease_token=found[12],
        leased_by=found[13],
        attempt_no=found[14],
        cycle_attempt=found[15],
        recipients=[RecipientStatus(status) for status in found[16]],
    )


def _attempt(found: Sequence[Any]) -> Attempt:
    lease_token, leased_by, cycle_attempt, status, outcome = found
    return Attempt(
        lease_token,
        leased_by,
        cycle_attempt,
        AttemptStatus(status),
        AttemptOutcome(outcome) if outcome else None,
    )
