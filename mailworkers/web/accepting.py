"""Accepting commands that came by HTTP: the stream's intake, then numbers and wake-ups."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeGuard
from uuid import UUID

import msgspec

from mailworkers.adapters.crash_points import Point, reached, when_answered
from mailworkers.adapters.db import Connection, run_transaction
from mailworkers.adapters.intake import Intake, Prepared, write
from mailworkers.adapters.outcomes import report_verb
from mailworkers.adapters.refusals import refusal_of
from mailworkers.adapters.reinjection import Reinjection, reinject
from mailworkers.adapters.resending import Resent, resend
from mailworkers.adapters.store import Acceptance, Effect, Verdict
from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.store.reads import suppressed_at_intake
from mailworkers.adapters.stream import Waker
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.core.commands import Command, Refusal, SourceKind
from mailworkers.core.errors import StoreUnavailable
from mailworkers.core.resending import SOURCE
from mailworkers.core.states import READY, Status


class Accepted(msgspec.Struct, frozen=True):
    """A command whose delivery is durable, the first one when it `is_replay`.

    `is_suppressed` says whether that delivery ended the moment it was accepted.
    """

    delivery_id: UUID
    is_suppressed: bool
    is_replay: bool


Result = Accepted | Refusal | Exception


class Acceptor:
    """Makes commands durable; called from any thread."""

    def __init__(self, intake: Intake, pool: Pool, telemetry: Telemetry, waker: Waker) -> None:
        self._intake = intake
        self._pool = pool
        self._telemetry = telemetry
        self._bell = Bell(waker)

    def accept(self, commands: Sequence[Command]) -> Sequence[Result]:
        """Accept *commands* in one transaction; a result for each, in order.

        A command that our own code stumbles over takes only itself down: each is tried alone then.
        """
        try:
            return self._accept(commands)
        except StoreUnavailable:
            raise
        except Exception as error:
            if len(commands) == 1:
                return [error]
            return [result for command in commands for result in self.accept([command])]

    def _accept(self, commands: Sequence[Command]) -> list[Accepted | Refusal]:
        prepared = [self._intake.prepare(command) for command in commands]
        with self._pool.connection() as conn:
            reached(Point.REQUEST_TAKEN)
            results = run_transaction(conn, lambda: _store(conn, prepared))
            replayed = [r.delivery_id for r in results if _is_replay(r)]
            suppressed = suppressed_at_intake(conn, replayed) if replayed else frozenset()
        self._report(commands, results)
        for ready in prepared:
            ready.end_span()
        return [
            _result(command, result, suppressed)
            for command, result in zip(commands, results, strict=True)
        ]

    def _report(self, commands: Sequence[Command], results: Sequence[Acceptance | Refusal]) -> None:
        """Count what was accepted and wake whoever has work by it."""
        counts = Counter(
            (command.source, result.status)
            for command, result in zip(commands, results, strict=True)
            if isinstance(result, Acceptance) and result.verdict is Verdict.ACCEPTED
        )
        for (source, status), count in counts.items():
            self._telemetry.command_accepted(source, status, count)
        self._bell.ring({status for _, status in counts})

    def announce(self, effect: Effect) -> None:
        """Tell what an operator did to a delivery, and wake the senders for one made ready."""
        report_verb(self._telemetry, effect)
        if effect.is_change:
            self._bell.ring({effect.after.status})

    def reinject(
        self,
        conn: Connection,
        malformed_id: int,
        *,
        sources: Mapping[str, SourceKind],
        actor: str,
        reason: str,
        is_dry: bool,
    ) -> Reinjection | None:
        """Take in an entry that was refused; count it, and wake whoever has work by it."""
        done = reinject(
            conn, self._intake, sources, malformed_id, actor=actor, reason=reason, is_dry=is_dry
        )
        if done is not None and done.status and not is_dry:
            self._telemetry.command_accepted(done.source, done.status)
            self._bell.ring({done.status})
        return done

    def resend(
        self,
        conn: Connection,
        delivery_id: UUID,
        *,
        idempotency_key: str | None,
        expires_at: datetime | None,
        actor: str,
        reason: str,
    ) -> Resent | None:
        """Send a delivery anew that has ended; count the clone, and wake the senders for it."""
        done = resend(
            conn,
            self._intake,
            delivery_id,
            actor=actor,
            reason=reason,
            idempotency_key=idempotency_key,
            expires_at=expires_at,
        )
        if done is not None and done.status:
            self._telemetry.command_accepted(SOURCE, done.status)
            self._bell.ring({done.status})
        return done

    def wake_senders(self) -> None:
        """Wake the senders for what was held back."""
        self._bell.ring({Status.QUEUED})

    def wake_scheduler(self) -> None:
        """Wake a scheduler for what it has to do at once."""
        self._bell.ring({Status.SCHEDULED})

    def close(self) -> None:
        """Let go of the thread that wakes."""
        self._bell.close()


def _store(conn: Connection, prepared: Sequence[Prepared]) -> list[Acceptance | Refusal]:
    """Store what was prepared, inside the caller's transaction; a result for each, in order."""
    results = write(conn, prepared)
    reached(Point.REQUEST_STORED)
    when_answered(Point.ANSWER_LOST, conn)
    return results


def _is_replay(result: Acceptance | Refusal) -> TypeGuard[Acceptance]:
    return isinstance(result, Acceptance) and result.verdict is Verdict.REPLAYED


def _result(
    command: Command, result: Acceptance | Refusal, suppressed: frozenset[UUID]
) -> Accepted | Refusal:
    """Return what *result* means for whoever sent *command*."""
    if isinstance(result, Refusal):
        return result
    if refusal := refusal_of(result, command):
        return refusal
    if _is_replay(result):
        return Accepted(result.delivery_id, result.delivery_id in suppressed, is_replay=True)
    return Accepted(result.delivery_id, result.status == Status.SUPPRESSED, is_replay=False)


class Bell:
    """Wakes the other roles from a thread of its own: while Redis is away that may take seconds.

    At most one call of each kind waits; a token for each delivery would only make idle roles look.
    """

    def __init__(self, waker: Waker) -> None:
        self._wakes = {"senders": waker.wake_senders, "scheduler": waker.wake_scheduler}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bell")
        self._waiting: set[str] = set()
        self._lock = threading.Lock()

    def ring(self, statuses: set[str]) -> None:
        """Wake who has work by deliveries that were just accepted with *statuses*."""
        if statuses & READY:
            self._call("senders")
        if Status.SCHEDULED in statuses:
            self._call("scheduler")

    def _call(self, whom: str) -> None:
        with self._lock:
            if whom in self._waiting:
                return
            self._waiting.add(whom)
        self._thread.submit(self._wake, whom, self._wakes[whom])

    def _wake(self, whom: str, wake: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.discard(whom)
        wake()

    def close(self) -> None:
        """Let go of the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)
