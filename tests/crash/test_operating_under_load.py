"""Operators restart and scale roles while mail flows, under the shipped supervisord configuration.

Every command must arrive exactly once, whatever is restarted: SIGTERM loses and doubles nothing.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.settings import load
from mailworkers.adapters.supervisor import Program, Supervisor
from mailworkers.adapters.supervisor_files import (
    Slots,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.cli.processes import is_alive
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.processes import Roles
from tests.eventually import eventually
from tests.relay import Relay

RESTARTED = ("sender", "consumer", "scheduler", "retention", "api", "monitor")


@pytest.fixture
def supervisor(roles: Roles, tmp_path: Path) -> Iterator[Supervisor]:
    """Return a running supervisord with all six roles, two of them senders."""
    environ = {
        **roles.environ,
        "MAIL_ATTEMPT_WORKER_CONCURRENCY": "2",
        "MAIL_SUPERVISOR_SOCKET": str(tmp_path / "s.sock"),
        "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{free_port()}",
        "HTTP_PORT": str(free_port()),
        "PROMETHEUS_PORT": str(free_port()),
    }
    settings = load(environ)
    slots = Slots(settings.state_dir)
    slots.prepare(settings.sender_concurrency)
    environment = supervisord_environment(settings, {**os.environ, **environ})
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    made = Supervisor(
        settings.supervisor_socket, slots, settings.stop_wait, started_for=timedelta(seconds=0.5)
    )
    with (tmp_path / "supervisord.out").open("ab") as out:
        process = subprocess.Popen(supervisord_command(), env=environment, stdout=out, stderr=out)
    try:
        eventually(made.is_up, within=20)
        yield made
    finally:
        process.terminate()
        process.wait(60)


class Load:
    """A steady flow of commands in a thread of its own."""

    def __init__(self, servers: Servers, total: int, per_second: int) -> None:
        self.ids: list[str] = []
        self._servers = servers
        self._total = total
        self._batch = max(1, per_second // 10)
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """Wait until every command is on the stream."""
        self._thread.join()

    @property
    def is_over(self) -> bool:
        """Whether every command is on the stream."""
        return not self._thread.is_alive()

    def _run(self) -> None:
        while len(self.ids) < self._total:
            self.ids += put_commands(self._servers, min(self._batch, self._total - len(self.ids)))
            time.sleep(0.1)  # the pace of the load, not a wait for anything


def _flow(
    servers: Servers, relay: Relay, conn: db.Connection, total: int, operate: Callable[[], None]
) -> None:
    """Let *total* commands flow while *operate* does its work; all arrive once and are sent."""
    load = Load(servers, total, per_second=400)
    load.start()
    operate()
    load.finish()
    arrived = [0]

    def all_arrived() -> bool:
        arrived[0] = len(relay.accepted)
        return arrived[0] >= total

    eventually(all_arrived, within=90)
    eventually(
        lambda: (
            conn.execute("SELECT count(*) FROM deliveries WHERE status = 'sent'").fetchone()
            == (total,)
        ),
        within=20,
    )
    got = [message.rcpt_to[0].split("@")[0] for message in relay.accepted]
    assert len(got) == total
    assert set(got) == set(load.ids)


@pytest.mark.parametrize(
    "total", [1500, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_restarting_every_role_in_turn_loses_and_doubles_nothing(
    servers: Servers, supervisor: Supervisor, relay: Relay, conn: db.Connection, total: int
) -> None:
    """What `supervisorctl restart` does to each role while commands come in."""
    eventually(lambda: len(supervisor.programs("sender")) == 2, within=20)

    def operate() -> None:
        for role in RESTARTED:
            supervisor.restart(role, say=lambda _: None)

    _flow(servers, relay, conn, total, operate)


@pytest.mark.parametrize(
    "total", [1500, pytest.param(20_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])]
)
def test_scaling_senders_up_and_down_loses_and_doubles_nothing(
    servers: Servers, supervisor: Supervisor, relay: Relay, conn: db.Connection, total: int
) -> None:
    """2 -> 6 -> 1: the processes that stay are not touched."""
    (first, _) = eventually(
        lambda: [p for p in supervisor.programs("sender") if p.is_running], within=20
    )

    def operate() -> None:
        supervisor.scale("sender", 6, say=lambda _: None)
        eventually(lambda: sum(p.is_running for p in supervisor.programs("sender")) == 6, within=20)
        supervisor.scale("sender", 1, say=lambda _: None)

    _flow(servers, relay, conn, total, operate)

    (left,) = supervisor.programs("sender")
    assert (left.name, left.pid) == (first.name, first.pid)


def test_a_rolling_restart_waits_for_signs_of_each_restarted_process(
    roles: Roles, supervisor: Supervisor
) -> None:
    """The name and number under which a process beats are those that supervisord and we see."""
    settings = load(roles.environ)
    before = eventually(lambda: _running_senders(supervisor, 2), within=20)
    asked: list[int] = []

    def is_healthy(program: Program) -> bool:
        asked.append(program.pid)
        return is_alive(settings, "sender", program)

    supervisor.restart_rolling("sender", lambda _: None, is_healthy)

    after = _running_senders(supervisor, 2)
    assert not before & after
    assert after <= set(asked)


def _running_senders(supervisor: Supervisor, wanted: int) -> set[int]:
    """Return the pids of all senders when so many run."""
    pids = {program.pid for program in supervisor.programs("sender") if program.is_running}
    return pids if len(pids) == wanted else set()
