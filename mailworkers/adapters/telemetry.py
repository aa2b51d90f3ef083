"""What operators read: one method for each event, which writes its line and moves its counters.

Nobody else writes a log line or touches a metric. The texts in `events` and the names in
`instruments` are an interface: dashboards and alerts rely on them.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from mailworkers.adapters import events
from mailworkers.adapters.logs import Level, LevelFile, Log
from mailworkers.adapters.metrics import Metrics
from mailworkers.adapters.tracing import Tracer
from mailworkers.core.refusals import FailureCode
from mailworkers.core.states import AttemptStatus, Stage, Status

METRICS_DIRECTORY = "metrics"

_ENDINGS = {
    Status.SENT: "mail.delivery.sent",
    Status.SUPPRESSED: "mail.delivery.suppressed",
    Status.UNCERTAIN: "mail.delivery.uncertain",
}
_SUCCESSES = frozenset({"success", AttemptStatus.PROVIDER_ACCEPTED})


class Telemetry:
    """The log lines and numbers of one process.

    *process* is the name supervisord gave it; *secrets* are kept out of every text. Metric files
    live in `state_dir/metrics`, see `exposition`; they bear the name *counted_as*, which
    is not new with each start: what one process counted, the next one of this name goes on with.
    """

    def __init__(
        self,
        role: str,
        process: str,
        *,
        state_dir: Path,
        counted_as: str = "",
        level: str = "info",
        secrets: Iterable[str] = (),
        fd: int = 1,
    ) -> None:
        self.tracer: Tracer | None = None
        self._level_file = LevelFile(state_dir)
        self._configured_level = level
        self.metrics = Metrics(state_dir / METRICS_DIRECTORY, counted_as or process)
        self._count = self.metrics.count
        self._observe = self.metrics.observe
        self._log = Log(
            role,
            process,
            level=Level[level.upper()],
            secrets=secrets,
            fd=fd,
            on_lost=lambda: self._count("mail.log.lines_lost"),
        )
        if self.metrics.lost_to is not None:
            facts = {"reason": self.metrics.lost_to.strerror}
            self._log.write(Level.ERROR, events.UNCOUNTED, facts)

    @property
    def level(self) -> str:
        """Return the level in force, as LOG_LEVEL writes it."""
        return self._log.level.name.lower()

    def set_level(self, level: str) -> None:
        """Use *level* (debug, info, warn, error) from now on; raise KeyError for another word."""
        before, self._log.level = self._log.level, Level[level.upper()]
        if before is not self._log.level:
            facts = {"before": before.name.lower(), "after": self.level}
            self._log.write(Level.ERROR, events.LEVEL_CHANGED, facts)

    def refresh_level(self) -> None:
        """Follow the file `state_dir/log_level`; without it, or with another word, LOG_LEVEL."""
        if self._level_file.has_changed():
            self.set_level(self._level_file.read() or self._configured_level)

    def close(self) -> None:
        """Send the last spans, close the metric files; the last thing a process does."""
        if self.tracer is not None:
            self.tracer.close()
        self.metrics.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell what is told meanwhile with few writes, at the end."""
        with self.metrics.together(), self._log.together():
            yield

    # The role and what it lives by.

    def role_started(self, **facts: Any) -> None:
        """The role has what it needs and begins to work."""
        self._log.write_cleaned(Level.INFO, events.STARTED, facts)

    def role_stopped(self, reason: str) -> None:
        """The role ends."""
        self._log.write_cleaned(Level.INFO, events.STOPPED, {"reason": reason})

    def setting_doubted(self, warning: str) -> None:
        """A setting is accepted but unknown, retired or probably not meant."""
        self._log.write_cleaned(Level.WARN, events.SETTING, {"detail": warning})

    def store_lost(self, store: str, reason: str) -> None:
        """Postgres or Redis is away: one line at its loss."""
        self._count("mail.store.lost", store)
        self._log.write_cleaned(
            Level.ERROR, events.STORE_LOST, {"dependency": store, "reason": reason}
        )

    def store_returned(self, store: str, away_seconds: float) -> None:
        """The store answers again: one line at its return."""
        facts = {"dependency": store, "away_seconds": round(away_seconds, 3)}
        self._log.write(Level.INFO, events.STORE_RETURNED, facts)

    def clock_is_off(self, skew: timedelta) -> None:
        """The database's clock is *skew* ahead of this host's: more than a few minutes."""
        facts = {"skew_seconds": round(skew.total_seconds(), 3)}
        self._log.write(Level.ERROR, events.CLOCK_OFF, facts)

    def pass_done(self, event: str, **counts: Any) -> None:
        """A role finished one pass of its regular work (level debug)."""
        self._log.write(Level.DEBUG, event, counts)

    def export_failed(self, reason: str) -> None:
        """Spans or numbers did not get to the collector."""
        facts = {"dependency": "collector", "reason": reason}
        self._log.write_cleaned(Level.WARN, events.EXPORT_FAILED, facts)

    def export_returned(self, away_seconds: float) -> None:
        """The collector takes data again."""
        facts = {"dependency": "collector", "away_seconds": round(away_seconds, 3)}
        self._log.write(Level.INFO, events.EXPORT_RETURNED, facts)

    def failed(self, event: str, error: BaseException) -> None:
        """Something unexpected was raised: an assumption of ours is wrong."""
        self._log.write(Level.ERROR, event, self._log.describe(error))

    # Commands.

    def command_accepted(self, source: str, status: str, count: int = 1) -> None:
        """*count* deliveries of *source* are durable with *status*."""
        self._count("mail.delivery.accepted", source, amount=count)
        if status == Status.SUPPRESSED:
            self._count("mail.delivery.suppressed", source, amount=count)
        facts = {"source": source, "status": str(status), "count": count}
        self._log.write(Level.DEBUG, events.ACCEPTED, facts)

    def command_rejected(
        self,
        failure_code: FailureCode,
        delivery_id: UUID | str | None,
        source: str,
        stream_entry_id: str,
        detail: str,
    ) -> None:
        """A command was refused and set aside; unknown ids and sources are empty."""
        self._count("mail.stream_commands.malformed", failure_code)
        facts = {
            "failure_code": failure_code,
            "delivery_id": delivery_id or "",
            "source": source,
            "stream_entry_id": stream_entry_id,
            "detail": detail,
        }
        self._log.write_cleaned(Level.WARN, events.REJECTED, facts)

    def entry_vanished(self, entry_id: str) -> None:
        """An entry was trimmed away by somebody while it was still to be done (R-07)."""
        self._count("mail.stream_commands.vanished")
        self._log.write(Level.ERROR, events.VANISHED, {"stream_entry_id": entry_id})

    def group_made_anew(self) -> None:
        """The stream or its group was gone: it begins at 0 again (R-05)."""
        self._count("mail.stream_commands.group_lost")
        self._log.write(Level.ERROR, events.GROUP_MADE_ANEW, {})

    # Deliveries and attempts.

    def delivery_sent(
        self,
        delivery_id: UUID | str,
        source: str,
        cycle_attempt: int,
        attempt_no: int,
        duration_ms: float | None,
        end_to_end_ms: float,
        traceparent: str | None,
    ) -> None:
        """The relay accepted the message; *duration_ms* is None where nobody saw it."""
        self._count("mail.delivery.sent", source)
        self._observe("mail.delivery.end_to_end_ms", end_to_end_ms, traceparent)
        facts = {
            "delivery_id": delivery_id,
            **_trace(traceparent),
            "source": source,
            "cycle_attempt": cycle_attempt,
            "attempt_no": attempt_no,
            "duration_ms": duration_ms and round(duration_ms, 3),
            "end_to_end_ms": round(end_to_end_ms, 3),
        }
        self._log.write(Level.INFO, events.SENT, facts)

    def retry_scheduled(
        self,
        delivery_id: UUID | str,
        source: str,
        cycle_attempt: int,
        attempt_no: int,
        next_attempt_at: datetime | None,
        reason: str,
        traceparent: str | None,
    ) -> None:
        """The attempt failed for now and another one will follow."""
        self._count("retries_scheduled")
        facts = {
            "delivery_id": delivery_id,
            **_trace(traceparent),
            "source": source,
            "cycle_attempt": cycle_attempt,
            "attempt_no": attempt_no,
            "next_attempt_at": next_attempt_at,
            "reason": reason,
        }
        self._log.write_cleaned(Level.INFO, events.RETRY, facts)

    def dead_lettered(
        self,
        delivery_id: UUID | str,
        source: str,
        cycle_attempt: int,
        attempt_no: int,
        max_attempts: int,
        permanent: bool,
        reason: str,
        traceparent: str | None,
    ) -> None:
        """The delivery did not arrive: refused for good (*permanent*) or its retries ran out."""
        self._count("mail.delivery.dead_letters", source)
        if permanent:
            self._count("mail.delivery.failed", source)
        else:
            self._count("retries_exhausted")
        facts = {
            "delivery_id": delivery_id,
            **_trace(traceparent),
            "source": source,
            "cycle_attempt": cycle_attempt,
            "attempt_no": attempt_no,
            "max_attempts": max_attempts,
            "permanent": permanent,
            "reason": reason,
        }
        self._log.write_cleaned(Level.WARN, events.DEAD_LETTERED, facts)

    def delivery_ended(
        self,
        delivery_id: UUID | str,
        source: str,
        status: Status,
        reason: str,
        attempt_no: int,
        traceparent: str | None,
    ) -> None:
        """The delivery is over without a dead letter and without a reply of its own just now.

        `suppressed`, `uncertain`, `cancelled`; `sent` where only its last open recipients ended.
        """
        if counter := _ENDINGS.get(status):
            self._count(counter, source)
        facts = {
            "delivery_id": delivery_id,
            **_trace(traceparent),
            "source": source,
            "status": str(status),
            "reason": reason,
            "attempt_no": attempt_no,
        }
        self._log.write_cleaned(Level.INFO, events.ENDED, facts)

    def delivery_requeued(
        self,
        delivery_id: UUID | str,
        source: str,
        before: str,
        status: str,
        traceparent: str | None,
    ) -> None:
        """An operator lets a delivery that was *before* be sent again; the audit trail says who."""
        facts = {
            "delivery_id": delivery_id,
            **_trace(traceparent),
            "source": source,
            "before": before,
            "status": status,
        }
        self._log.write(Level.INFO, events.REQUEUED, facts)

    def cancel_requested(
        self, delivery_id: UUID | str, source: str, attempt_no: int, traceparent: str | None
    ) -> None:
        """An operator withdraws what a sender is trying just now; the audit trail says who."""
        facts = {
            "delivery_id": delivery_id,
            **_trace(traceparent),
            "source": source,
            "attempt_no": attempt_no,
        }
        self._log.write(Level.INFO, events.CANCEL_REQUESTED, facts)

    def attempt_closed(
        self, status: AttemptStatus, duration_ms: float | None, traceparent: str | None = None
    ) -> None:
        """An attempt ended with *status* (numbers only); None where nobody saw how long it took."""
        self._count("mail.attempt.outcomes", status)
        if duration_ms is not None:
            self._observe("mail.provider.send.duration_ms", duration_ms, traceparent)

    def retry_executed(
        self, status: str, lateness_ms: float, traceparent: str | None = None
    ) -> None:
        """A retry ran *lateness_ms* after its time; *status*: success or the attempt's status."""
        self._count("retries_executed", "success" if status in _SUCCESSES else "failed")
        self._observe("mail.retry.lateness_ms", lateness_ms, traceparent)

    def outcome_corrected(self, delivery_id: UUID | str, status: str) -> None:
        """An outcome became known after its lease had been taken back; "" where nothing moved."""
        self._count("mail.lease.late")
        facts = {"delivery_id": delivery_id, "status": status}
        self._log.write(Level.WARN, events.CORRECTED, facts)

    def journal_adopted(self, **counts: int) -> None:
        """The journal of a dead sender was brought into the database, rows by their fate."""
        self._count("mail.journal.adopted")
        self._log.write(Level.WARN, events.ADOPTED, counts)

    def lease_lost(self, delivery_id: UUID | str) -> None:
        """A result was dropped: the lease had ended and somebody else decides."""
        self._count("mail.lease.lost")
        self._log.write(Level.WARN, events.LEASE_LOST, {"delivery_id": delivery_id})

    # The relay.

    def relay_fault(self, stage: Stage, reason: str) -> None:
        """The relay, or our account there, is at fault: sending pauses and probes."""
        self._count("mail.relay.faults", stage)
        self._log.write_cleaned(
            Level.ERROR, events.RELAY_FAULT, {"stage": str(stage), "reason": reason}
        )

    def relay_recovered(self) -> None:
        """The relay takes mail again."""
        self._log.write(Level.INFO, events.RELAY_RECOVERED, {})


def _trace(traceparent: str | None) -> dict[str, str]:
    """Return the ids of a W3C traceparent `00-<32 hex>-<16 hex>-<2 hex>`; empty without one."""
    if traceparent is None or len(traceparent) < 55:
        return {"otel_trace_id": "", "otel_span_id": ""}
    return {"otel_trace_id": traceparent[3:35], "otel_span_id": traceparent[36:52]}
