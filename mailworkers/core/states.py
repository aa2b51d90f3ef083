"""The statuses of deliveries, recipients and attempts, and every move between them.

`MOVES` is the whole truth about who may change a delivery's status: the headers of the statements
in `sql/` say the same, the matrix test in `tests/store` tries every statement against every status.
"""

import enum
from collections.abc import Iterable

import msgspec


class Status(enum.StrEnum):
    """What a delivery is doing (contract section 3)."""

    SCHEDULED = "scheduled"
    QUEUED = "queued"
    RENDERED = "rendered"
    SENDING = "sending"
    DEFERRED = "deferred"
    SENT = "sent"
    SUPPRESSED = "suppressed"
    FAILED = "failed"
    DEAD_LETTER = "dead_letter"
    UNCERTAIN = "uncertain"
    CANCELLED = "cancelled"


READY = frozenset({Status.QUEUED, Status.RENDERED})
WAITING = frozenset({Status.SCHEDULED, Status.DEFERRED})
UNLEASED = READY | WAITING
LIVE = UNLEASED | {Status.SENDING}
FINAL = frozenset(Status) - LIVE
CANCELLABLE = UNLEASED
REQUEUEABLE = frozenset({Status.FAILED, Status.DEAD_LETTER, Status.UNCERTAIN})


class Move(msgspec.Struct, frozen=True):
    """What one named statement may do to a delivery, and which roles run it."""

    owners: frozenset[str]
    before: frozenset[str]
    after: frozenset[str]


def _move(owners: str, before: str, after: str) -> Move:
    return Move(*(frozenset(words.split(", ")) for words in (owners, before, after)))


# Statement name -> its moves. `(new)` and `(deleted)` are the ends of a row's life.
MOVES = {
    "accept": _move("consumer, api", "(new)", "scheduled, queued, rendered, suppressed"),
    "lease_ready": _move(
        "sender",
        "queued, rendered",
        "sending, sent, suppressed, failed, dead_letter, uncertain, cancelled",
    ),
    "settle": _move(
        "sender",
        "sending",
        "queued, rendered, sent, deferred, failed, dead_letter, suppressed, uncertain, cancelled",
    ),
    "settle_late": _move(
        "sender",
        "scheduled, queued, rendered, deferred, failed, dead_letter, suppressed, uncertain,"
        " cancelled",
        "sent, failed, suppressed",
    ),
    "hand_back": _move(
        "sender",
        "sending",
        "queued, rendered, sent, failed, dead_letter, uncertain, cancelled",
    ),
    "promote_due": _move("scheduler", "scheduled, deferred", "queued, rendered"),
    "reclaim": _move("scheduler", "sending", "deferred, dead_letter, uncertain"),
    "expire_overdue": _move(
        "scheduler",
        "scheduled, queued, rendered, deferred",
        "sent, failed, dead_letter, uncertain",
    ),
    "cancel": _move(
        "api",
        "scheduled, queued, rendered, deferred",
        "sent, failed, dead_letter, uncertain, cancelled",
    ),
    "request_cancel": _move("api", "sending", "sending"),
    "requeue": _move("api", "failed, dead_letter, uncertain", "queued, rendered"),
    "replay": _move("scheduler", "failed, dead_letter", "scheduled"),
    "undo_replay": _move("scheduler", "scheduled", "failed, dead_letter"),
    "delete_deliveries": _move(
        "retention", "sent, suppressed, failed, dead_letter, uncertain, cancelled", "(deleted)"
    ),
}


class RecipientStatus(enum.StrEnum):
    """What became of one recipient; `open` while the delivery lives and this one is still tried."""

    OPEN = "open"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    SUPPRESSED = "suppressed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    UNCERTAIN = "uncertain"
    EXHAUSTED = "exhausted"


class AttemptStatus(enum.StrEnum):
    """How one SMTP transaction ended; `in_progress` until it is closed."""

    IN_PROGRESS = "in_progress"
    PROVIDER_ACCEPTED = "provider_accepted"
    PROVIDER_DEFERRED = "provider_deferred"
    PROVIDER_REJECTED = "provider_rejected"
    TRANSPORT_FAILED = "transport_failed"
    TIMED_OUT = "timed_out"
    ABANDONED = "abandoned"

    @property
    def as_words(self) -> str:
        """Return it as a person writes it."""
        return self.value.replace("_", " ")


class AttemptOutcome(enum.StrEnum):
    """What an attempt means for its delivery; `unknown` when the dot went and no answer came."""

    SUCCESS = "success"
    TRANSIENT_ERROR = "transient_error"
    PERMANENT_ERROR = "permanent_error"
    UNKNOWN = "unknown"


class Failure(enum.StrEnum):
    """Why a delivery ended without being sent (the column `failure`)."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    POISON = "poison"
    EXHAUSTED = "exhausted"
    SMTPUTF8 = "smtputf8"
    LISTED = "listed"
    STUB = "stub"
    POLICY = "policy"
    UNKNOWN = "unknown"


class Lane(enum.IntEnum):
    """The order of service: `auth` first; every eighth lease `bulk` before `normal`."""

    AUTH = 0
    NORMAL = 1
    BULK = 2

    @property
    def label(self) -> str:
        """Return the name producers and operators use."""
        return self.name.lower()


class PayloadMode(enum.StrEnum):
    """Who made the content: the producer (`rendered`) or our templates (`template`)."""

    RENDERED = "rendered"
    TEMPLATE = "template"

    @property
    def ready(self) -> Status:
        """Return the status in which a delivery of this mode waits for a sender."""
        return Status.QUEUED if self is PayloadMode.RENDERED else Status.RENDERED


class Stage(enum.StrEnum):
    """Where in an SMTP session something happened; the banner belongs to `connect`."""

    CONNECT = "connect"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    END_OF_DATA = "end_of_data"


def closing_status(recipients: Iterable[RecipientStatus]) -> Status:
    """Return the final status that closed *recipients* give their delivery (contract section 3)."""
    present = frozenset(recipients)
    for recipient, status in _CLOSING_RULE:
        if recipient in present:
            return status
    return Status.SUPPRESSED


_CLOSING_RULE = (
    (RecipientStatus.UNCERTAIN, Status.UNCERTAIN),
    (RecipientStatus.EXHAUSTED, Status.DEAD_LETTER),
    (RecipientStatus.ACCEPTED, Status.SENT),
    (RecipientStatus.REFUSED, Status.FAILED),
    (RecipientStatus.EXPIRED, Status.FAILED),
    (RecipientStatus.CANCELLED, Status.CANCELLED),
)
