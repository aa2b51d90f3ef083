"""Ledgers: append-only files of JSON lines, each written whole before what it tells of is done."""

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Line = dict[str, Any]


class Ledger:
    """One file; every line gets the monotonic time `t`, the same clock in all processes."""

    def __init__(self, path: Path, *, synced: bool) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._synced = synced
        self._lock = threading.Lock()

    def write(self, *lines: Line) -> None:
        """Append *lines* in one write; when it returns they survive the process, or the machine."""
        now = time.monotonic()
        data = "".join(json.dumps({"t": now, **line}) + "\n" for line in lines).encode()
        with self._lock:
            os.write(self._fd, data)
            if self._synced:
                os.fsync(self._fd)


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of a ledger."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line)
