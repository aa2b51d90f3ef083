"""Every metric: its OTLP name, its Prometheus name, its kind, its labels and what it counts.

Label values come from closed sets. Where a set is known here, each series begins at 0, so that
an alert on a rate sees the first event; `sources` are bounded by `metrics.MOST_SERIES`.
"""

import enum
from itertools import product

import msgspec

from mailworkers.core.refusals import FailureCode
from mailworkers.core.states import LIVE, AttemptStatus, Lane, Stage


class Kind(enum.StrEnum):
    """How a metric behaves: counts up, is read as it stands, or sorts values into buckets."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Instrument(msgspec.Struct, frozen=True):
    """One metric; *labels* maps each label to its values, () when they are not known here."""

    name: str
    kind: Kind
    means: str
    labels: dict[str, tuple[str, ...]] = {}
    bounds: tuple[float, ...] = ()

    @property
    def family(self) -> str:
        """Return the Prometheus name without the `_total` of a counter."""
        return self.name.replace(".", "_")

    @property
    def prometheus_name(self) -> str:
        """Return the name of the series on `/metrics`."""
        return f"{self.family}_total" if self.kind is Kind.COUNTER else self.family

    def known_series(self) -> list[tuple[str, ...]]:
        """Return the label values of every series that is known beforehand."""
        return list(product(*self.labels.values()))


_SOURCE: dict[str, tuple[str, ...]] = {"source": ()}
_LANES = tuple(lane.label for lane in Lane)
_LIVE = tuple(sorted(LIVE))
_CLOSED = tuple(status for status in AttemptStatus if status is not AttemptStatus.IN_PROGRESS)
_ROLES = ("consumer", "scheduler", "sender", "retention", "api", "monitor")
_SHORT = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4)
_LONG = (5.0, 10.0, 25.0, 40.0, 100.0, 250.0, 1e3, 5e3, 15e3, 6e4, 3e5, 9e5, 36e5, 144e5, 864e5)

# fmt: off
INSTRUMENTS = (
    Instrument("mail.delivery.accepted", Kind.COUNTER, "deliveries made durable", _SOURCE),
    Instrument("mail.delivery.sent", Kind.COUNTER, "deliveries the relay accepted", _SOURCE),
    Instrument("mail.delivery.suppressed", Kind.COUNTER, "deliveries not sent on purpose", _SOURCE),
    Instrument("mail.delivery.dead_letters", Kind.COUNTER,
               "deliveries that got a dead-letter entry, permanent or exhausted", _SOURCE),
    Instrument("mail.delivery.failed", Kind.COUNTER,
               "deliveries refused for good, expired or poison", _SOURCE),
    Instrument("mail.delivery.uncertain", Kind.COUNTER,
               "deliveries that may have been sent and are not tried again", _SOURCE),
    Instrument("mail.stream_commands.malformed", Kind.COUNTER, "commands refused",
               {"failure_code": tuple(FailureCode)}),
    Instrument("mail.stream_commands.vanished", Kind.COUNTER,
               "entries trimmed by somebody while they were still to be done"),
    Instrument("mail.stream_commands.group_lost", Kind.COUNTER,
               "times the stream or its group was gone and was made anew"),
    Instrument("mail.attempt.outcomes", Kind.COUNTER, "attempts closed", {"status": _CLOSED}),
    Instrument("mail.provider.send.duration_ms", Kind.HISTOGRAM,
               "milliseconds one attempt took", bounds=_SHORT),
    Instrument("mail.retry.lateness_ms", Kind.HISTOGRAM,
               "milliseconds between a retry's time and its run", bounds=_SHORT),
    Instrument("mail.delivery.end_to_end_ms", Kind.HISTOGRAM,
               "milliseconds from accepted to sent", bounds=_LONG),
    Instrument("retries_scheduled", Kind.COUNTER, "retries scheduled"),
    Instrument("retries_executed", Kind.COUNTER, "retries run",
               {"status": ("success", "failed")}),
    Instrument("retries_exhausted", Kind.COUNTER, "deliveries whose retries ran out"),
    Instrument("mail.relay.faults", Kind.COUNTER,
               "faults of the relay or of our account, not of a delivery",
               {"stage": tuple(Stage)}),
    Instrument("mail.lease.lost", Kind.COUNTER, "results dropped because the lease had ended"),
    Instrument("mail.lease.late", Kind.COUNTER,
               "outcomes that became known after their lease had been taken back, and hold"),
    Instrument("mail.journal.adopted", Kind.COUNTER, "journals of dead senders brought in"),
    Instrument("mail.store.lost", Kind.COUNTER, "times a store went away",
               {"store": ("postgres", "redis", "journal")}),
    Instrument("mail.log.lines_lost", Kind.COUNTER, "log lines that could not be written"),
    Instrument("mail.attempt_schedule.depth", Kind.GAUGE, "live deliveries",
               {"status": _LIVE, "lane": _LANES}),
    Instrument("mail.attempt_schedule.oldest_age_ms", Kind.GAUGE,
               "milliseconds the oldest due delivery has waited", {"lane": _LANES}),
    Instrument("mail.stream_commands.lag", Kind.GAUGE, "entries not yet handed to a consumer"),
    Instrument("mail.store.up", Kind.GAUGE, "1 while the store answers within 2 seconds",
               {"store": ("postgres", "redis")}),
    Instrument("mail.roles.live", Kind.GAUGE, "living processes of the role, on all hosts",
               {"service": _ROLES}),
    Instrument("mail.senders.configured", Kind.GAUGE, "sender slots of this host's supervisord"),
    Instrument("mail.journal.files", Kind.GAUGE, "journals of senders, living or dead, here"),
    Instrument("mail.relay.breakers_open", Kind.GAUGE,
               "senders that hold mail back since the relay or our account is at fault"),
    Instrument("mail.pauses.active", Kind.GAUGE, "pauses in force"),
    Instrument("mail.pauses.oldest_age_ms", Kind.GAUGE, "milliseconds the oldest one has lasted"),
    Instrument("mail.lease.overdue", Kind.GAUGE,
               "deliveries whose lease ended more than 30 s ago and that nobody took back"),
    Instrument("mail.database.connections", Kind.GAUGE, "connections to the database server"),
    Instrument("mail.database.connections_max", Kind.GAUGE, "the most it takes"),
    Instrument("mail.database.oldest_transaction_ms", Kind.GAUGE,
               "milliseconds the oldest transaction has kept dead rows from being removed"),
    Instrument("mail.database.dead_rows", Kind.GAUGE, "dead rows in our tables, by its statistics"),
    Instrument("retry_queue_depth", Kind.GAUGE, "deliveries that wait for a retry"),
    Instrument("service_up", Kind.GAUGE, "1 while a process of the role lives",
               {"service": _ROLES}),
)
# fmt: on
BY_NAME = {instrument.name: instrument for instrument in INSTRUMENTS}
