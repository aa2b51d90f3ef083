"""The list of checks. A check yields a line for each violation, with ids and what was found."""

from collections.abc import Callable, Iterator
from typing import Any

from tests.crash.chaos.evidence import Evidence, Row

Check = Callable[[Evidence], Iterator[str]]
CHECKS: dict[str, Check] = {}


def check(name: str) -> Callable[[Check], Check]:
    """Register a check under its name."""

    def register(function: Check) -> Check:
        CHECKS[name] = function
        return function

    return register


def told(attempts: list[Row]) -> list[tuple[Any, ...]]:
    """Return the attempts of a delivery as a report shows them."""
    return [(a.attempt_no, a.status, a.outcome, a.stage, a.reply_code) for a in attempts]
