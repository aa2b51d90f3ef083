"""Hosts that are full, small, slow or odd (F-V06, F-V10, F-V11, F-V12)."""

import email
import email.policy
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.operation.commands import put
from tests.crash.operation.hosts import Host
from tests.crash.operation.verdicts import (
    assert_each_arrived,
    copies,
    count,
    doubts,
    throughout,
)
from tests.crash.processes import Process, Roles
from tests.crash.stores.own import resize, small_disk
from tests.eventually import eventually
from tests.relay import Relay

FULL = Path("/dev/full")


@pytest.mark.slow
def test_a_full_disk_of_the_logs_stops_no_mail(
    servers: Servers, host: Host, relay: Relay, conn: db.Connection
) -> None:
    """F-V06: supervisord cannot write what its roles say; it goes on, and so do they."""
    host.log.mkdir()
    for name in ("sender-01", "sender-02", "consumer", "scheduler"):
        (host.log / f"{name}.log").symlink_to(FULL)
    host.start()
    before = host.wait_until_all_work(conn)

    ids = put_commands(servers, 300)
    eventually(lambda: count(conn, "sent") == len(ids), within=60)

    assert_each_arrived(conn, relay, ids)
    assert host.pids() == before


def test_a_role_that_can_write_no_line_counts_them_and_works(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """F-V06: its own output is a file on a full disk."""
    with FULL.open("wb") as out:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "mailworkers", role],
                env={**os.environ, **roles.environ},
                stdout=out,
                stderr=out,
            )
            for role in ("consumer", "sender")
        ]
    try:
        put(redis_client)
        eventually(lambda: count(conn, "sent") == 1, within=30)
        assert [process.poll() for process in processes] == [None, None]
    finally:
        for process in processes:
            process.terminate()
            process.wait(20)
    assert len(relay.accepted) == 1
    port = free_port()
    roles.start("monitor", PROMETHEUS_PORT=str(port), HTTP_PORT=str(free_port()))
    eventually(lambda: _metric(port, "mail_log_lines_lost_total") > 2, within=30)


@pytest.mark.slow
def test_a_full_disk_of_the_state_ends_no_role(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-V06: nothing is left for journals and numbers. Those that run go on, new sources and all.

    Consumers and schedulers that start work uncounted; a new sender waits until there is room.
    """
    sources = [f"shop-{number:x<55}" for number in range(40)]
    roles.environ["MAIL_SOURCES"] = ",".join(f"{source}=normal" for source in sources)
    with small_disk(40) as disk:
        roles.environ["MAIL_STATE_DIR"] = str(disk / "state")
        running = [roles.start(role) for role in ("consumer", "scheduler", "sender")]
        eventually(lambda: roles.logs().count("role started") == 3, within=30)
        resize(disk)
        ids = [put(redis_client, source=source) for source in sources]
        eventually(lambda: count(conn, "sent") == len(ids), within=60)
        assert [process.exit_code for process in running] == [None] * 3

        for process in running:
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
        resize(disk)  # the journal went, and its room
        again = [
            # Of a name that nobody had before: the same one would go on in the files there are.
            roles.start(role, SUPERVISOR_PROCESS_NAME=f"{role}-02")
            for role in ("consumer", "scheduler", "sender")
        ]
        ids.append(put(redis_client))
        eventually(lambda: count(conn, "queued") == 1, within=30)
        eventually(lambda: '"dependency":"journal"' in again[2].output.read_text(), within=30)
        for process in again:
            eventually(partial(_tells, process, "numbers not kept"), within=30)
        resize(disk, 60)
        eventually(lambda: count(conn, "sent") == len(ids), within=60)

        assert [process.exit_code for process in again] == [None] * 3
        for process in again:
            process.kill()
    assert_each_arrived(conn, relay, ids)


def _tells(process: Process, words: str) -> bool:
    return words in process.output.read_text()


def _metric(port: int, name: str) -> float:
    """Return the one series *name*, 0 while nobody answers."""
    for line in _scrape(port).splitlines():
        if line.startswith(f"{name} "):
            return float(line.split()[1])
    return 0


def _scrape(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def test_a_sender_without_a_file_descriptor_left_waits_and_loses_nothing(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-V10: no session, no new connection to Postgres, no journal can be opened: all are waited
    for, no delivery pays for it, and the process goes on when there are descriptors again."""
    roles.start("consumer")
    sender = roles.start("sender", LOG_LEVEL="error")
    eventually(lambda: conn.execute("SELECT FROM processes").rowcount == 2, within=20)

    with _no_descriptors(sender):
        first = put(redis_client)
        eventually(lambda: "Too many open files" in sender.output.read_text(), within=20)
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'mailworkers sender%'"
        )
        eventually(lambda: '"store lost"' in sender.output.read_text(), within=20)
        throughout(lambda: sender.exit_code is None, seconds=6)  # it looks for orphans every 5 s
    second = put(redis_client)
    eventually(lambda: count(conn, "sent") == 2, within=30)

    assert_each_arrived(conn, relay, [first, second])
    assert not doubts(conn)
    rungs = conn.execute("SELECT cycle_attempt FROM deliveries").fetchall()
    assert rungs == [(1,), (1,)]


@contextmanager
def _no_descriptors(process: Process) -> Iterator[None]:
    """Let *process* open nothing more."""
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    used = {int(path.name) for path in Path(f"/proc/{process.pid}/fd").iterdir()}
    least = next(number for number in range(len(used) + 1) if number not in used)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (least, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)


def test_sixty_four_descriptors_are_enough_for_any_role(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis
) -> None:
    """F-V10: what small systems give by default is plenty."""
    processes = [roles.start(role) for role in ("consumer", "scheduler", "sender")]
    for process in processes:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (64, 64))
    relay.says(DOT=["451 4.3.0 later"])

    ids = [put(redis_client) for _ in range(20)]
    eventually(lambda: count(conn, "sent") == len(ids), within=30)

    assert_each_arrived(conn, relay, ids)
    for process in processes:
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 32


@pytest.mark.slow
def test_a_sender_with_a_twentieth_of_a_processor_is_only_slow(
    servers: Servers, roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """F-V10: stopped 19 of 20 milliseconds, for seconds; the lease bears that, no doubt arises."""
    roles.start("consumer")
    roles.start("scheduler")
    sender = roles.start("sender")
    eventually(lambda: roles.logs().count("role started") == 3, within=30)

    with _throttled(sender):
        ids = put_commands(servers, 60)
        eventually(lambda: count(conn, "sent") == len(ids), within=60)

    assert_each_arrived(conn, relay, ids)
    assert max(copies(relay).values()) == 1
    assert not doubts(conn)


@contextmanager
def _throttled(process: Process) -> Iterator[None]:
    """Let *process* run for 10 ms, then stop it for 190 ms, again and again."""
    is_over = threading.Event()

    def throttle() -> None:
        while not is_over.is_set():
            process.signal(signal.SIGSTOP)
            time.sleep(0.19)
            process.signal(signal.SIGCONT)
            time.sleep(0.01)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.mark.slow
def test_scrapers_that_hang_hinder_nobody(
    servers: Servers, roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """F-V11: half a request, or an answer nobody reads; meanwhile senders come and go.

    Counters of those that ended stay, gauges of theirs there are none.
    """
    port = free_port()
    monitor = roles.start("monitor", PROMETHEUS_PORT=str(port), HTTP_PORT=str(free_port()))
    roles.start("consumer")
    eventually(lambda: _scrape(port) != "", within=30)
    ids: list[str] = []

    with ExitStack() as held:
        for half in (b"GET /met", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50):
            for _ in range(40):
                hanging = held.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                hanging.sendall(half)
        for _ in range(2):
            sender = roles.start("sender", SUPERVISOR_PROCESS_NAME="sender-01")
            ids += put_commands(servers, 50)
            eventually(partial(_tells_sent, port, len(ids)), within=60)
            sender.signal(signal.SIGKILL)
            sender.wait()
        text = _scrape(port)

    assert monitor.exit_code is None
    assert _sent(len(ids)) in text
    assert set(copies(relay)) == set(ids)
    assert [line for line in text.splitlines() if "pid=" in line] == []


def _sent(number: int) -> str:
    return f'mail_delivery_sent_total{{source="notification"}} {number}.0'


def _tells_sent(port: int, number: int) -> bool:
    return _sent(number) in _scrape(port)


def test_an_odd_host_does_not_change_a_message(
    roles: Roles, relay: Relay, conn: db.Connection, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """F-V12: locale C, no UTF-8 mode, a closed umask, no home, a state directory yet to be made,
    with a path too long for a socket."""
    environ = {
        **os.environ,
        **roles.environ,
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "HOME": "/proc/nowhere",
        "TMPDIR": "/proc/nowhere",
        "MAIL_STATE_DIR": str(tmp_path / "not" / "there" / ("yet" * 30)),
    }
    output = tmp_path / "odd.log"
    with output.open("ab") as out:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "mailworkers", role],
                env=environ,
                cwd="/",
                umask=0o077,
                stdout=out,
                stderr=out,
            )
            for role in ("consumer", "sender")
        ]
    try:
        payload = {"to": ["Jürgen Ä <a@example.com>"], "subject": "Grüße", "text_body": "schöne"}
        put(redis_client, payload_json=json.dumps(payload, ensure_ascii=False).encode())
        eventually(lambda: count(conn, "sent") == 1, within=30)
    finally:
        for process in processes:
            process.terminate()
        codes = [process.wait(20) for process in processes]

    assert codes == [0, 0]
    message = email.message_from_bytes(relay.accepted[0].raw, policy=email.policy.default)
    assert (message["Subject"], message["To"]) == ("Grüße", "Jürgen Ä <a@example.com>")
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert {"role started", "mail delivery sent", "role stopped"} <= {x["event"] for x in lines}


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null"])
def test_a_state_directory_that_cannot_be_is_named(roles: Roles, place: str) -> None:
    """F-V12: read-only, missing, or no directory: exit 78 with the variable, at once."""
    sender = roles.start("sender", MAIL_STATE_DIR=place)

    assert sender.wait() == 78
    assert f"MAIL_STATE_DIR={place}" in roles.logs()
