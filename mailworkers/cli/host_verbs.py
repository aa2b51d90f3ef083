"""Verbs on the stores of this host: what operators do to one delivery or refused entry.

They do what the API does, wake who has work by it, and are counted where roles count.
"""

import os
from datetime import datetime
from uuid import UUID

from mailworkers.adapters import resending, store
from mailworkers.adapters.outcomes import report_verb
from mailworkers.adapters.reinjection import Reinjection, is_secret, reinject
from mailworkers.adapters.store import Effect
from mailworkers.adapters.store.malformed import read_entry
from mailworkers.adapters.store.operator_actions import record_action
from mailworkers.adapters.telemetry import METRICS_DIRECTORY, Telemetry
from mailworkers.cli.acting import actor, wake_scheduler, wake_senders
from mailworkers.cli.host_stores import HostStores
from mailworkers.cli.operations import Clone, Done, Taken
from mailworkers.cli.taking_in import count_accepted, intake_of
from mailworkers.core.resending import SOURCE
from mailworkers.core.states import READY, Status


class HostVerbs(HostStores):
    """Cancel, requeue, resend; refused entries judged again."""

    def cancel(self, delivery_id: UUID, reason: str) -> Done | None:
        """Withdraw a delivery before it is sent."""
        return self._done(store.cancel(self._conn, [delivery_id], actor=actor(), reason=reason))

    def requeue(self, delivery_id: UUID, reason: str, expires_at: datetime | None) -> Done | None:
        """Send a delivery again that is in trouble."""
        ids = [delivery_id]
        return self._done(
            store.requeue(self._conn, ids, actor=actor(), reason=reason, expires_at=expires_at)
        )

    def _done(self, effects: dict[UUID, Effect]) -> Done | None:
        """Tell of what a verb did to one delivery, and wake who has work by it."""
        for effect in effects.values():
            self._announce(effect)
            status = effect.after.status
            if effect.is_change and status in READY:
                wake_senders()
            hindrance = None if effect.hindrance is None else str(effect.hindrance)
            word = "pending" if effect.is_pending else status
            return Done(word, hindrance, effect.explanation)
        return None

    def _announce(self, effect: Effect) -> None:
        """Count what was done, as the API does; log it on standard error unless a person reads it.

        Only on a host where roles count, and where we may: the audit trail is complete anyway.
        """
        if not (self._settings.state_dir / METRICS_DIRECTORY).is_dir():
            return
        level, place = "error" if os.isatty(2) else "info", self._settings.state_dir
        try:
            telemetry = Telemetry("cli", "cli", state_dir=place, level=level, fd=2)
        except OSError:
            return
        report_verb(telemetry, effect)
        telemetry.close()

    def resend(
        self, delivery_id: UUID, reason: str, key: str | None, expires_at: datetime | None
    ) -> Clone | None:
        """Send what an ended delivery says anew; the same *key* twice sends once."""
        done = resending.resend(
            self._conn,
            intake_of(self._conn, self._settings),
            delivery_id,
            actor=actor(),
            reason=reason,
            idempotency_key=key,
            expires_at=expires_at,
        )
        if done is None:
            return None
        self._wake(SOURCE, done.status)
        if done.refusal is not None:
            words = done.refusal.words(done.original.status)
            return Clone(None, refusal=str(done.refusal), words=words)
        return Clone(done.delivery_id, done.is_replay, done.is_suppressed)

    def read_malformed(self, number: int) -> dict[str, str] | None:
        """Return what stood in a refused entry; who looks at a secret is recorded."""
        fields = read_entry(self._conn, number)
        if fields is None:
            return None
        if is_secret(fields, self._settings.sources):
            subject = f"malformed command {number}"
            record_action(self._conn, actor=actor(), action="read_content", subject=subject)
        return {name.decode("utf-8", "replace"): value.decode("utf-8", "replace")
                for name, value in fields.items()}  # fmt: skip

    def replay_malformed(self, number: int, reason: str, *, is_dry: bool) -> Taken | None:
        """Judge a refused entry again, and accept it if nothing speaks against it."""
        intake, sources = intake_of(self._conn, self._settings), self._settings.sources
        done = reinject(
            self._conn, intake, sources, number, actor=actor(), reason=reason, is_dry=is_dry
        )
        if done is None:
            return None
        self._wake(done.source, "" if is_dry else done.status)
        if done.delivery_id is None:
            return _not_taken(done)
        return Taken(done.delivery_id, is_new=bool(done.status))

    def _wake(self, source: str, status: str) -> None:
        """Count what was accepted, "" for nothing, and wake who has work by it."""
        if status:
            count_accepted(self._settings, source, status)
        if status in READY:
            wake_senders()
        elif status == Status.SCHEDULED:
            wake_scheduler()


def _not_taken(done: Reinjection) -> Taken:
    if done.obstacle is not None:
        return Taken(None, reason=str(done.obstacle), words=done.obstacle.words)
    if done.refusal is None:
        return Taken(None)
    words = f"{done.refusal.code}: {done.refusal.detail}"
    return Taken(None, reason=str(done.refusal.code), words=words)
