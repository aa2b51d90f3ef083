"""supervisord as we configure it: with real processes that stand in for the roles.

The stand-in `mailworkers` does what a file named after its process says: exit with a code, or take
a while to stop. Everything else is as in production.
"""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.setting_table import LONGEST_SOCKET
from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.supervisor import (
    ProcessFailed,
    Program,
    Supervisor,
    SupervisorUnavailable,
)
from mailworkers.adapters.supervisor_events import (
    MISCONFIGURED,
    STORM,
    STORM_EXITS,
    STORM_WINDOW,
    Watch,
    judge,
)
from mailworkers.adapters.supervisor_files import (
    Slots,
    role_of,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.cli.processes import is_alive
from tests.eventually import eventually

_STAND_IN = f"""#!{sys.executable}
import os, pathlib, signal, sys, time
orders = pathlib.Path(__file__).parent
name = os.environ["SUPERVISOR_PROCESS_NAME"]
def order(kind):
    path = orders / (name + "." + kind)
    return float(path.read_text()) if path.exists() else 0
if order("exit"):
    sys.exit(int(order("exit")))
def stop(*_):
    time.sleep(order("slow"))
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
(orders / (name + ".pid")).write_text(str(os.getpid()))
while True:
    time.sleep(60)
"""


class Host:
    """A host whose roles are stand-ins, under a real supervisord."""

    def __init__(self, directory: Path) -> None:
        self.settings = _settings(directory)
        self.log = self.settings.state_dir / "log"
        self.slots = Slots(self.settings.state_dir)
        self.supervisor = Supervisor(
            self.settings.supervisor_socket,
            self.slots,
            self.settings.stop_wait,
            started_for=timedelta(seconds=0.3),
        )
        self._orders = directory / "programs"
        self._orders.mkdir()
        program = self._orders / "mailworkers"
        program.write_text(_STAND_IN)
        program.chmod(0o755)

    def start(self) -> None:
        """Start supervisord as `mailworkers supervise` does."""
        self.slots.prepare(self.settings.sender_concurrency)
        environment = supervisord_environment(self.settings, os.environ)
        environment["PATH"] = f"{self._orders}{os.pathsep}{environment['PATH']}"
        with (self.settings.state_dir / "out").open("ab") as out:
            self.process = subprocess.Popen(
                supervisord_command(), env=environment, stdout=out, stderr=out
            )
        eventually(self.supervisor.is_up, within=20)

    def stop(self) -> float:
        """Stop supervisord; return how many seconds that took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(60)
        return time.monotonic() - began

    def order(self, name: str, kind: str, value: float) -> None:
        """Tell the process *name* what to do from its next start on (exit) or stop (slow)."""
        (self._orders / f"{name}.{kind}").write_text(str(value))

    def pids(self, role: str | None = None) -> dict[str, int]:
        """Return the pids of what runs."""
        return {p.name: p.pid for p in self.supervisor.programs(role) if p.is_running}

    def wait_for(self, *names: str) -> dict[str, int]:
        """Return the pids when all *names* run and listen to signals.

        A signal that comes between supervisord's fork and exec is lost.
        """
        eventually(lambda: all(self._is_listening(name) for name in names), within=20)
        return self.pids()

    def _is_listening(self, name: str) -> bool:
        path = self._orders / f"{name}.pid"
        return path.exists() and path.read_text() == str(self.pids().get(name))

    def reports(self) -> list[dict[str, object]]:
        """Return the event listener's lines."""
        path = self.log / "listener.log"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]


def _settings(directory: Path, **more: str) -> Settings:
    return load(
        {
            "MAIL_REDIS_MASTER_ADDR": "unix:/nowhere",
            "MAIL_POSTGRES_PRIMARY_DSN": "postgresql:///nowhere",
            "MAIL_SMTP_MODE": "stub",
            "MAIL_ATTEMPT_WORKER_CONCURRENCY": "2",
            "MAIL_STATE_DIR": str(directory / "a state"),  # a blank, which supervisord dislikes
            "MAIL_SUPERVISOR_SOCKET": str(directory / "run" / "s.sock"),
            **more,
        }
    )


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """Return a host on which nothing runs yet."""
    made = Host(tmp_path)
    yield made
    if hasattr(made, "process"):
        made.stop()


ALL = ("api", "consumer", "monitor", "retention", "scheduler", "sender-01", "sender-02")


def test_every_role_runs_and_the_socket_is_the_owner_s(host: Host) -> None:
    host.start()

    assert set(host.wait_for(*ALL)) == {*ALL, "listener"}
    socket = host.settings.supervisor_socket
    assert stat.S_IMODE(socket.stat().st_mode) == 0o700
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700


def test_a_wrong_setting_stops_a_role_once_and_is_reported(host: Host) -> None:
    """Exit 78: restarting would not help."""
    host.order("consumer", "exit", 78)
    host.start()

    eventually(lambda: any(r["event"] == MISCONFIGURED for r in host.reports()), within=20)
    (consumer,) = host.supervisor.programs("consumer")
    assert consumer.is_misconfigured
    (report,) = (r for r in host.reports() if r["event"] == MISCONFIGURED)
    assert (report["program"], report["level"]) == ("consumer", "ERROR")


def test_any_other_end_is_followed_by_a_new_start(host: Host) -> None:
    host.start()
    before = host.wait_for(*ALL)

    os.kill(before["scheduler"], signal.SIGKILL)

    eventually(lambda: host.pids().get("scheduler", 0) not in (0, before["scheduler"]), within=10)
    after = host.pids()
    assert {n: p for n, p in after.items() if n != "scheduler"} == {
        n: p for n, p in before.items() if n != "scheduler"
    }


@pytest.mark.slow
def test_a_process_that_keeps_dying_is_started_for_ever_and_reported(host: Host) -> None:
    """About once a second, never FATAL."""
    host.order("retention", "exit", 1)
    host.start()

    eventually(lambda: any(r["event"] == STORM for r in host.reports()), within=30)
    (Path(host.settings.state_dir).parent / "programs" / "retention.exit").unlink()
    host.wait_for("retention")


def test_scaling_leaves_the_processes_that_stay_alone(host: Host) -> None:
    host.start()
    two = host.wait_for(*ALL)

    host.supervisor.scale("sender", 4, lambda _: None)
    four = host.wait_for("sender-03", "sender-04")
    host.supervisor.scale("sender", 1, lambda _: None)
    one = host.pids()

    assert {name: four[name] for name in two} == two
    assert set(two) - set(one) == {"sender-02"}
    assert one == {name: two[name] for name in one}


def test_a_scale_survives_a_restart_of_supervisord(host: Host) -> None:
    """MAIL_ATTEMPT_WORKER_CONCURRENCY counts at the first start only."""
    host.start()
    host.wait_for(*ALL)
    host.supervisor.scale("sender", 3, lambda _: None)
    host.supervisor.scale("consumer", 2, lambda _: None)
    host.wait_for("sender-03", "consumer-02")
    host.stop()

    host.start()

    host.wait_for("sender-03", "consumer", "consumer-02")
    host.supervisor.scale("sender", 0, lambda _: None)
    assert host.pids("sender") == {}
    host.slots.prepare(senders=5)
    assert host.slots.names("sender") == []


def test_an_interrupted_scale_is_completed_by_the_next(host: Host) -> None:
    """The slot files were written, supervisord was not told."""
    host.start()
    host.wait_for(*ALL)
    host.slots.resize("sender", 3)

    host.supervisor.scale("sender", 3, lambda _: None)

    host.wait_for("sender-03")


def test_roles_that_cannot_be_scaled_say_so(host: Host) -> None:
    for role, processes in (("retention", 2), ("api", 0)):
        with pytest.raises(ProcessFailed, match=role):
            host.supervisor.scale(role, processes, lambda _: None)


def test_a_rolling_restart_has_at_most_one_process_down(host: Host) -> None:
    host.start()
    before = host.wait_for(*ALL)
    seen: list[set[str]] = []

    host.supervisor.restart_rolling("sender", lambda _: seen.append(set(host.pids("sender"))))

    after = host.pids()
    assert all(after[name] != before[name] for name in ("sender-01", "sender-02"))
    assert after["consumer"] == before["consumer"]
    assert seen == [{"sender-01", "sender-02"}] * 2


def test_a_rolling_restart_ends_at_the_first_that_does_not_come_up(host: Host) -> None:
    """A bad new version must not take the working processes with it."""
    host.start()
    before = host.wait_for(*ALL)
    host.order("sender-01", "exit", 78)

    with pytest.raises(ProcessFailed, match="sender-01"):
        host.supervisor.restart_rolling("sender", lambda _: None)

    assert host.pids()["sender-02"] == before["sender-02"]


def test_a_plain_restart_starts_all_processes_of_the_role_anew(host: Host) -> None:
    host.start()
    before = host.wait_for(*ALL)

    host.supervisor.restart("sender", lambda _: None)

    after = host.pids()
    assert all(after[name] != before[name] for name in ("sender-01", "sender-02"))


def test_shutdown_tells_all_roles_at_once(host: Host) -> None:
    """One after the other, seven roles that need a second each would take seven."""
    for name in ALL:
        host.order(name, "slow", 1.5)
    host.start()
    host.wait_for(*ALL)

    assert host.stop() < 5


def test_a_supervisord_that_is_away_is_named(host: Host) -> None:
    with pytest.raises(SupervisorUnavailable, match="mailworkers supervise"):
        host.supervisor.programs()


def test_the_longest_socket_path_is_one_that_supervisord_can_use() -> None:
    """It binds one with its pid added; the largest pid of Linux is 2^22."""
    with tempfile.TemporaryDirectory(prefix="s") as directory:
        path = f"{directory}/{'x' * (LONGEST_SOCKET - len(directory) - 1)}"
        with socket.socket(socket.AF_UNIX) as longest, socket.socket(socket.AF_UNIX) as longer:
            longest.bind(f"{path}.{2**22}")
            with pytest.raises(OSError, match="too long"):
                longer.bind(f"{path}x.{2**22}")


def _beat(conn: db.Connection, role: str, host: str, pid: int) -> UUID:
    process_id = uuid4()
    store.beat(conn, process_id=process_id, role=role, host=host, pid=pid, version="1", detail={})
    return process_id


def test_a_restarted_process_is_healthy_by_signs_of_its_own_only(
    tmp_path: Path, database: str, conn: db.Connection
) -> None:
    """Senders of other hosts, what a killed one left behind and other roles prove nothing."""
    settings = _settings(tmp_path, MAIL_POSTGRES_PRIMARY_DSN=database)
    here, pid = socket.gethostname(), 4711
    program = Program("sender-01", "RUNNING", pid, None, 0, tmp_path)
    _beat(conn, "sender", "elsewhere", pid)
    _beat(conn, "sender", here, pid + 1)
    _beat(conn, "consumer", here, pid)
    silent = _beat(conn, "sender", here, pid)
    conn.execute(
        "UPDATE processes SET beat_at = beat_at - interval '1 minute' WHERE process_id = %s",
        [silent],
    )
    assert not is_alive(settings, "sender", program)

    _beat(conn, "sender", here, pid)

    assert is_alive(settings, "sender", program)


def test_processes_are_told_by_their_role() -> None:
    assert [role_of(n) for n in ("sender-01", "api", "listener", "postgres", "sender-x")] == [
        "sender",
        "api",
        None,
        None,
        None,
    ]


def test_a_storm_is_told_once_a_window() -> None:
    watch = Watch()
    payload = "processname:sender-01 groupname:sender-01 from_state:RUNNING expected:0 pid:9"

    told = [judge(watch, "PROCESS_STATE_EXITED", payload, float(second)) for second in range(70)]

    window = int(STORM_WINDOW.total_seconds())
    assert [i for i, report in enumerate(told) if report] == [STORM_EXITS - 1, window + 4]


def test_ends_far_apart_are_no_storm() -> None:
    watch = Watch()
    apart = STORM_WINDOW.total_seconds() / 2

    assert not any(watch.ended("api", is_expected=False, now=apart * n) for n in range(20))
