"""Waiting for something that another process does, with a deadline instead of a sleep."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(predicate: Callable[[], T], within: float = 5.0) -> T:
    """Return the first true value of *predicate*, asked again and again for *within* seconds.

    An `AssertionError` from *predicate* counts as "not yet"; the last one is raised when late.
    """
    deadline = time.monotonic() + within
    while True:
        late = time.monotonic() > deadline
        try:
            if value := predicate():
                return value
        except AssertionError:
            if late:
                raise
        if late:
            raise AssertionError(f"not true within {within} s")
        time.sleep(0.01)
