"""Everything that may happen next: one rule a kind of step.

A rule names its subjects, whom it can happen to now, and what it does to one of them; what is left
open is picked from the step's number.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from tests.model.picks import Pick
from tests.model.world import World


class Rule(NamedTuple):
    """A kind of step; *weight* says how often it is tried among the others."""

    name: str
    weight: int
    subjects: Callable[[World], Sequence[Any]]
    act: Callable[[World, Any, Pick], object]


class Step(NamedTuple):
    """One step of a schedule, which is all it takes to do it again."""

    rule: str
    number: int


def rule(
    weight: int, subjects: Callable[[World], Sequence[Any]]
) -> Callable[[Callable[[World, Any, Pick], object]], Rule]:
    """Make a function the rule of its name."""

    def named(act: Callable[[World, Any, Pick], object]) -> Rule:
        return Rule(act.__name__, weight, subjects, act)

    return named


def once(_world: World) -> Sequence[None]:
    """Return the one subject of what happens to nobody in particular."""
    return (None,)
