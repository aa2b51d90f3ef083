"""PostgreSQL falls silent: nothing arrives any more, and nobody says so (F-P05, P-04)."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.embedded.servers import Servers
from tests.crash.processes import Roles
from tests.crash.stores.cable import Cable, namespace
from tests.crash.stores.conftest import behind
from tests.crash.stores.proxy import Proxy
from tests.deliveries import accept, new_delivery
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow

# What is promised. It was 17 s while tcp_user_timeout was longer than what keepalives take.
NOTICED = 15

WAITS = """
import sys, time
from mailworkers.adapters import db
from mailworkers.adapters.sqlstates import translated
from mailworkers.core.errors import StoreUnavailable

database = db.Database(sys.argv[1], "waits")
try:
    with translated():
        database.conn.execute("SELECT pg_sleep(55)")
except StoreUnavailable as error:
    print(time.time(), error.reason, flush=True)
"""


class Elsewhere:
    """Programs that reach PostgreSQL and the relay by a cable each."""

    def __init__(self, name: str, servers: Servers, relay: Relay) -> None:
        self._name = name
        self.cable = Cable(name)
        self.postgres = Proxy(str(servers.places.sockets / ".s.PGSQL.5432"), host=self.cable.here)
        self.relay = Proxy(("127.0.0.1", relay.port), host=Cable(name).here)

    def start(
        self, *arguments: str, environ: dict[str, str], output: Path
    ) -> subprocess.Popen[bytes]:
        """Start a Python program there; what it says goes to *output*."""
        command = ["ip", "netns", "exec", self._name, sys.executable, *arguments]
        with output.open("wb") as out:
            return subprocess.Popen(command, env={**os.environ, **environ}, stdout=out, stderr=out)


@pytest.fixture
def elsewhere(servers: Servers, relay: Relay) -> Iterator[Elsewhere]:
    """Return a place behind two cables."""
    with namespace() as name:
        place = Elsewhere(name, servers, relay)
        with place.postgres, place.relay:
            yield place


def _statuses(conn: db.Connection) -> list[str]:
    return [row[0] for row in conn.execute("SELECT status FROM deliveries")]


def test_a_cable_that_is_pulled_is_noticed_and_the_outcome_kept(
    elsewhere: Elsewhere, conn: db.Connection, roles: Roles, relay: Relay, tmp_path: Path
) -> None:
    """By who has just asked and by who waits for an answer; the mail goes once."""
    dsn = behind(elsewhere.postgres)
    environ = {**roles.environ, "MAIL_POSTGRES_PRIMARY_DSN": dsn}
    environ["MAIL_SMTP_ADDR"] = elsewhere.relay.addr
    waits_log, sender_log = tmp_path / "waits.log", tmp_path / "sender.log"
    waiting = elsewhere.start("-c", WAITS, dsn, environ=environ, output=waits_log)
    sender = elsewhere.start("-m", "mailworkers", "sender", environ=environ, output=sender_log)
    pulled: list[float] = []

    def pull(_: object) -> None:
        eventually(lambda: _is_asleep(conn), within=30)
        elsewhere.cable.pull()
        pulled.append(time.time())

    try:
        relay.says(BODY=[pull])
        accept(conn, new_delivery())
        eventually(lambda: len(relay.accepted) == 1, within=40)
        eventually(lambda: waiting.poll() is not None, within=30)
        eventually(lambda: "store lost" in sender_log.read_text(), within=30)

        assert float(waits_log.read_text().split()[0]) - pulled[0] < NOTICED
        assert _lost_at(sender_log) - pulled[0] < NOTICED
        assert _statuses(conn) == ["sending"]
        elsewhere.cable.plug()
        eventually(lambda: _statuses(conn) == ["sent"], within=30)
        assert len(relay.accepted) == 1
        assert sender.poll() is None
    finally:
        for program in (waiting, sender):
            program.kill()
            program.wait()


def _is_asleep(conn: db.Connection) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    return conn.execute(query).fetchone() == (1,)


def _lost_at(log: Path) -> float:
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (lost,) = [line for line in lines if line["event"] == "store lost"]
    return datetime.fromisoformat(lost["time"]).timestamp()
