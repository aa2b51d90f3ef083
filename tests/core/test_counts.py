"""Numbers of things read as people write them."""

from mailworkers.core.counts import count, plural


def test_a_number_agrees_with_its_noun() -> None:
    """One is singular; none and many are not, whatever their plural is."""
    assert plural(0, "attempt") == "0 attempts"
    assert plural(1, "attempt") == "1 attempt"
    assert plural(1, "entry", "entries") == "1 entry"
    assert plural(2, "entry", "entries") == "2 entries"


def test_thousands_stand_apart() -> None:
    """A long number is read at a glance."""
    assert count(999) == "999"
    assert plural(1_234_567, "dead letter") == "1,234,567 dead letters"
