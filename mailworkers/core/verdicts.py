"""The words in which an attempt is judged: results, faults, verdicts. `replies.py` does it."""

import enum

import msgspec

from mailworkers.core.states import AttemptOutcome, AttemptStatus, Failure, Stage
from mailworkers.core.wire import Reply


class Result(enum.StrEnum):
    """What became of one recipient in one attempt."""

    ACCEPTED = "accepted"
    DEFERRED = "deferred"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    POLICY = "policy"
    LATER = "later"  # the transaction was full; costs no attempt


class Fault(enum.StrEnum):
    """Whose fault it is that a recipient was not served."""

    NONE = "none"
    RECIPIENT = "recipient"
    MESSAGE = "message"
    POLICY = "policy"
    RELAY = "relay"
    NETWORK = "network"


class RecipientVerdict(msgspec.Struct, frozen=True):
    """One recipient's result, and the reply that decided it, if one did."""

    result: Result
    reply: Reply | None = None
    fault: Fault = Fault.NONE


class Verdict(msgspec.Struct, frozen=True):
    """What an attempt means.

    `recipients` are in the envelope's order, and empty when none was looked at. `reply` is the one
    to show for the attempt, `reason` what went wrong where no reply answers. `burns_ladder`: the
    attempt counts. `trips_breaker`: it speaks against the relay as a whole. `failure` is set when
    no recipient can be tried again.
    """

    attempt_status: AttemptStatus
    outcome: AttemptOutcome
    fault: Fault
    stage: Stage
    reply: Reply | None
    recipients: tuple[RecipientVerdict, ...]
    burns_ladder: bool
    trips_breaker: bool
    failure: Failure | None = None
    reason: str = ""

    @property
    def in_words(self) -> str:
        """Return why it ended so: the reason, else the relay's words, never nothing."""
        said = self.reply.text if self.reply else ""
        return self.reason or said or self.attempt_status.as_words
