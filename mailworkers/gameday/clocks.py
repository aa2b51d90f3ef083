"""Processes whose wall clock is wrong, or is set while they run; what counts seconds stays right.

By libfaketime, loaded into one process: no other process of the machine notices.
"""

from collections.abc import Mapping
from pathlib import Path

_LIBRARY = "*/faketime/libfaketime.so.1"


def find_library() -> Path | None:
    """Return libfaketime, None where it is not installed (Debian: faketime)."""
    found = sorted([*Path("/usr/lib").glob(_LIBRARY), *Path("/usr/local/lib").glob(_LIBRARY)])
    return found[0] if found else None


def wrong_clock(library: Path, offset: str) -> dict[str, str]:
    """Return the environment of a process whose clock is off by *offset*, such as `+1h`.

    `@2099-01-01 00:00:00` lets it begin at that time, in its time zone.
    """
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # its name in older versions
    }


class SteppedClock:
    """The clock of one or more processes, which is set while they run."""

    def __init__(self, directory: Path, library: Path) -> None:
        self._file = directory / "faketime"
        self._library = library
        self.set("+0")
        self._file.chmod(0o644)  # servers run as another account

    @property
    def environ(self) -> Mapping[str, str]:
        """Return the environment of a process that follows this clock."""
        followed = {"FAKETIME_TIMESTAMP_FILE": str(self._file), "FAKETIME_NO_CACHE": "1"}
        environ = {**wrong_clock(self._library, ""), **followed}
        del environ["FAKETIME"]
        return environ

    def set(self, offset: str) -> None:
        """Let the clock be off by *offset* from now on; whoever reads it meets all of it."""
        unfinished = self._file.with_suffix(".new")
        unfinished.write_text(f"{offset}\n")
        unfinished.chmod(0o644)
        unfinished.rename(self._file)
