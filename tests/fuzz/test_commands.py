"""The short form of `python -m tests.fuzz.commands`, and whether it would notice anything."""

import json
import random

import pytest

from mailworkers.core.refusals import FailureCode, Refusal
from tests.fuzz.commands import ACCEPTED, Found, _check, inputs, main
from tests.fuzz.hostile_commands import LARGE, Maker


@pytest.mark.slow
def test_hostile_commands_are_accepted_or_refused_with_a_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """F-M04, N-13: none raises, none takes long, each refusal has a code of the closed list."""
    assert main(["--inputs", "8000", "--seed", "11"]) == 0

    answer = json.loads(capsys.readouterr().out)
    outcomes = answer["outcomes"]
    assert sum(outcomes.values()) == 8000
    assert set(outcomes) <= {ACCEPTED, *FailureCode} - {FailureCode.POISON}
    assert len(outcomes) >= 8  # what is made is not all wrong in one way
    assert outcomes[ACCEPTED] > 400


def test_the_same_number_makes_the_same_input() -> None:
    """Or a failure could not be looked at again."""
    assert list(inputs(5, 10, 3)) == list(inputs(5, 10, 3))
    assert list(inputs(5, 12, 1)) == list(inputs(5, 10, 3))[2:]


def test_what_is_large_is_as_large_as_may_be() -> None:
    """On both sides of the limit."""
    sizes = [len(Maker(random.Random(seed))._large()) for seed in range(12)]

    assert min(sizes) < LARGE < max(sizes)


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(FailureCode.POISON, "handed out too often"),
        Refusal(FailureCode.INVALID_VALUE, "could not be handled: KeyError in mime.py, line 7"),
        Refusal(FailureCode.INVALID_VALUE, ""),
        Refusal(FailureCode.INVALID_VALUE, "two\nlines"),
        Refusal(FailureCode.INVALID_VALUE, "x" * 501),
    ],
)
def test_a_refusal_that_helps_nobody_is_found(refusal: Refusal) -> None:
    """Our own mistakes are told apart from the producer's."""
    with pytest.raises(Found):
        _check(refusal)
