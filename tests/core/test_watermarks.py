"""Watermarks: what is not read again, and what is swept up all the same."""

from datetime import UTC, datetime, timedelta

import pytest

from mailworkers.core.watermarks import DueSince, ReadySince, Sweeps

_NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def test_the_first_sweep_is_due_at_once() -> None:
    """Who was just started knows nothing."""
    assert Sweeps(10).is_due(0.0)


@pytest.mark.parametrize(("after", "due"), [(9.9, False), (10.0, True), (50.0, True)])
def test_sweeps_come_at_their_interval(after: float, due: bool) -> None:
    """Counted from the end of the last."""
    sweeps = Sweeps(10)
    sweeps.note(100.0, 100.1)

    assert sweeps.is_due(100.1 + after) is due


def test_a_long_sweep_is_followed_by_a_longer_rest() -> None:
    """Under a snapshot that is held for hours, a sweep may take seconds: it is not all there is."""
    sweeps = Sweeps(10)
    sweeps.note(80.0, 83.0)
    sweeps.note(100.0, 102.0)

    assert not sweeps.is_due(201.9)
    assert sweeps.is_due(202.0)


def test_one_sweep_that_hung_is_not_followed_by_a_long_rest() -> None:
    """It waited for a disk or a standby: that is when deliveries are overtaken."""
    sweeps = Sweeps(10)
    sweeps.note(60.0, 60.1)
    sweeps.note(70.0, 100.0)

    assert sweeps.is_due(110.0)


def test_a_pair_is_read_from_a_little_before_the_last_one_leased() -> None:
    """A delivery has its time before its transaction ends: others overtake it."""
    ready = ReadySince()
    ready.sweeps.note(0.0, 0.0)
    ready.note((1, "shop"), _NOON - 2 * _SECOND)
    ready.note((1, "shop"), _NOON)

    assert ready.since(1.0) == {(1, "shop"): _NOON - _SECOND}


def test_every_ten_seconds_all_pairs_are_read_whole() -> None:
    """For those that were overtaken by more."""
    ready = ReadySince()
    ready.sweeps.note(0.0, 0.0)
    ready.note((1, "shop"), _NOON)

    assert ready.since(9.9)
    assert ready.since(10.0) == {}


def test_where_nothing_is_found_all_is_read_every_two_seconds() -> None:
    """An idle sender has the time."""
    ready = ReadySince()
    ready.sweeps.note(0.0, 0.0)
    assert not ready.is_sweep_due_at_rest(3.0)  # all was read from the beginning anyway
    ready.note((1, "shop"), _NOON)

    assert not ready.is_sweep_due_at_rest(1.9)
    assert ready.is_sweep_due_at_rest(2.0)


def test_what_was_due_before_the_last_pass_began_is_not_read_again() -> None:
    """Only by the time asked before it: what became due during the pass may not have been seen."""
    due = DueSince()
    assert due.since is None
    due.note_done(_NOON)
    assert due.since is None
    due.note_done(_NOON + 20 * _SECOND)

    assert due.since == _NOON - 5 * _SECOND
