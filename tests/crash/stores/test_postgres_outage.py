"""PostgreSQL is away, at the start and later: every role waits, says so, and goes on (F-P01)."""

import json
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from mailworkers.adapters import db
from mailworkers.embedded.ports import free_port
from mailworkers.embedded.servers import Servers
from tests.crash.commands import put_commands
from tests.crash.processes import Roles
from tests.crash.stores.own import own_servers
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.slow

ROLES = ("consumer", "scheduler", "sender", "retention", "api", "monitor")
# 5 s are promised. The rest is for a machine on which much else runs.
SOON = 15


@pytest.fixture(scope="module")
def own(request: pytest.FixtureRequest) -> Iterator[Servers]:
    """Return servers of this module alone."""
    with own_servers(request.config) as running:
        yield running


class Installation:
    """All six roles on servers of their own."""

    def __init__(self, own: Servers, roles: Roles) -> None:
        self._roles = roles
        self._health = free_port()
        roles.environ |= {
            "MAIL_POSTGRES_PRIMARY_DSN": own.postgres_dsn,
            "MAIL_REDIS_MASTER_ADDR": own.redis_addr,
            "HTTP_PORT": str(self._health),
            "PROMETHEUS_PORT": str(free_port()),
            "MAIL_INTERNAL_HTTP_ADDR": f"127.0.0.1:{free_port()}",
        }
        self.processes = {role: roles.start(role) for role in ROLES}

    def told(self, event: str, dependency: str) -> Counter[str]:
        """Return how often each role has said *event* about *dependency*."""
        lines = map(json.loads, self._roles.logs().splitlines())
        return Counter(
            line["role"]
            for line in lines
            if line["event"] == event and line.get("dependency") == dependency
        )

    def health(self, path: str = "/health") -> tuple[int, dict[str, Any]]:
        """Return status and body of an answer of the monitor."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._health}{path}") as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except OSError:  # its listener is not open yet
            return 0, {}

    def exit_codes(self) -> set[int | None]:
        """Return the exit codes of all, None for those that run."""
        return {process.exit_code for process in self.processes.values()}


@pytest.fixture
def cold(own: Servers, roles: Roles) -> Iterator[Installation]:
    """Start all roles while PostgreSQL is not there."""
    own.postgres.stop()
    yield Installation(own, roles)
    own.postgres.start()


def test_all_roles_wait_for_postgres_at_the_start_and_later(
    own: Servers, cold: Installation, relay: Relay
) -> None:
    """Nobody exits, each says it once when it goes and once when it returns, all goes on (N-08)."""
    every = dict.fromkeys(ROLES, 1)
    eventually(lambda: cold.told("store lost", "postgres") == every, within=30)
    eventually(lambda: cold.health()[0] == 503, within=10)
    checks = cold.health()[1]["checks"]
    assert {name for name, told in checks.items() if told == "ok"} == {"redis"}
    first = put_commands(own, 3)
    _let_pass(2)

    own.postgres.start()
    _expect_all_well(own, cold, relay, first, times=1)

    own.postgres.stop(signal.SIGQUIT)
    every = dict.fromkeys(ROLES, 2)
    eventually(lambda: cold.told("store lost", "postgres") == every, within=30)
    eventually(lambda: cold.health()[0] == 503, within=10)
    second = put_commands(own, 3)
    _let_pass(2)
    own.postgres.start()
    _expect_all_well(own, cold, relay, first + second, times=2)


def _let_pass(seconds: float) -> None:
    """Let the outage last a while; nothing is expected to happen."""
    began = time.monotonic()
    eventually(lambda: time.monotonic() > began + seconds, within=seconds + 5)


def _expect_all_well(
    own: Servers, cold: Installation, relay: Relay, ids: list[str], times: int
) -> None:
    back = time.monotonic()
    every = dict.fromkeys(ROLES, times)
    eventually(lambda: len(relay.accepted) == len(ids), within=30)
    eventually(lambda: cold.told("store returned", "postgres") == every, within=30)
    healed = time.monotonic() - back
    eventually(lambda: cold.health("/ready")[0] == 200, within=30)

    assert sorted(m.rcpt_to[0].split("@")[0] for m in relay.accepted) == sorted(ids)
    assert cold.told("store lost", "postgres") == every
    assert cold.exit_codes() == {None}
    assert healed < SOON
    assert _connections(own) == dict.fromkeys(("consumer", "scheduler", "sender", "retention"), 1)


def _connections(own: Servers) -> dict[str, int]:
    """Return how many connections each role that has no pool holds (F-P08)."""
    with db.connect(own.postgres_dsn, application="test") as conn:
        rows = conn.execute(
            "SELECT substring(application_name FROM '^mailworkers ([a-z]+)-[0-9]+$'), count(*)"
            " FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1"
        ).fetchall()
    found = {role: count for role, count in rows if role}
    return {role: count for role, count in found.items() if role not in {"api", "monitor"}}
