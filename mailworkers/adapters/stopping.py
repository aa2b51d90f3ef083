"""What SIGTERM does to a role, and the death of its supervisord.

The first signal says that the process is to end, and from then on it has so much time; the second
one, or the end of that time, ends it where it stands, which is the same as being killed: its leases
end by themselves. That holds whatever the process is stuck in: a thread of its own counts.
"""

import ctypes
import os
import select
import signal
import sys
import threading
import time
from datetime import timedelta

_PR_SET_PDEATHSIG = 1
_ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stop:
    """Whether the process was asked to stop, and how long it may still take."""

    def __init__(self, timeout: timedelta) -> None:
        self._event = threading.Event()
        self._timeout = timeout.total_seconds()

    def install(self) -> None:
        """Listen to SIGTERM, SIGINT and SIGHUP from now on; `nohup` keeps the last one out."""
        told, tell = os.pipe()
        os.set_blocking(tell, False)
        # Written when the signal comes, though no line of Python runs: a name may be looked up.
        signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
        threading.Thread(target=self._count_down, args=(told,), name="stop", daemon=True).start()
        for number in _ENDINGS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, lambda *_: self._event.set())

    def _count_down(self, told: int) -> None:
        """Wait for the first signal; end the process at the second, or when its time is over."""
        _comes_ending(told, None)
        os._exit(1 if _comes_ending(told, self._timeout) else 0)

    @property
    def is_requested(self) -> bool:
        """Whether a signal came."""
        return self._event.is_set()

    def wait(self, span: timedelta) -> bool:
        """Wait *span* or until a signal; return whether one came."""
        return self._event.wait(span.total_seconds())


def _comes_ending(told: int, seconds: float | None) -> bool:
    """Return whether a signal of ours comes within *seconds*; others are somebody else's."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not select.select([told], [], [], left)[0]:
            return False
        if os.read(told, 1)[0] in _ENDINGS:
            return True


def end_with_parent() -> None:
    """Ask the kernel for SIGTERM when supervisord dies: its next set must be alone (F-V01)."""
    if not os.environ.get("SUPERVISOR_ENABLED") or not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent or _is_unread(1):  # it died before we had asked
        sys.exit(0)


def _is_unread(fd: int) -> bool:
    """Whether *fd* is a pipe whose reader is gone: supervisord alone reads what its roles say."""
    pipe = select.poll()
    pipe.register(fd, 0)
    return any(event & select.POLLERR for _, event in pipe.poll(0))
