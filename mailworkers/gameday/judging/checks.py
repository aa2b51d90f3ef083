"""The list of checks. A check yields a line for each violation, with ids and what was found."""

from collections.abc import Callable, Iterator
from typing import Any

from mailworkers.gameday.judging.part import Part
from mailworkers.gameday.judging.whole import Row, Whole

PartCheck = Callable[[Part], Iterator[str]]
WholeCheck = Callable[[Whole], Iterator[str]]
OF_PARTS: list[tuple[str, PartCheck]] = []
OF_THE_WHOLE: list[tuple[str, WholeCheck]] = []


def check(name: str) -> Callable[[PartCheck], PartCheck]:
    """Register a check of single commands, done for each part; several may share a name."""

    def register(function: PartCheck) -> PartCheck:
        OF_PARTS.append((name, function))
        return function

    return register


def check_whole(name: str) -> Callable[[WholeCheck], WholeCheck]:
    """Register a check of the run as a whole, done once, after the parts."""

    def register(function: WholeCheck) -> WholeCheck:
        OF_THE_WHOLE.append((name, function))
        return function

    return register


def told(attempts: list[Row]) -> list[tuple[Any, ...]]:
    """Return the attempts of a delivery as a report shows them."""
    return [(a.attempt_no, a.status, a.outcome, a.stage, a.reply_code) for a in attempts]
