"""`mailworkers status` and `top`: one screen that is right, whatever is away."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg.types.json import Jsonb

from mailworkers.adapters.lately import Lately
from mailworkers.adapters.supervisor_files import ROLES
from mailworkers.core.states import Status
from mailworkers.roles.sender import Sender
from tests.deliveries import accept, new_delivery, put
from tests.eventually import eventually
from tests.relay import Relay
from tests.roles.conftest import build, make_settings
from tests.roles.test_cli import Run, environ, here, run

__all__ = ["build", "environ", "here", "make_settings", "run"]

Connection = psycopg.Connection[tuple[Any, ...]]
Start = Callable[..., "Watched"]


def beat(conn: Connection, role: str, *, age: str = "0 s", **detail: Any) -> None:
    """Leave a sign of life of a process of *role*, made *age* ago."""
    conn.execute(
        "INSERT INTO processes (process_id, role, host, pid, version, detail, beat_at)"
        " VALUES (%s, %s, 'host-1', 4711, '0.1.0', %s, clock_timestamp() - %s::interval)",
        [uuid4(), role, Jsonb({"process": f"{role}-01", **detail}), age],
    )


def all_roles(conn: Connection, **detail: Any) -> None:
    """Let every role be alive."""
    for role in ROLES:
        beat(conn, role, **(detail if role == "sender" else {}))


def look(run: Run, **changes: str) -> tuple[int, dict[str, Any]]:
    """Return exit code and JSON of `status`."""
    result = run("status", "--json", **changes)
    found: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, found


def problems(found: dict[str, Any]) -> list[str]:
    """Return what a situation calls wrong."""
    return [problem["what"] for problem in found["problems"]]


@pytest.mark.usefixtures("here")
def test_all_is_well_with_every_role_alive(run: Run, conn: Connection) -> None:
    """Exit code 0, and the screen says so; what waits for review changes nothing."""
    all_roles(conn, breaker="closed", works_with="relay mx:25, stream s at r")
    put(conn, Status.FAILED)
    accept(conn, new_delivery())

    result = run("status")

    assert result.exit_code == 0, result.output
    assert "all is well" in result.stdout
    assert re.search(r"^relay +mx:25 +breaker closed$", result.stdout, re.M)
    assert re.search(r"^consumer +1 +\d+s", result.stdout, re.M)
    assert re.search(r"normal +0 +1 +0 +0 +\d+s", result.stdout)
    assert len(result.stdout.splitlines()) <= 24


@pytest.mark.usefixtures("here")
def test_without_roles_status_says_which_are_missing(run: Run) -> None:
    """Exit code 1, one line, and what to do."""
    code, found = look(run)

    assert code == 1
    assert problems(found) == ["no " + ", no ".join(ROLES) + " is alive"]


def test_a_long_reason_gives_way_before_what_to_do(conn: Connection, run: Run) -> None:
    """An error of a store is as long as it likes; the advice is what somebody needs."""
    long = f"host=/{'very-' * 15}long dbname=x"

    shown = run("status", MAIL_POSTGRES_PRIMARY_DSN=long)

    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("  postgres:")]
    assert line.endswith("-> mailworkers doctor")
    assert "…" in line


def test_each_store_that_is_away_is_named_and_the_rest_is_shown(
    run: Run, here: dict[str, str], conn: Connection, redis_client: redis.Redis
) -> None:
    """One broken thing does not hide the others; no secret is told."""
    all_roles(conn)
    redis_client.xadd("mail:delivery_commands", {"a": "b"})

    code, without_redis = look(run, MAIL_REDIS_MASTER_ADDR="127.0.0.1:1")
    _, without_postgres = look(run, MAIL_POSTGRES_PRIMARY_DSN="postgresql://127.0.0.1:1/x")

    assert code == 1
    assert without_redis["stream"] is None
    assert without_redis["mail"]["roles"][0]["alive"] == 1
    assert [line.partition(":")[0] for line in problems(without_redis)] == ["redis"]
    assert without_postgres["mail"] is None
    assert without_postgres["stream"]["waiting"] == 1
    assert [line.partition(":")[0] for line in problems(without_postgres)] == ["postgres"]
    assert "AWAY" in run("status", MAIL_REDIS_MASTER_ADDR="127.0.0.1:1").stdout


@pytest.mark.usefixtures("here")
def test_a_redis_that_follows_another_is_as_good_as_away(
    run: Run, redis_client: redis.Redis
) -> None:
    """It answers and takes nothing; a database that takes no writes is told of likewise."""
    redis_client.replicaof("127.0.0.1", 1)
    try:
        _, found = look(run)
    finally:
        redis_client.replicaof("NO", "ONE")

    assert problems(found)[0] == "redis: it is a replica: nothing can be put there"


@pytest.mark.usefixtures("here")
def test_a_silent_process_is_told_of_until_another_has_its_name(run: Run, conn: Connection) -> None:
    """Frozen or killed; what supervisord started anew in its place is enough."""
    beat(conn, "sender", age="1 minute")
    beat(conn, "retention", age="11 minutes")
    all_but = [role for role in ROLES if role != "sender"]
    for role in all_but:
        beat(conn, role)

    _, frozen = look(run)
    beat(conn, "sender")
    code, replaced = look(run)

    assert problems(frozen) == [
        "no sender is alive", "sender-01 on host-1 (pid 4711) is silent",
    ]  # fmt: skip
    assert (code, problems(replaced)) == (0, [])


@pytest.mark.usefixtures("here")
def test_the_breaker_the_pauses_and_the_last_errors_are_shown(run: Run, conn: Connection) -> None:
    """What senders say of the relay, what is held back and by whom, what failed last."""
    error = {"at": "2027-01-31T08:00:00+00:00", "delivery_id": "the-id", "words": "timed out\x1b["}
    lately = {"deferred": 7, "errors": [error, error]}
    all_roles(conn, breaker="open", reason="connect: refused", lately=lately)
    run("pause", "--lane", "bulk", "--reason", "慢い中継")

    result = run("status")

    assert result.exit_code == 1
    assert "breaker open: connect: refused" in result.stdout
    assert "lane bulk, by cli:" in result.stdout
    assert "慢い中継" in result.stdout
    assert "deferred 7" in result.stdout
    assert len(re.findall(r"attempt: timed out\\x1b\[ +the-id$", result.stdout, re.M)) == 1


def test_a_sender_tells_of_what_it_put_off(sender: Sender, relay: Relay, conn: Connection) -> None:
    """The sign of life carries what `status` shows: how many in the last minute, and the last."""
    relay.says(RCPT="451 4.2.1 later")
    new = new_delivery()
    accept(conn, new)

    sender.step()
    sender._keep_house()

    facts = sender._context.heartbeat.detail["lately"]
    assert isinstance(facts, dict)
    assert facts["deferred"] == 1
    (error,) = facts["errors"]
    assert error["delivery_id"] == str(new.delivery_id)
    assert error["words"].startswith("provider_deferred: ")
    assert Lately().facts() == {"deferred": 0, "errors": []}


@pytest.mark.usefixtures("here")
def test_top_without_a_terminal_prints_one_frame(run: Run, conn: Connection) -> None:
    """A pipe gets what `status` prints, and is told why."""
    all_roles(conn)

    result = run("top")

    assert result.exit_code == 0
    assert "all is well" in result.stdout
    assert "\x1b" not in result.stdout
    assert "not a terminal" in result.stderr


@pytest.mark.usefixtures("here")
def test_top_as_json_is_one_line_for_each_look(run: Run, conn: Connection) -> None:
    """For programs that follow it."""
    all_roles(conn)

    result = run("top", "--json", "--count", "2", "--every", "0.5")

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["problems"] for line in lines] == [[], []]


class Watched:
    """A command on a terminal of its own, whose size can change."""

    def __init__(self, environ: dict[str, str], *arguments: str, size: tuple[int, int]) -> None:
        self.master, terminal = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(terminal)
        self._terminal = terminal
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mailworkers", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env={**os.environ, **environ, "TERM": "xterm"},
            start_new_session=True,
            # Its own terminal: Ctrl-C and a changed size are signals from that.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  no threads
        )
        self.shown = ""

    def resize(self, columns: int, lines: int) -> None:
        """Change the size of the terminal."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def press(self, keys: str) -> None:
        """Press *keys*."""
        os.write(self.master, keys.encode())

    def sees(self, text: str) -> bool:
        """Whether *text* has been shown since the last frame that was asked about."""
        while select.select([self.master], [], [], 0)[0]:
            self.shown += os.read(self.master, 65536).decode("utf-8", "replace")
        return text in self.shown

    def ends(self) -> int:
        """Return the exit code, once all of it was read."""
        deadline = time.monotonic() + 20
        while self.process.poll() is None and time.monotonic() < deadline:
            self.sees("")
            select.select([self.master], [], [], 0.05)
        self.sees("")
        return self.process.wait(timeout=1)

    @property
    def is_restored(self) -> bool:
        """Whether the terminal is as it was: its modes, its cursor, its first screen."""
        leaves = self.shown.rindex("\x1b[?1049l") > self.shown.rindex("\x1b[?1049h")
        shows = self.shown.rindex("\x1b[?25h") > self.shown.rindex("\x1b[?25l")
        return leaves and shows and termios.tcgetattr(self._terminal) == self.before

    def close(self) -> None:
        """End it if it still runs."""
        self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self._terminal)


@pytest.fixture
def start(here: dict[str, str]) -> Iterator[Start]:
    """Return what starts a command on a terminal."""
    started: list[Watched] = []

    def call(*arguments: str, size: tuple[int, int] = (80, 24), **changes: str) -> Watched:
        started.append(Watched({**here, **changes}, *arguments, size=size))
        return started[-1]

    yield call
    for watched in started:
        watched.close()


@pytest.mark.parametrize(
    "end",
    [
        "q",
        *(pytest.param(end, marks=pytest.mark.slow) for end in ("\x03", signal.SIGTERM)),
        pytest.param(signal.SIGHUP, marks=pytest.mark.slow),
    ],
)
def test_top_gives_the_terminal_back_however_it_ends(
    start: Start, conn: Connection, end: str | signal.Signals
) -> None:
    """A key, Ctrl-C or a signal: no raw mode, no hidden cursor, the old screen."""
    all_roles(conn)
    top = start("top")
    eventually(lambda: top.sees("all is well"), within=30)

    if isinstance(end, str):
        top.press(end)
    else:
        top.process.send_signal(end)

    assert top.ends() == 0
    assert top.is_restored


def test_top_follows_what_happens_and_the_size_of_the_window(
    start: Start, conn: Connection
) -> None:
    """What is new is shown by itself; a small window shows the first lines and how many not."""
    all_roles(conn)
    top = start("top", "--every", "0.5", size=(100, 30))
    eventually(lambda: top.sees("all is well"), within=30)

    conn.execute("DELETE FROM processes WHERE role = 'consumer'")
    eventually(lambda: top.sees("no consumer is alive"), within=30)
    top.shown = ""
    top.resize(50, 8)
    eventually(lambda: top.sees("more lines"), within=30)
    top.shown = ""
    top.press("r")
    eventually(lambda: top.sees("\x1b[J"), within=30)
    frame = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", top.shown.split("\x1b[J")[0])
    top.press("q")

    assert top.ends() == 0
    assert max(map(len, frame.split("\r\n"))) <= 50


def test_colours_are_for_terminals_and_those_who_want_them(start: Start, conn: Connection) -> None:
    """NO_COLOR is heard; nothing else differs."""
    all_roles(conn)

    coloured, plain = start("status"), start("status", NO_COLOR="1")

    assert (coloured.ends(), plain.ends()) == (0, 0)
    assert "\x1b[32m" in coloured.shown
    assert "\x1b[" not in plain.shown
