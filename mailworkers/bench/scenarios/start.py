"""Starting: from the start of a role's process until its first piece of work is done.

The work is there before: an entry, a delivery that is ready, one that is due, one that is old, or a
client that asks again and again. All other roles stand still, the stores are up.
"""

import http.client
import random
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from mailworkers.bench.arrivals import Check, check
from mailworkers.bench.commands import Load, prepare
from mailworkers.bench.figures import Figure
from mailworkers.bench.filling import Rows, fill, filled_ids
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import BenchFailed, Setup, Testbed
from mailworkers.embedded.ports import free_port

_LOOK_EVERY = 0.002  # seconds
_PATIENCE = 30.0
_OLD = -31 * 86_400.0
_MOVED = b"SELECT count(*) FROM deliveries WHERE status = 'deferred'"
_CONNECTIONS = "SELECT count(*) FROM pg_stat_activity WHERE starts_with(application_name, %s)"
_LEFT = b"SELECT count(*) FROM deliveries WHERE finished_at < now() - interval '30 days'"


class _Work(msgspec.Struct, frozen=True):
    """What one role finds when it starts, and whether it has done it."""

    lay: Callable[[], None]
    is_done: Callable[[], bool]


class Starts:
    """The roles' first pieces of work on one testbed."""

    def __init__(self, testbed: Testbed, chance: random.Random) -> None:
        self._testbed = testbed
        self._chance = chance
        self._number = 0
        self._expected: list[str] = []
        self.http = {"MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{free_port()}"}
        self.http["HTTP_PORT"] = str(free_port())
        self.http["PROMETHEUS_PORT"] = str(free_port())
        api = int(self.http["MAIL_INTERNAL_HTTP_ADDR"].rpartition(":")[2])
        monitor = int(self.http["HTTP_PORT"])
        self._works = {
            "consumer": _Work(self._put, lambda: not testbed.entries_waiting()),
            "scheduler": _Work(self._due, lambda: not testbed.ask(_MOVED)),
            "sender": _Work(lambda: None, lambda: testbed.sink.count() >= len(self._expected)),
            "retention": _Work(self._old, lambda: not testbed.ask(_LEFT)),
            "api": _Work(lambda: None, lambda: _answers(api, "/api/v1/internal/stats")),
            "monitor": _Work(lambda: None, lambda: _answers(monitor, "/health")),
        }

    @property
    def roles(self) -> list[str]:
        """Return the roles in an order in which each finds its work."""
        return list(self._works)

    def time(self, role: str) -> tuple[float, int]:
        """Return the ms from the start of *role* until its first work is done; it is stopped.

        Returned as well is how many connections to PostgreSQL it has by then.
        """
        work = self._works[role]
        work.lay()
        started = time.monotonic()
        self._testbed.roles.start(role, 1, environment=self.http)
        while not work.is_done():
            self._testbed.check_alive()
            if time.monotonic() - started > _PATIENCE:
                raise BenchFailed(f"{role} did not begin to work")
            time.sleep(_LOOK_EVERY)
        took = time.monotonic() - started
        connections = self._testbed.conn.execute(_CONNECTIONS, [f"mailworkers {role}-"]).fetchall()
        if role == "sender":
            self._testbed.await_settled()
        self._testbed.roles.stop(role)
        return took * 1000, int(connections[0][0])

    def check(self) -> Check:
        """Compare what was put in with what arrived."""
        return check(self._expected, self._testbed.sink.take())

    def _put(self) -> None:
        batch = prepare(self._testbed.settings.stream, Load(1), self._chance)
        self._expected += batch.message_ids
        self._testbed.put(batch)

    def _due(self) -> None:
        name = self._fill("deferred", -1.0)
        self._expected += filled_ids(self._testbed.conn, name)

    def _old(self) -> None:
        self._fill("sent", _OLD)

    def _fill(self, status: str, first_in: float) -> str:
        self._number += 1
        name = f"start{self._number}-"
        fill(self._testbed.conn, Rows(name, 1, status, first_in=first_in))
        return name


def run(setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Start every role *repeat* times on a testbed of its own.

    Once more before that, which does not count: it writes the bytecode that is missing.
    """
    with Testbed(setup, progress) as testbed:
        testbed.roles.stop()
        starts = Starts(testbed, random.Random())
        with progress.step("starting every role once, which does not count"):
            for role in starts.roles:
                starts.time(role)
        found: dict[str, list[float]] = {role: [] for role in starts.roles}
        connections: dict[str, list[float]] = {role: [] for role in starts.roles}
        for number in range(1, repeat + 1):
            with progress.step(f"run {number}: starting {', '.join(starts.roles)}"):
                for role in starts.roles:
                    took, connected = starts.time(role)
                    found[role].append(took)
                    connections[role].append(connected)
        total = starts.check()
        surroundings = describe(testbed)
    figures: dict[str, Figure | None] = {
        f"{role}_start_to_work_ms": Figure.of(times, digits=0) for role, times in found.items()
    }
    longest = (max(times) for times in zip(*found.values(), strict=True))
    figures["slowest_start_to_work_ms"] = Figure.of(longest, digits=0)
    for role, counts in connections.items():
        figures[f"{role}_connections"] = Figure.of(counts, digits=0)
    return Report("start", figures, total, {"repeat": repeat}, surroundings)


def _answers(port: int, path: str) -> bool:
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        finally:
            connection.close()
    return False
