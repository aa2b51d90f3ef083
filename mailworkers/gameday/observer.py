"""Looks on while a run goes: what each process uses, how much waits, how much has arrived."""

import contextlib
import os
import threading
from pathlib import Path

import psycopg

from mailworkers.core.errors import MailworkersError
from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.service import Service

_EVERY = 5.0  # seconds
_READY = "SELECT count(*) FROM mail.deliveries WHERE status IN ('queued', 'rendered')"
_CONNECTIONS = (
    "SELECT application_name, count(*) FROM pg_stat_activity"
    " WHERE application_name LIKE 'mailworkers %' GROUP BY 1"
)


class Observer:
    """A thread that writes samples to a ledger until `stop`."""

    def __init__(self, service: Service, ledger: Ledger) -> None:
        self.backlog: list[int] = []  # deliveries ready for a sender, one figure a look
        self._service = service
        self._ledger = ledger
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    @property
    def ready(self) -> int:
        """How many deliveries waited for a sender at the last look."""
        return self.backlog[-1] if self.backlog else 0

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(_EVERY):
            with contextlib.suppress(OSError, psycopg.Error, MailworkersError):
                self._look()

    def _look(self) -> None:
        with self._service.connect() as conn:
            ready = conn.execute(_READY).fetchone()
            connections = dict(conn.execute(_CONNECTIONS.encode()).fetchall())
        self.backlog.append(int(ready[0]) if ready else 0)
        samples = [
            {
                "program": name,
                "pid": pid,
                **use,
                "connections": connections.get(f"mailworkers {name}", 0),
            }
            for name, pid in self._service.pids().items()
            if name != "listener" and (use := usage(pid))
        ]
        self._ledger.write({"ready": self.backlog[-1], "program": ""}, *samples)


def usage(pid: int) -> dict[str, float]:
    """Return resident memory in MiB, open files and threads of a process; empty when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fds = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return {}
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in fields:
        return {}
    rss = int(fields["VmRSS"].split()[0]) / 1024
    return {"rss_mb": round(rss, 1), "fds": fds, "threads": int(fields["Threads"])}


def tenths(figures: list[int]) -> list[int]:
    """Return the greatest figure of each tenth of the time: whether something grows."""
    size = max(1, -(-len(figures) // 10))
    return [max(figures[at : at + size]) for at in range(0, len(figures), size)]
