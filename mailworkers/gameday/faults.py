"""Doing faults: each is written down before it is done, and afterwards whether it took effect.

One thread for each target, so that faults on different targets overlap and those on one do not.
Times are those of the load, which slows down when the service falls behind.
A fault waits for its victim to be there: to run, to be connected, to be talking.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterable
from typing import Any

import psycopg
import redis

from mailworkers.core.errors import MailworkersError
from mailworkers.gameday.hurting import end, opened
from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.plan import Fault
from mailworkers.gameday.service import SHUTDOWN_TIMEOUT, Service
from mailworkers.gameday.store_faults import PATIENCE, PAUSE, StoreFaults, until_cut
from mailworkers.gameday.supervisor_faults import SupervisorFaults

_MOOD = 0.3  # seconds the relay keeps a mood after it first showed
_AT_LOGIN = {"connect_reset", "banner_421", "login_535"}
_LONGEST_STOP = SHUTDOWN_TIMEOUT + 10


class Faults:
    """The faults of one run. `finish` ends them all and heals."""

    def __init__(self, service: Service, ledger: Ledger, plan: Iterable[Fault]) -> None:
        self._service = service
        self._stores = StoreFaults(service)
        self._supervisor = SupervisorFaults(service)
        self._ledger = ledger
        self._planned = 0
        self._finished: list[int] = []  # numbers of those done
        self._now = 0.0  # seconds of the plan that are done
        self._over = threading.Event()
        self._done: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        self._told: set[int] = set()  # processes that were told to end
        self._next: dict[str, float] = {}  # by target: the time of the fault that is not done yet
        by_target: dict[str, list[Fault]] = {}
        for fault in plan:
            self._planned += 1
            by_target.setdefault(fault.target, []).append(fault)
        for target, faults in by_target.items():
            self._next[target] = faults[0].at
            done = threading.Event()
            self._done.append(done)
            self._threads.append(
                threading.Thread(target=self._work, args=(faults, done), daemon=True)
            )

    def start(self) -> None:
        """Begin now."""
        for thread in self._threads:
            thread.start()

    def advance(self, seconds: float) -> None:
        """Say that so many seconds of the plan are done: the load tells the time."""
        self._now = seconds

    @property
    def told(self) -> str:
        """Return how far the faults are, in words."""
        return (
            f"{len(self._finished)} of {self._planned} faults done, {self._now:.0f} s of the plan"
        )

    @property
    def done_until(self) -> float:
        """Return the second of the plan before which every fault is done."""
        return min(self._next.values(), default=math.inf)

    def finish(self) -> None:
        """Return when every fault was done and undone, every store is up, the relay is calm."""
        for done in self._done:
            done.wait()
        self._see_them_end()
        self._service.sink.order(calm=True)
        self._ledger.commit({"kind": "healed"})

    def _see_them_end(self) -> None:
        """Wait for the processes that were told to end: a SIGTERM takes its time.

        One that does not end at all is left for the judge.
        """
        deadline = time.monotonic() + _LONGEST_STOP
        while any(map(_is_alive, self._told)) and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.2)  # supervisord writes of an end right after it has seen it

    def leave(self) -> None:
        """Let the threads end; those that started servers must outlive them."""
        self._over.set()

    def _work(self, faults: list[Fault], done: threading.Event) -> None:
        """Do the faults of one target."""
        try:
            for fault in faults:
                self._next[fault.target] = fault.at
                while self._now < fault.at:
                    time.sleep(PAUSE)
                self._do(fault)
        finally:
            self._next[faults[0].target] = math.inf
            done.set()
        # A server dies with the thread that started it (PDEATHSIG).
        self._over.wait()

    def _do(self, fault: Fault) -> None:
        what = {"number": fault.number, "target": fault.target, "action": fault.action}
        self._ledger.commit({"kind": "fault", "planned": fault.at, **what, **fault.about})
        try:
            effect = self._effect(fault)
        except (OSError, psycopg.Error, redis.RedisError, MailworkersError) as error:
            effect = {"is_done": False, "error": str(error)}
        if fault.action in ("kill", "term") and effect.get("pid"):
            self._told.add(int(effect["pid"]))
        self._ledger.commit({"kind": "effect", **what, **effect})
        self._finished.append(fault.number)

    def _effect(self, fault: Fault) -> dict[str, Any]:
        """Do one fault; return whether it took effect, and what it did."""
        match fault.target:
            case "postgres":
                return self._stores.on_postgres(fault)
            case "redis":
                return self._stores.on_redis(fault)
            case "supervisord":
                return self._supervisor.do(fault)
            case "relay":
                return self._cut_sessions() if fault.action == "cut_sessions" else self._arm(fault)
            case _:
                return self._hurt(fault)

    # Roles.

    def _hurt(self, fault: Fault) -> dict[str, Any]:
        """Signal a role's process: at work, or as soon as it is there."""
        deadline = time.monotonic() + PATIENCE
        while True:
            pid, is_late = self._service.pid(fault.target), time.monotonic() > deadline
            if pid and (
                is_late
                or not fault.about["is_at_work"]
                or self._service.is_at_work(fault.target, pid)
            ):
                time.sleep(fault.about["after"])
                with contextlib.suppress(ProcessLookupError):
                    return self._signal(pid, fault)
            elif is_late:
                return {"is_done": False, "error": "the process was never there"}
            time.sleep(PAUSE)

    def _signal(self, pid: int, fault: Fault) -> dict[str, Any]:
        with opened(pid) as handle:
            if fault.action != "freeze":
                number = signal.SIGKILL if fault.action == "kill" else signal.SIGTERM
                seconds = end(handle, number, _LONGEST_STOP)
                return {"is_done": True, "pid": pid, "seconds_to_end": seconds}
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
            time.sleep(fault.about["seconds"])
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGCONT)
            return {"is_done": True, "pid": pid}

    # The relay.

    def _cut_sessions(self) -> dict[str, Any]:
        return until_cut(lambda: int(self._service.sink.order(cut=True)))

    def _arm(self, fault: Fault) -> dict[str, Any]:
        """Arm a mode of the sink, wait until it was done at least once, soon disarm it.

        What stays armed would meet every probe of the breaker, which then waits ever longer.
        """
        sink, mode = self._service.sink, fault.action
        before = sink.order(done=True).get(mode, 0)
        sink.order(arm=mode, times=fault.about["times"])
        cut = 0
        if mode in _AT_LOGIN:
            # Sessions are kept for long: nobody would come.
            cut = int(sink.order(cut=True))
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if sink.order(done=True).get(mode, 0) > before:
                time.sleep(_MOOD)
                sink.order(calm=True)
                return {"is_done": True, "cut": cut}
            time.sleep(PAUSE)
        sink.order(calm=True)
        return {"is_done": False, "error": "nobody came"}


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
