"""Retry policies: waits by attempt, jitter after the cap, and spans of time as they are written."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailworkers.core.retry import exponential, ladder, parse_ladder, parse_span

SECOND = timedelta(seconds=1)


def test_a_ladder_waits_its_delays_in_turn_and_is_exhausted_after_the_last() -> None:
    policy = ladder("ladder", (5 * SECOND, 30 * SECOND), 0.0)

    waits = [policy.next_delay(attempt, 0.5) for attempt in (1, 2, 3)]

    assert waits == [5 * SECOND, 30 * SECOND, None]
    assert policy.max_attempts == 3


def test_the_exponential_policy_doubles_up_to_its_cap_for_its_attempts() -> None:
    policy = exponential(base=5 * SECOND, cap=20 * SECOND, attempts=5)

    assert policy.delays == (5 * SECOND, 10 * SECOND, 20 * SECOND, 20 * SECOND)
    assert policy.next_delay(5, 0.5) is None
    assert policy.max_attempts == 5


def test_the_exponential_policy_by_default_has_eight_attempts_from_five_seconds() -> None:
    policy = exponential()

    assert policy.max_attempts == 8
    assert policy.delays[0] == 5 * SECOND
    assert policy.delays[-1] == 320 * SECOND


def test_an_exponential_policy_of_thousands_of_attempts_does_not_overflow() -> None:
    assert exponential(attempts=5000).delays[-1] == timedelta(hours=1)


def test_jitter_is_symmetric_and_applies_to_the_capped_delay_too() -> None:
    policy = exponential(base=8 * SECOND, cap=8 * SECOND, attempts=9, jitter=0.25)

    assert policy.next_delay(8, 0.0) == 6 * SECOND
    assert policy.next_delay(8, 0.5) == 8 * SECOND
    assert policy.next_delay(8, 0.999999) == pytest.approx(10 * SECOND, abs=SECOND / 1000)


@given(chance=st.floats(0, 1, exclude_max=True), jitter=st.floats(0, 0.99))
def test_a_wait_never_leaves_its_jitter_and_is_never_negative(chance: float, jitter: float) -> None:
    wait = ladder("ladder", (100 * SECOND,), jitter).next_delay(1, chance)

    assert wait is not None
    assert abs(wait - 100 * SECOND) <= 100 * SECOND * jitter + SECOND / 1000
    assert wait >= timedelta(0)


def test_a_policy_cannot_be_asked_before_the_first_attempt() -> None:
    with pytest.raises(ValueError, match="no attempt"):
        ladder("ladder", (SECOND,)).next_delay(0, 0.5)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("150s", timedelta(seconds=150)),
        ("2m", timedelta(minutes=2)),
        ("7d", timedelta(days=7)),
        ("250ms", timedelta(milliseconds=250)),
        ("1h", timedelta(hours=1)),
        ("1.5h", timedelta(minutes=90)),
        ("1h30m", timedelta(minutes=90)),
        ("0s", timedelta(0)),
    ],
)
def test_a_span_is_a_number_and_a_unit(text: str, span: timedelta) -> None:
    assert parse_span(text) == span


@pytest.mark.parametrize(
    "text", ["", "15", "s", "-5s", "5 s", "5S", "1w", "5s ", "1e3s", "٥s", "5s,6s", "9" * 400 + "d"]
)
def test_what_is_no_span_is_refused_with_a_message_that_shows_it(text: str) -> None:
    with pytest.raises(ValueError, match="span of time"):
        parse_span(text)


def test_a_ladder_is_written_as_spans_with_commas() -> None:
    assert parse_ladder("5s, 30s,2m") == (5 * SECOND, 30 * SECOND, 120 * SECOND)
    assert parse_ladder("") == ()


@pytest.mark.parametrize("text", ["5s,", ",", "5s;30s", "5s,x"])
def test_a_ladder_with_a_hole_in_it_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="span of time"):
        parse_ladder(text)


@pytest.mark.parametrize("jitter", [-0.1, 1.0, float("nan")])
def test_a_jitter_that_could_make_a_wait_zero_or_negative_is_refused(jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        ladder("ladder", (SECOND,), jitter)
