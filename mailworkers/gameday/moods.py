"""The moods of the sink: which misbehaviour is armed, what was done, who is connected."""

import contextlib
import socket
import struct
import threading
from collections import Counter

from mailworkers.gameday.ledger import Ledger

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close sends a reset


class Moods:
    """Which faults are armed, how often each was done, and who is connected."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._armed: Counter[str] = Counter()
        self._done: Counter[str] = Counter()
        self._greylisted: dict[str, int] = {}
        self._refused_once: set[str] = set()
        self._numbers = 0
        self._speaks = threading.Event()
        self._speaks.set()
        self.sessions: dict[int, socket.socket] = {}

    def arm(self, mode: str, times: int) -> None:
        """Do *mode* at its next *times* opportunities."""
        with self._lock:
            self._armed[mode] += times

    def calm(self) -> None:
        """Forget everything armed."""
        with self._lock:
            self._armed.clear()

    def fall_silent(self, *, is_silent: bool) -> None:
        """Answer nobody from now on, whoever is connected or comes; or answer again."""
        (self._speaks.clear if is_silent else self._speaks.set)()

    @property
    def is_silent(self) -> bool:
        """Whether nobody is answered now."""
        return not self._speaks.is_set()

    def wait_for_voice(self) -> None:
        """Return when whoever is connected may be answered."""
        self._speaks.wait()

    def take(self, mode: str) -> bool:
        """Whether *mode* is to be done now; written down before it is."""
        with self._lock:
            if self._armed[mode] <= 0:
                return False
            self._armed[mode] -= 1
            self._done[mode] += 1
        self._ledger.write({"kind": "fault", "mode": mode})
        return True

    def done(self) -> dict[str, int]:
        """Return how often each mode was done."""
        with self._lock:
            return dict(self._done)

    def is_greylisted(self, address: str) -> bool:
        """Whether *address* is told to come back: twice, then never again."""
        with self._lock:
            count = self._greylisted[address] = self._greylisted.get(address, 0) + 1
            return count <= 2

    def is_refused_once(self, address: str) -> bool:
        """Whether *address* is refused: the first time it is seen."""
        with self._lock:
            is_new = address not in self._refused_once
            self._refused_once.add(address)
            return is_new

    @property
    def count(self) -> int:
        """How many messages were accepted."""
        return self._numbers

    def number(self) -> int:
        """Return the next number of an accepted message."""
        with self._lock:
            self._numbers += 1
            return self._numbers

    def cut(self) -> int:
        """Reset every session; return how many there were."""
        with self._lock:
            sessions = list(self.sessions.values())
        for client in sessions:
            with contextlib.suppress(OSError):
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                client.shutdown(socket.SHUT_RD)
        return len(sessions)
