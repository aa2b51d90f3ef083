"""A short run of the fuzzer with every run of the tests, a longer one where time is not short."""

import pytest

from tests.fuzz.smtp import Report, fuzz


def _check(report: Report, sessions: int) -> None:
    """Nothing wrong, nothing left out, and the relay was as hostile as it should be."""
    assert report.problems == []
    assert report.sessions == sessions
    assert len(report.outcomes) == 4
    assert len(report.ends) > 15
    assert report.outcomes["success"] > sessions / 3
    assert report.outcomes["unknown"] > sessions / 50


@pytest.mark.timeout(300)
def test_whatever_a_relay_says_every_session_ends_in_one_classified_outcome() -> None:
    """N-12, short: in time, with nothing raised but what is promised, no dot that was not sent."""
    _check(fuzz(2500, seed=1), 2500)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_longer_run_of_another_seed_holds_too() -> None:
    """N-12: `python -m tests.fuzz.smtp --sessions 1000000` is the same for as long as one likes."""
    _check(fuzz(15_000, seed=7), 15_000)
