"""Doing faults: each is written down before it is done, and afterwards whether it took effect.

One thread for each target, so that faults on different targets overlap and those on one do not.
A fault waits for its victim to be there: to run, to be connected, to be talking.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psycopg
import redis

from mailworkers.core.errors import MailworkersError
from tests.crash.chaos.ledger import Ledger
from tests.crash.chaos.plan import Fault
from tests.crash.chaos.service import GROUP, STREAM, Service

_PATIENCE = 15.0  # seconds a fault waits for its victim
_RELAY_PATIENCE = 60.0  # an open breaker keeps everybody from the relay for so long
_PAUSE = 0.05
_MOOD = 0.3  # seconds the relay keeps a mood after it first showed
_AT_LOGIN = {"connect_reset", "banner_421", "login_535"}


_LONGEST_STOP = 25.0  # seconds; MAIL_SHUTDOWN_TIMEOUT is 20


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Faults:
    """The faults of one run. `finish` ends them all and heals."""

    def __init__(self, service: Service, ledger: Ledger, plan: Iterable[Fault]) -> None:
        self._service = service
        self._ledger = ledger
        self._start = 0.0
        self._over = threading.Event()
        self._done: list[threading.Event] = []
        self._threads: list[threading.Thread] = []
        self._told: set[int] = set()  # processes that were told to end
        by_target: dict[str, list[Fault]] = {}
        for fault in plan:
            by_target.setdefault(fault.target, []).append(fault)
        for faults in by_target.values():
            done = threading.Event()
            self._done.append(done)
            self._threads.append(
                threading.Thread(target=self._work, args=(faults, done), daemon=True)
            )

    def start(self) -> None:
        """Begin now."""
        self._start = time.monotonic()
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Return when every fault was done and undone, every store is up, the relay is calm."""
        for done in self._done:
            done.wait()
        self._see_them_end()
        self._service.sink.order(calm=True)
        self._ledger.write({"kind": "healed"})

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
        for fault in faults:
            time.sleep(max(0.0, self._start + fault.at - time.monotonic()))
            self._do(fault)
        done.set()
        # A server dies with the thread that started it (PDEATHSIG).
        self._over.wait()

    def _do(self, fault: Fault) -> None:
        what = {"number": fault.number, "target": fault.target, "action": fault.action}
        self._ledger.write({"kind": "fault", "planned": fault.at, **what, **fault.about})
        try:
            effect = self._effect(fault)
        except (OSError, psycopg.Error, redis.RedisError, MailworkersError) as error:
            effect = {"is_done": False, "error": str(error)}
        if fault.action in ("kill", "term") and effect.get("pid"):
            self._told.add(int(effect["pid"]))
        self._ledger.write({"kind": "effect", **what, **effect})

    def _effect(self, fault: Fault) -> dict[str, Any]:
        """Do one fault; return whether it took effect, and what it did."""
        match fault.target:
            case "postgres" if fault.action == "cut":
                return self._cut_postgres(fault.about["connections"])
            case "postgres":
                how = signal.SIGQUIT if fault.action == "immediate" else signal.SIGKILL
                return self._restart_postgres(how, fault.about["down"])
            case "redis":
                return self._cut_redis() if fault.action == "cut" else self._restart_redis(fault)
            case "relay":
                return self._cut_sessions() if fault.action == "cut_sessions" else self._arm(fault)
            case _:
                return self._hurt(fault)

    # Roles.

    def _hurt(self, fault: Fault) -> dict[str, Any]:
        """Signal a role's process: at work, or as soon as it is there."""
        deadline = time.monotonic() + _PATIENCE
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
            time.sleep(_PAUSE)

    def _signal(self, pid: int, fault: Fault) -> dict[str, Any]:
        # A descriptor of the process: its id may be another's a moment later.
        handle = os.pidfd_open(pid)
        try:
            if b"mailworkers" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                raise ProcessLookupError(pid)
            if fault.action != "freeze":
                number = signal.SIGKILL if fault.action == "kill" else signal.SIGTERM
                signal.pidfd_send_signal(handle, number)
                return {"is_done": True, "pid": pid}
            signal.pidfd_send_signal(handle, signal.SIGSTOP)
            time.sleep(fault.about["seconds"])
            signal.pidfd_send_signal(handle, signal.SIGCONT)
            return {"is_done": True, "pid": pid}
        finally:
            os.close(handle)

    # Stores.

    def _restart_postgres(self, how: signal.Signals, down: float) -> dict[str, Any]:
        server = self._service.servers.postgres
        was_up = server.pid is not None
        server.stop(how)
        time.sleep(down)
        server.start()
        return {"is_done": was_up}

    def _cut_postgres(self, connections: int) -> dict[str, Any]:
        """Terminate backends of the service, at most *connections*, whatever they are doing."""

        def cut() -> int:
            with self._service.connect() as conn:
                rows = conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
                    " WHERE application_name LIKE 'mailworkers %%'"
                    " ORDER BY random() LIMIT %s) AS victims",
                    [connections],
                ).fetchall()
            return rows.count((True,))

        return _until_cut(cut)

    def _redis(self) -> Any:
        return redis.Redis(unix_socket_path=self._service.redis_socket, socket_timeout=5)

    def _cut_redis(self) -> dict[str, Any]:
        """Cut every connection but our own, of producers and of the service."""

        def cut() -> int:
            with self._redis() as client:
                killed = client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            return int(killed)

        return _until_cut(cut)

    def _restart_redis(self, fault: Fault) -> dict[str, Any]:
        """Restart it with its data, in good order or not, or without."""
        server, servers = self._service.servers.keyvalue, self._service.servers
        how = signal.SIGTERM if fault.action == "restart" else signal.SIGKILL
        was_up = server.pid is not None
        left = self._left_in_stream() if fault.action == "restart_empty" else {}
        server.stop(how)
        if fault.action == "restart_empty":
            _empty(servers.places.keyvalue)
        time.sleep(fault.about["down"])
        server.start()
        return {"is_done": was_up, **left}

    def _left_in_stream(self) -> dict[str, Any]:
        """Return what is lost with Redis: entries after `delivered`, and those `pending`."""
        with self._redis() as client, client.pipeline(transaction=True) as pipe:
            pipe.xinfo_groups(STREAM).xpending_range(STREAM, GROUP, "-", "+", 100_000)
            groups, pending = pipe.execute(raise_on_error=False)
        if isinstance(groups, redis.ResponseError) or not groups:
            return {"delivered": "0-0", "pending": []}
        rows = [] if isinstance(pending, redis.ResponseError) else pending
        delivered = groups[0]["last-delivered-id"].decode()
        return {"delivered": delivered, "pending": [row["message_id"].decode() for row in rows]}

    # The relay.

    def _cut_sessions(self) -> dict[str, Any]:
        return _until_cut(lambda: int(self._service.sink.order(cut=True)), _RELAY_PATIENCE)

    def _arm(self, fault: Fault) -> dict[str, Any]:
        """Arm a mode of the sink, wait until it was done at least once, soon disarm it.

        What stays armed would meet every probe of the breaker, which then waits ever longer.
        """
        sink, mode = self._service.sink, fault.action
        before = sink.order(done=True).get(mode, 0)
        sink.order(arm=mode, times=fault.about["times"])
        if mode in _AT_LOGIN:
            sink.order(cut=True)  # sessions are kept for long: nobody would come
        deadline = time.monotonic() + _RELAY_PATIENCE
        while time.monotonic() < deadline:
            if sink.order(done=True).get(mode, 0) > before:
                time.sleep(_MOOD)
                sink.order(calm=True)
                return {"is_done": True}
            time.sleep(_PAUSE)
        sink.order(calm=True)
        return {"is_done": False, "error": "nobody came"}


def _until_cut(cut: Callable[[], int], patience: float = _PATIENCE) -> dict[str, Any]:
    """Cut until somebody was connected; whoever we ask may be away meanwhile."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        with contextlib.suppress(psycopg.OperationalError, redis.RedisError):
            if count := cut():
                return {"is_done": True, "cut": count}
        time.sleep(_PAUSE)
    return {"is_done": False, "error": "nobody was connected"}


def _empty(directory: Path) -> None:
    """Remove every file below *directory*."""
    for path in directory.rglob("*"):
        if path.is_file():
            path.unlink()
