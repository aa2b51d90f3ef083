"""Which processes have said in their logs that they are at work; each log is read once."""

import os
import re
from pathlib import Path

_STARTED = re.compile(rb'"role started"[^\n]*"pid":(\d+)')


class Starts:
    """Follows the logs that supervisord writes, past their rotation."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir
        self._read: dict[str, tuple[int, int]] = {}  # by program: inode, and how far it was read
        self._started: dict[str, int] = {}

    def has_started(self, program: str, pid: int) -> bool:
        """Whether the latest process of *program* to say so is *pid*.

        Not for two threads with the same program.
        """
        for data in self._news(program):
            if found := _STARTED.findall(data):
                self._started[program] = int(found[-1])
        return self._started.get(program) == pid

    def _news(self, program: str) -> list[bytes]:
        """Return what was written since the last look, whole lines, oldest first."""
        log = self._log_dir / f"{program}.log"
        inode, offset = self._read.get(program, (0, 0))
        try:
            now = log.stat().st_ino
        except OSError:
            return []
        news = []
        if inode not in (0, now):  # rotated
            before = log.with_name(f"{log.name}.1")
            if before.exists() and before.stat().st_ino == inode:
                news.append(_rest(before, offset)[0])
            offset = 0
        data, offset = _rest(log, offset)
        self._read[program] = (now, offset)
        return [*news, data]


def _rest(log: Path, offset: int) -> tuple[bytes, int]:
    """Return the whole lines of *log* from *offset* on, and where they end."""
    with log.open("rb") as file:
        file.seek(offset)
        data = file.read(os.fstat(file.fileno()).st_size - offset)
    whole = data[: data.rfind(b"\n") + 1]
    return whole, offset + len(whole)
