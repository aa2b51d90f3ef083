"""Watermarks: what is not read again, and what is swept up all the same."""

from datetime import UTC, datetime, timedelta

import pytest

from mailworkers.core.watermarks import DueSince, Reading, ReadySince, Sweeps

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


def _read(
    ready: ReadySince, at: float, *, limit: int = 9, took: float = 0.0, **ready_at: datetime
) -> None:
    """Lease at *at* what became ready last of each source in lane 1, in turn from the first."""
    last = {(1, source): time for source, time in ready_at.items()}
    is_full = len(last) >= limit
    ready.note(Reading((1, 2), "", ready.since(at - took), is_full, at - took, at), last)


def test_a_pair_is_read_from_a_little_before_the_last_one_leased() -> None:
    """A delivery has its time before its transaction ends: others overtake it."""
    ready = ReadySince()
    assert ready.since(0.0) == {}
    _read(ready, 0.0, shop=_NOON - 2 * _SECOND)
    _read(ready, 0.5, shop=_NOON)

    assert ready.since(1.0) == {(1, "shop"): _NOON - _SECOND}


def test_every_ten_seconds_a_pair_is_read_whole() -> None:
    """For those that were overtaken by more."""
    ready = ReadySince()
    _read(ready, 0.0, shop=_NOON)

    assert (1, "shop") in ready.since(9.9)
    assert ready.since(10.0) == {}
    _read(ready, 10.0)
    assert (1, "shop") in ready.since(19.9)


def test_where_nothing_is_found_pairs_are_read_whole_every_two_seconds() -> None:
    """An idle sender has the time."""
    ready = ReadySince()
    _read(ready, 0.0, shop=_NOON)

    assert ready.since(1.9, is_at_rest=True) != {}
    assert ready.since(2.0, is_at_rest=True) == {}


def test_a_lease_sweeps_only_the_pairs_it_came_to() -> None:
    """The others have their turn when it comes, not ten seconds later again."""
    ready = ReadySince()
    _read(ready, 0.0, alpha=_NOON, beta=_NOON, gamma=_NOON)
    _read(ready, 10.0, limit=1, beta=_NOON)

    assert set(ready.since(11.0)) == {(1, "alpha"), (1, "beta")}


def test_sweeps_that_take_long_become_rare_together() -> None:
    """Under a snapshot that is held for hours; one alone that took long did not read much."""
    ready = ReadySince()
    _read(ready, 0.0, alpha=_NOON, beta=_NOON)
    _read(ready, 20.0, took=1.0)
    assert ready.since(30.0) == {}
    _read(ready, 40.0, took=1.0)

    assert set(ready.since(139.9)) == {(1, "alpha"), (1, "beta")}
    assert ready.since(140.0) == {}


def test_what_was_due_before_the_last_pass_began_is_not_read_again() -> None:
    """Only by the time asked before it: what became due during the pass may not have been seen."""
    due = DueSince()
    assert due.since is None
    due.note_done(_NOON)
    assert due.since is None
    due.note_done(_NOON + 20 * _SECOND)

    assert due.since == _NOON - 5 * _SECOND
