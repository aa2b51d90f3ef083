"""Roles in the test's own process, turned by hand: start, loop and stop are those of a process."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from mailworkers.adapters import process
from mailworkers.adapters.settings import Settings

Build = Callable[[process.Context], process.Role]


@contextmanager
def running(build: Build, settings: Settings) -> Iterator[Callable[[], None]]:
    """Start a role; yield what lets its loop turn once. A store that is away is waited for."""
    context = process.Context("role", settings)
    try:
        role = process.start(context, build)
        assert role is not None
        yield lambda: process.turn(context, role)
        process.close(context, role)
    finally:
        context.telemetry.close()
