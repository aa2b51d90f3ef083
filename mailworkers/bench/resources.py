"""Memory and open files of processes, as Linux counts them in /proc."""

import os
import re
from pathlib import Path

import msgspec

_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


class Used(msgspec.Struct, frozen=True):
    """What one process holds: resident memory in MiB, open file descriptors."""

    rss_mib: float
    files: int


def used_by(pid: int) -> Used:
    """Return what the process *pid* holds; nothing when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return Used(0.0, 0)
    found = _RSS.search(status)
    return Used(int(found[1]) / 1024 if found else 0.0, files)
