"""Ledgers: append-only files of JSON lines, each written whole before what it tells of is done."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

Line = dict[str, Any]


class Ledger:
    """One file; every line gets the monotonic time `t`, the same clock in all processes."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._encode = msgspec.json.Encoder().encode
        self._writing = threading.Lock()
        self._syncing = threading.Lock()
        self._written = 0
        self._synced = 0

    def write(self, *lines: Line) -> int:
        """Append *lines* in one write; when it returns they outlive this process."""
        now = time.monotonic()
        data = b"".join(self._encode({"t": now, **line}) + b"\n" for line in lines)
        with self._writing:
            os.write(self._fd, data)
            self._written += 1
            return self._written

    def commit(self, *lines: Line) -> None:
        """Append *lines*; when it returns they are on the disk.

        Threads that commit at the same time share one fsync.
        """
        mine = self.write(*lines)
        with self._syncing:
            if self._synced >= mine:
                return
            with self._writing:
                written = self._written
            os.fsync(self._fd)
            self._synced = written
