"""Wrong clocks for tests, which say when libfaketime is missing."""

from collections.abc import Mapping
from pathlib import Path

from mailworkers.gameday import clocks
from tests.crash.stores.own import lack


def _library() -> Path:
    return clocks.find_library() or lack("libfaketime: install the package faketime")


def wrong_clock(offset: str) -> Mapping[str, str]:
    """Return the environment of a process whose clock is off by *offset*, such as `+1h`."""
    return clocks.wrong_clock(_library(), offset)


class SteppedClock(clocks.SteppedClock):
    """The clock of one or more processes, which a test sets while they run."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, _library())
