"""The session log: what is done and what happens, with the time, on the screen and in a file."""

import threading
import time
from datetime import datetime
from pathlib import Path
from typing import IO, Self

_WIDTH = 100


class Session:
    """Lines with the time of day, and the seconds since the fault once there is one.

    They go to *screen*, and to *file* as they come: what was written outlives a crash.
    """

    def __init__(self, screen: IO[str] | None, file: Path | None = None) -> None:
        self._screen = screen
        self._file = file.open("a", encoding="utf-8", buffering=1) if file else None
        self._fault_at: float | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def begin_fault(self) -> None:
        """Count seconds from now on."""
        self._fault_at = time.monotonic()

    def end_fault(self) -> None:
        """Count no seconds any more."""
        self._fault_at = None

    def say(self, text: str) -> None:
        """Write one line of what happens."""
        now = datetime.now().astimezone()
        since = "" if self._fault_at is None else f"{time.monotonic() - self._fault_at:+.0f} s"
        self._write(f"{now:%H:%M:%S} {since:>7}  {text}")

    def tell(self, text: str = "") -> None:
        """Write lines as they are."""
        self._write(text)

    def head(self, text: str) -> None:
        """Write the headline of a drill."""
        self._write(f"\n== {text} {'=' * max(3, _WIDTH - len(text) - 4)}")

    def _write(self, text: str) -> None:
        with self._lock:
            for stream in (self._screen, self._file):
                if stream is not None:
                    stream.write(f"{text}\n")
                    stream.flush()
