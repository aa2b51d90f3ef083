"""The protocol under random schedules: short walks here, as many as one likes by `-m tests.model`.

Hypothesis walks the same rules, and shrinks what it finds by itself.
"""

import secrets
from collections import Counter
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from mailworkers.core.states import FINAL
from tests.model.__main__ import number_of, walk
from tests.model.book import RULES, perform
from tests.model.invariants import check
from tests.model.quiescence import quiesce
from tests.model.rules import Step
from tests.model.walks import START, draw, run
from tests.model.world import PARKED, World


def test_every_invariant_holds_after_every_step_of_random_schedules() -> None:
    """And the schedules were worth walking: every rule happened, every end was reached."""
    walked = walk(secrets.randbelow(1_000_000), 0, 1000)

    assert walked.failure is None, walked.failure
    assert [name for name in RULES if not walked.seen[name]] == []
    assert [end for end in FINAL if not walked.seen[f"ended {end}"]] == []
    assert walked.seen["copies too many"]


def test_a_schedule_can_be_walked_again_from_its_seed() -> None:
    """The same number makes the same schedule, and that the same history."""
    first, second = Counter[str](), Counter[str]()

    run(draw(number_of(7, 1)), seen=first)
    run(draw(number_of(7, 1)), seen=second)

    assert first == second
    assert draw(number_of(7, 1)) != draw(number_of(7, 2))


class _Protocol(RuleBasedStateMachine):
    """The world as Hypothesis drives it; `RULES` are added below."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(PARKED[0])

    @initialize(parked=st.integers(0, len(PARKED) - 1))
    def begin(self, parked: int) -> None:
        self.world = World(PARKED[parked])
        for step in START:
            perform(self.world, step)

    def teardown(self) -> None:
        quiesce(self.world)


def _as_hypothesis_has_it(name: str) -> Any:
    """Return the rule *name* as a step of a state machine."""

    def step(self: _Protocol, number: int) -> None:
        perform(self.world, Step(name, number))
        check(self.world)

    step.__name__ = name
    is_possible = precondition(lambda self: bool(RULES[name].subjects(self.world)))
    return is_possible(rule(number=st.integers(0, (1 << 40) - 1))(step))


_steps = {name: _as_hypothesis_has_it(name) for name in RULES}
Protocol: Any = type("Protocol", (_Protocol,), _steps)


def test_every_invariant_holds_whatever_hypothesis_thinks_of() -> None:
    """It prefers what is rare and small, where our own walks prefer what is likely."""
    run_state_machine_as_test(Protocol, settings=_of(examples=100, steps=50))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_invariant_holds_however_long_hypothesis_thinks() -> None:
    """The same for longer."""
    run_state_machine_as_test(Protocol, settings=_of(examples=500, steps=80))


def _of(*, examples: int, steps: int) -> settings:
    return settings(max_examples=examples, stateful_step_count=steps, deadline=None)
