"""Signals to processes of roles, sent so that a number that was given anew hits nobody else."""

import contextlib
import math
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def opened(pid: int) -> Iterator[int]:
    """Yield a descriptor of the role's process *pid*; ProcessLookupError when it is none.

    The process id may be another's a moment later, the descriptor never is.
    """
    handle = os.pidfd_open(pid)
    try:
        if b"mailworkers" not in _command_line(pid):
            raise ProcessLookupError(pid)
        yield handle
    finally:
        os.close(handle)


def end(handle: int, number: signal.Signals, within: float) -> float:
    """Send the signal *number*; return the seconds until the end, infinite when there is none."""
    told = time.monotonic()
    signal.pidfd_send_signal(handle, number)
    if not select.select([handle], [], [], within)[0]:
        return math.inf
    return round(time.monotonic() - told, 3)


def _command_line(pid: int) -> bytes:
    """Return the arguments of a process, empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
