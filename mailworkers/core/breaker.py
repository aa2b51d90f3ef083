"""The breaker: when the relay, or our account there, is at fault, sending waits and probes.

Closed: work flows. Open: no lease is taken until the probe time. Half open: one delivery is tried;
it closes the breaker or opens it again for longer. Pure: times are seconds of a monotonic clock.
"""

import enum

import msgspec

from mailworkers.core.states import Stage

# Wrong credentials and broken TLS do not get better by trying twice more.
_AT_ONCE = frozenset({Stage.STARTTLS, Stage.AUTH})
FAULTS_TO_OPEN = 3
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 30.0
LONGEST_WAIT = LONGEST_PAUSE * 1.5  # a pause with its spread


class State(enum.StrEnum):
    """What the breaker lets through."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker(msgspec.Struct):
    """One sender's judgement about the relay; `reason` is the latest fault's, "" when well."""

    faults: int = 0
    openings: int = 0
    probe_at: float | None = None
    reason: str = ""

    def state(self, now: float) -> State:
        """Return what may pass at *now*."""
        if self.probe_at is None:
            return State.CLOSED
        return State.OPEN if now < self.probe_at else State.HALF_OPEN

    def seconds_to_probe(self, now: float) -> float:
        """Return how long it stays open, 0 when something may pass."""
        return 0.0 if self.probe_at is None else max(0.0, self.probe_at - now)

    def note_fault(self, stage: Stage, reason: str, now: float, chance: float) -> bool:
        """Take in a fault; return whether the breaker opened by it, being closed before.

        *chance* in [0, 1) spreads the probes of many senders over half to one and a half pauses.
        """
        was_closed = self.probe_at is None
        self.faults += 1
        self.reason = reason
        if was_closed and stage not in _AT_ONCE and self.faults < FAULTS_TO_OPEN:
            return False
        pause = min(FIRST_PAUSE * 2 ** min(self.openings, 16), LONGEST_PAUSE)
        self.openings += 1
        self.probe_at = now + pause * (0.5 + chance)
        return was_closed

    def note_success(self) -> bool:
        """Take in that the relay served us; return whether the breaker closes by it."""
        was_open = self.probe_at is not None
        self.faults = self.openings = 0
        self.probe_at = None
        self.reason = ""
        return was_open
