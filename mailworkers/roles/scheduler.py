"""The scheduler: the clock of all deliveries.

It makes ready what is due, takes back the leases of senders that vanished, ends what is past its
`expires_at`, removes pauses whose time is over and goes on with bulk replays; then it sleeps until
the next due time, at most one poll. Any number may run: rows are shared by SKIP LOCKED.

Killed anywhere: each of its moves is one transaction, done or not done. Killed before it woke the
senders: they find the work by their poll.
"""

import random
import time
from datetime import datetime, timedelta

from mailworkers.adapters import process, store
from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.outcomes import report_ended
from mailworkers.adapters.policies import parked_lanes, retry_policies
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store.replays import continue_replay
from mailworkers.adapters.stream import SCHEDULER_WAKE
from mailworkers.core.settlement import reclaimed
from mailworkers.core.states import AttemptStatus, Lane, Status
from mailworkers.core.watermarks import DueSince

BATCH = 500
_SHORTEST_SLEEP = timedelta(milliseconds=20)


class Scheduler:
    """One pass after the other over what the clock owes."""

    def __init__(self, context: process.Context) -> None:
        self._database = context.database
        self._telemetry = context.telemetry
        self._waker = context.waker
        self._stop = context.stop
        self._poll = context.settings.poll
        self._policies = retry_policies(context.settings)
        self._parked = parked_lanes(context.settings)
        self._due = DueSince()

    def step(self) -> bool:
        """Do everything that is due now, one batch of each kind; True when a batch was full."""
        conn, began = self._database.conn, time.monotonic()
        is_sweep = self._due.sweeps.is_due(began)
        since = None if is_sweep else self._due.since
        promoted = store.promote_due(conn, limit=BATCH, since=since)
        if promoted:
            reached(Point.NOT_WOKEN)
            self._waker.wake_senders()
        reclaimed_count = self._reclaim(since)
        expired = self._expire(since)
        ended = store.end_pauses(conn)
        batch = continue_replay(conn, limit=BATCH)
        if promoted or reclaimed_count or expired or ended or batch:
            self._telemetry.pass_done(
                "scheduler pass",
                promoted=promoted,
                reclaimed=reclaimed_count,
                expired=expired,
                pauses_ended=ended,
                replayed=batch.requeued if batch else 0,
                returned=batch.returned if batch else 0,
            )
        is_full = BATCH in (promoted, reclaimed_count, expired)
        if is_sweep and not is_full:
            self._due.sweeps.note(began, time.monotonic())
        return batch is not None or is_full

    def _reclaim(self, since: datetime | None) -> int:
        """Take back leases that ended without a word."""
        leases = store.expired_leases(self._database.conn, limit=BATCH, since=since)
        if not leases:
            return 0
        reached(Point.LEASES_READ)
        decisions = {
            lease.delivery_id: reclaimed(
                lease.cycle_attempt,
                now=lease.now,
                policy=self._policies[lease.retry_policy],
                chance=random.random(),  # noqa: S311
                is_parked=Lane(lease.lane) in self._parked,
            )
            for lease in leases
        }
        outcome = store.reclaim(
            self._database.conn,
            [
                store.Reclaim(lease.delivery_id, lease.lease_token, *decisions[lease.delivery_id])
                for lease in leases
            ],
        )
        for lease in leases:
            if status := outcome.get(lease.delivery_id):
                self._telemetry.attempt_closed(AttemptStatus.ABANDONED, None)
                self._report_reclaim(lease, status, decisions[lease.delivery_id].next_attempt_at)
        return len(leases)

    def _report_reclaim(
        self, lease: store.ExpiredLease, status: str, next_attempt_at: datetime | None
    ) -> None:
        reason = "the sender vanished"
        if status == Status.DEFERRED:
            self._telemetry.retry_scheduled(
                delivery_id=lease.delivery_id,
                source=lease.source,
                cycle_attempt=lease.cycle_attempt,
                attempt_no=lease.attempt_no,
                next_attempt_at=next_attempt_at,
                reason=reason,
                traceparent=lease.traceparent,
            )
        elif status == Status.DEAD_LETTER:
            self._telemetry.dead_lettered(
                delivery_id=lease.delivery_id,
                source=lease.source,
                cycle_attempt=lease.cycle_attempt,
                attempt_no=lease.attempt_no,
                max_attempts=self._policies[lease.retry_policy].max_attempts,
                permanent=False,
                reason=reason,
                traceparent=lease.traceparent,
            )
        else:
            self._telemetry.delivery_ended(
                delivery_id=lease.delivery_id,
                source=lease.source,
                status=Status(status),
                reason=reason,
                attempt_no=lease.attempt_no,
                traceparent=lease.traceparent,
            )

    def _expire(self, since: datetime | None) -> int:
        """End what is past its expires_at."""
        overdue = store.expire_overdue(self._database.conn, limit=BATCH, since=since)
        for row in overdue:
            report_ended(self._telemetry, row, "past its expires_at", row.attempt_no)
        return len(overdue)

    def wait(self) -> None:
        """Sleep until the next due time, a wake-up, or one poll."""
        due, now = store.next_due(self._database.conn, within=self._poll, since=self._due.since)
        self._due.note_done(now)
        span = self._poll if due is None else max(_SHORTEST_SLEEP, min(due, self._poll))
        if not self._waker.wait(SCHEDULER_WAKE, span):
            self._stop.wait(span)

    def interrupt(self, store_name: str) -> None:
        """Nothing is held between two statements; the database, and its clock, may be another."""
        if store_name != "redis":
            self._due = DueSince()

    def close(self) -> None:
        """Nothing is held between two steps."""


def main(settings: Settings) -> int:
    """Run a scheduler until it is told to stop; return the exit code."""
    return process.run("scheduler", settings, Scheduler)
