"""When to try again: retry policies, and the spans of time operators write."""

import re
from datetime import timedelta

import msgspec

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)", re.ASCII)
_SPAN = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


class RetryPolicy(msgspec.Struct, frozen=True):
    """A named list of waits: `delays[0]` follows the first attempt; after the last one it is over.

    `jitter` is the share by which a wait may be longer or shorter: 0.25 spreads 4 s over 3..5 s.
    It comes after any cap, or every delivery at the ceiling would come back in the same second.
    """

    name: str
    delays: tuple[timedelta, ...]
    jitter: float = 0.0

    @property
    def max_attempts(self) -> int:
        """Return how many attempts one cycle has."""
        return len(self.delays) + 1

    def next_delay(self, cycle_attempt: int, chance: float) -> timedelta | None:
        """Return the wait after *cycle_attempt* attempts (>= 1), None when the policy is exhausted.

        *chance* in [0, 1) chooses the place within the jitter; 0.5 is the plain wait.
        """
        if cycle_attempt < 1:
            raise ValueError(f"cycle_attempt is {cycle_attempt}: no attempt was made yet")
        if cycle_attempt > len(self.delays):
            return None
        return self.delays[cycle_attempt - 1] * (1 + self.jitter * (2 * chance - 1))


def ladder(name: str, delays: tuple[timedelta, ...], jitter: float = 0.0) -> RetryPolicy:
    """Return the policy that waits *delays* one after the other."""
    if not 0 <= jitter < 1:
        raise ValueError(f"jitter {jitter} is not in [0, 1)")
    if any(delay < timedelta(0) for delay in delays):
        raise ValueError("a wait cannot be negative")
    return RetryPolicy(name, delays, jitter)


def exponential(
    name: str = "exponential",
    *,
    base: timedelta = timedelta(seconds=5),
    factor: float = 2.0,
    cap: timedelta = timedelta(hours=1),
    attempts: int = 8,
    jitter: float = 0.0,
) -> RetryPolicy:
    """Return *attempts* attempts whose waits grow by *factor* from *base* to *cap*."""
    if attempts < 1 or factor < 1:
        raise ValueError("an exponential policy needs attempts >= 1 and factor >= 1")
    delays: list[timedelta] = []
    while len(delays) < attempts - 1:
        grown = delays[-1] * factor if delays else base
        delays.append(min(grown, cap))
    return ladder(name, tuple(delays), jitter)


def parse_span(text: str) -> timedelta:
    """Return the span written as `150s`, `2m`, `7d`, `250ms`, `1.5h` or `1h30m`.

    Raises ValueError, fit to show to operators, on anything else: a bare number has no unit.
    """
    if not _SPAN.fullmatch(text):
        raise ValueError(f"{text!r} is not a span of time: write a number and ms, s, m, h or d")
    try:
        return sum(
            (float(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta(0)
        )
    except OverflowError:
        raise ValueError(f"{text!r} is too long a span of time") from None


def parse_ladder(text: str) -> tuple[timedelta, ...]:
    """Return the waits written as `5s,30s,2m`; an empty text is a ladder without retries."""
    return tuple(parse_span(part.strip()) for part in text.split(",")) if text.strip() else ()
