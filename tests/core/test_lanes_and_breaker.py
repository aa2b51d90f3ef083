"""Whose turn it is, how much to lease, and when to leave a relay alone."""

from itertools import chain

from mailworkers.core.breaker import FAULTS_TO_OPEN, LONGEST_PAUSE, Breaker, State
from mailworkers.core.lanes import MOST, LaneOrder, Pace
from mailworkers.core.states import Lane, Stage


def test_auth_mail_is_always_first_and_bulk_gets_every_eighth_turn() -> None:
    """Nobody starves: of eight leases one looks at bulk before normal."""
    order = LaneOrder()

    turns = [list(chain(*(lanes for lanes, _ in order.next()))) for _ in range(16)]

    assert all(turn[0] is Lane.AUTH for turn in turns)
    assert sum(turn[1] is Lane.BULK for turn in turns) == 2


def test_a_parked_lane_leases_one_at_a_time() -> None:
    """A sender that dies leaves at most one delivery of it in doubt."""
    order = LaneOrder(frozenset({Lane.NORMAL}))

    assert list(order.next()) == [
        ((Lane.AUTH,), MOST),
        ((Lane.NORMAL,), 1),
        ((Lane.BULK,), MOST),
    ]


def test_a_slow_relay_gets_small_leases_and_a_fast_one_large() -> None:
    """What was sent in the last 50 ms, never less than one, never more than the most."""
    pace = Pace()
    limits = [pace.limit]
    for count, seconds in ((1, 0.001), (50, 0.025), (1, 3.0), (200, 0.001), (0, 1.0)):
        pace.note(count, seconds, Lane.NORMAL)
        limits.append(pace.limit)

    assert limits == [1, 50, 100, 1, MOST, MOST]


def test_bulk_is_leased_for_half_the_time() -> None:
    """A login code waits for what was leased before it came."""
    pace = Pace()
    pace.note(100, 0.05, Lane.BULK)
    after_bulk = pace.limit
    pace.note(100, 0.05, Lane.NORMAL)

    assert (after_bulk, pace.limit) == (50, 100)


def test_three_faults_in_a_row_open_the_breaker() -> None:
    """One or two may be bad luck; a success in between begins anew."""
    breaker = Breaker()
    breaker.note_fault(Stage.CONNECT, "refused", 0.0, 0.5)
    breaker.note_fault(Stage.CONNECT, "refused", 0.0, 0.5)
    breaker.note_success()

    opened = [breaker.note_fault(Stage.CONNECT, "refused", 0.0, 0.5) for _ in range(FAULTS_TO_OPEN)]

    assert opened == [False, False, True]
    assert breaker.state(0.0) is State.OPEN


def test_wrong_credentials_open_it_at_once() -> None:
    """They do not get better by trying twice more."""
    breaker = Breaker()

    assert breaker.note_fault(Stage.AUTH, "535", 0.0, 0.5)


def test_a_probe_closes_it_or_opens_it_for_longer() -> None:
    """Pauses double up to a bound; chance spreads the probes of many senders."""
    breaker = Breaker()
    breaker.note_fault(Stage.AUTH, "535", 0.0, 0.5)
    pauses = [breaker.seconds_to_probe(0.0)]
    for _ in range(6):
        breaker.note_fault(Stage.AUTH, "535", 0.0, 0.5)
        pauses.append(breaker.seconds_to_probe(0.0))

    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, LONGEST_PAUSE, LONGEST_PAUSE]
    assert breaker.state(LONGEST_PAUSE) is State.HALF_OPEN
    assert breaker.note_success()
    assert breaker.state(0.0) is State.CLOSED


def test_probes_are_spread() -> None:
    """Half a pause to one and a half."""
    early, late = Breaker(), Breaker()
    early.note_fault(Stage.AUTH, "535", 0.0, 0.0)
    late.note_fault(Stage.AUTH, "535", 0.0, 1.0)

    assert (early.seconds_to_probe(0.0), late.seconds_to_probe(0.0)) == (0.5, 1.5)
