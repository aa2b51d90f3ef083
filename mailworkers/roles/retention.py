"""Retention: deletes what is final and old, and nothing else.

Every cleanup interval: payloads first (those of auth mail at once), then whole deliveries, refused
entries, idempotency reservations and suppressions past their time. Small batches, each one
statement that takes only rows nobody holds, and a rest after each: mail comes first.

Killed anywhere: a batch is deleted, parent and children together, or not at all; the next run
repeats. How far it got in looking for payloads is in the database, written every so many batches
after what it says: a new process looks at a few of them again.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from mailworkers.adapters import process, store
from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import retention as statements
from mailworkers.adapters.store.suppressions import delete_expired_suppressions
from mailworkers.core.states import Lane

BATCH = 1000
_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
# An end is stamped before it is committed. No statement of ours lives longer than this, so nothing
# can appear behind a position that is at least so old.
_LONGEST_STATEMENT = timedelta(seconds=60)
# Deleting as fast as it goes takes four tenths of the throughput of two busy cores, a third of the
# time an eighth; and still more goes than can come in.
_REST = 2
_SAVED_EVERY = 20  # batches: looking at those again takes a second
_LONGEST_REST = timedelta(seconds=1)


def rest_after(worked: timedelta) -> timedelta:
    """Return how long to do nothing after a batch that took *worked*."""
    return min(worked * _REST, _LONGEST_REST)


class _PayloadWalk:
    """Walks ended deliveries in the order of their end and deletes payloads that may go.

    An end is always newer than every earlier one, so a place is enough to see each once. Where a
    clock was wrong it is not: each week the walk begins anew.
    """

    def __init__(self, name: str, keep: timedelta, *, is_auth_only: bool) -> None:
        self._name = name
        self._keep = max(keep, _LONGEST_STATEMENT)
        self._is_auth_only = is_auth_only
        self.forget()

    def forget(self) -> None:
        """Go on from where the database says, at the next stretch."""
        self._after: statements.Place | None = None
        self._is_new = False
        self._unsaved = 0

    def advance(self, context: process.Context) -> tuple[int, bool]:
        """Handle one stretch; return how many payloads went and whether there is more."""
        conn = context.database.conn
        if self._after is None:
            found = statements.find_walk(conn, self._name)
            self._after, self._is_new = found or _BEGINNING, found is None
        rows = statements.finished_payloads(conn, after=self._after, keep=self._keep, limit=BATCH)
        going = [
            row.delivery_id
            for row in rows
            if (row.lane == Lane.AUTH if self._is_auth_only else row.may_go)
        ]
        deleted = statements.delete_payloads(conn, going)
        has_more = len(rows) == BATCH
        if rows:
            self._after = (rows[-1].finished_at, rows[-1].delivery_id)
            self._save(context, is_over=not has_more)
        if not has_more:
            self._after = None
        return deleted, has_more

    def _save(self, context: process.Context, *, is_over: bool) -> None:
        """Keep the place, now and then."""
        self._unsaved += 1
        if self._after and (is_over or self._unsaved >= _SAVED_EVERY):
            statements.save_walk(
                context.database.conn, self._name, self._after, is_new=self._is_new
            )
            self._is_new, self._unsaved = False, 0


class _ReservationWalk:
    """Walks reservations from the oldest to those too young, anew at every interval.

    One that is skipped, being made in the same microsecond as the last of a stretch, goes the next
    time.
    """

    def __init__(self, keep: timedelta) -> None:
        self._keep = keep
        self._after = _BEGINNING[0]

    def advance(self, context: process.Context) -> tuple[int, bool]:
        """Handle one stretch; return how many reservations went and whether there is more."""
        stretch = statements.delete_reservations(
            context.database.conn, after=self._after, keep=self._keep, limit=BATCH
        )
        has_more = stretch.seen == BATCH
        self._after = stretch.last if has_more and stretch.last else _BEGINNING[0]
        return stretch.deleted, has_more


class Retention:
    """One batch of one kind a step, until nothing is left; then the interval."""

    def __init__(self, context: process.Context) -> None:
        self._context = context
        settings = context.settings
        self._interval = settings.cleanup_interval
        self._next_run = 0.0
        auth = _PayloadWalk("auth_payloads", _LONGEST_STATEMENT, is_auth_only=True)
        others = _PayloadWalk("payloads", settings.payload_retention, is_auth_only=False)
        self._walks = (auth, others)
        reservations = _ReservationWalk(settings.idempotency_ttl)
        self._duties: dict[str, Callable[[], tuple[int, bool]]] = {
            "auth_payloads": lambda: auth.advance(context),
            "payloads": lambda: others.advance(context),
            "deliveries": lambda: self._delete(
                statements.delete_deliveries, settings.delivery_retention
            ),
            "malformed": lambda: self._delete(
                statements.delete_malformed, settings.malformed_retention
            ),
            "reservations": lambda: reservations.advance(context),
            "suppressions": self._delete_expired_suppressions,
        }
        self._pending: list[str] = []

    def _delete(self, statement: Callable[..., int], keep: timedelta) -> tuple[int, bool]:
        deleted = statement(self._context.database.conn, keep=keep, limit=BATCH)
        reached(Point.BETWEEN_DELETIONS)
        return deleted, deleted == BATCH

    def _delete_expired_suppressions(self) -> tuple[int, bool]:
        deleted = delete_expired_suppressions(self._context.database.conn, limit=BATCH)
        return deleted, deleted == BATCH

    def step(self) -> bool:
        """Delete one batch; False when everything old is gone and the interval has not passed."""
        if not self._pending:
            if time.monotonic() < self._next_run:
                return False
            self._next_run = time.monotonic() + self._interval.total_seconds()
            self._pending = list(self._duties)
            store.forget_processes(self._context.database.conn)
        duty = self._pending[0]
        started = time.monotonic()
        deleted, has_more = self._duties[duty]()
        worked = timedelta(seconds=time.monotonic() - started)
        if deleted:
            reached(Point.DELETED)
            self._context.telemetry.pass_done("retention pass", duty=duty, deleted=deleted)
        if has_more:
            self._context.stop.wait(rest_after(worked))
        else:
            self._pending.pop(0)
        return True

    def wait(self) -> None:
        """Wait for the next interval, at most one poll at a time so that heartbeats go on."""
        left = timedelta(seconds=max(0.0, self._next_run - time.monotonic()))
        self._context.stop.wait(min(left, self._context.settings.poll))

    def interrupt(self, store_name: str) -> None:
        """A failover may have taken back the last deletions: the database knows how far it is."""
        if store_name != "redis":
            for walk in self._walks:
                walk.forget()

    def close(self) -> None:
        """Nothing is held between two steps."""


def main(settings: Settings) -> int:
    """Run retention until it is told to stop; return the exit code."""
    return process.run("retention", settings, Retention)
