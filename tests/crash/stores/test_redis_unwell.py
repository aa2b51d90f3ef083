"""Redis answers, but not as it should: it refuses, lacks something or is set up wrongly.

F-R06, F-R07, F-R08, F-R13.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.redis_health import denied
from mailworkers.adapters.stream import GROUP
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from mailworkers.roles.sender import Sender
from tests.crash.commands import STREAM, command_fields, put_commands
from tests.crash.processes import Roles
from tests.crash.stores.conftest import MakeSettings
from tests.crash.stores.keyvalue import keyvalue
from tests.crash.stores.turning import running
from tests.eventually import eventually
from tests.relay import Relay

Ill = Callable[[Servers, Any], Iterator[None]]


def _misconf(servers: Servers, client: Any) -> Iterator[None]:
    """No snapshot could be written: no writes are taken, so that somebody looks."""
    client.config_set("save", "3600 1")
    servers.places.keyvalue.chmod(0o500)
    with suppress(redis.ResponseError):
        client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", within=20)
    yield
    servers.places.keyvalue.chmod(0o700)
    client.config_set("save", "")


def _readonly(servers: Servers, client: Any) -> Iterator[None]:
    """It was made a replica: a failover, and we are still connected."""
    client.replicaof("127.0.0.1", 1)
    yield
    client.replicaof("NO", "ONE")


def _busy(servers: Servers, client: Any) -> Iterator[None]:
    """Somebody's script runs and runs."""
    client.config_set("busy-reply-threshold", 50)

    def run() -> None:
        with (
            redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as own,
            suppress(redis.ResponseError),
        ):
            own.eval("while true do end", 0)

    script = threading.Thread(target=run)
    script.start()
    eventually(lambda: _says_busy(client))
    yield
    client.script_kill()
    script.join(10)


def _says_busy(client: Any) -> bool:
    try:
        client.ping()
    except redis.ResponseError as error:
        return "BUSY" in str(error) or "busy" in str(error)
    return False


ILLS: dict[str, tuple[Ill, str]] = {
    "MISCONF": (_misconf, "MISCONF"),
    "READONLY": (_readonly, "read only"),
    "BUSY": (_busy, "usy"),
}


def _deliveries(conn: db.Connection) -> int:
    row = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    return int(row[0]) if row else 0


@pytest.mark.parametrize("name", ILLS)
def test_a_redis_that_refuses_is_waited_for_and_named(
    servers: Servers,
    conn: db.Connection,
    redis_client: Any,
    make_settings: MakeSettings,
    capfd: pytest.CaptureFixture[str],
    name: str,
) -> None:
    """Nothing is lost, nobody exits; what it said stands in the log (F-R06)."""
    ill, word = ILLS[name]
    with running(Consumer, make_settings()) as turn:
        put_commands(servers, 3)
        with contextmanager(ill)(servers, redis_client):
            for _ in range(3):
                turn()
            said = capfd.readouterr().out
        eventually(lambda: turn() or _deliveries(conn) == 3, within=20)
        eventually(
            lambda: turn() or redis_client.xpending(STREAM, GROUP)["pending"] == 0, within=20
        )

    assert '"store lost"' in said
    assert word in said


def test_without_memory_left_redis_is_still_emptied(
    servers: Servers,
    conn: db.Connection,
    redis_client: Any,
    make_settings: MakeSettings,
    relay: Relay,
) -> None:
    """Under noeviction only what adds is refused: intake reads on, wake-ups are polls (F-R06)."""
    with running(Consumer, make_settings()) as intake, running(Sender, make_settings()) as send:
        put_commands(servers, 3)
        redis_client.config_set("maxmemory", 1)
        try:
            with pytest.raises(redis.exceptions.OutOfMemoryError):
                redis_client.lpush("any", "1")
            eventually(lambda: intake() or send() or len(relay.accepted) == 3, within=20)
        finally:
            redis_client.config_set("maxmemory", 0)

    assert redis_client.xpending(STREAM, GROUP)["pending"] == 0


@pytest.mark.slow
def test_a_redis_that_reads_its_file_is_waited_for(
    servers: Servers,
    conn: db.Connection,
    make_settings: MakeSettings,
    open_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """LOADING: after a restart with much to read it answers that it is not ready yet (F-R06)."""
    options = ("--appendonly", "yes", "--aof-use-rdb-preamble", "no")
    slow = ("--key-load-delay", "200")  # microseconds a command; every 1,024 it looks up
    with (
        keyvalue(servers, open_path / "kv", *options) as first,
        first.client().pipeline(transaction=False) as pipe,
    ):
        for fields in command_fields(3):
            pipe.xadd(STREAM, fields)
        for number in range(20_000):
            pipe.set(f"other-{number}", "")
        pipe.execute()
    with keyvalue(servers, open_path / "kv", *options, *slow) as again:
        settings = make_settings(MAIL_REDIS_MASTER_ADDR=again.addr)
        with running(Consumer, settings) as turn:
            eventually(lambda: turn() or _deliveries(conn) == 3, within=30)

    assert "loading the dataset" in capfd.readouterr().out


@contextmanager
def _configured(client: Any, **options: str) -> Iterator[None]:
    """Change options of the server for a while."""
    before = {name: client.config_get(name)[name] for name in options}
    try:
        for name, value in options.items():
            client.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


def test_a_redis_that_may_lose_commands_is_warned_of_at_the_start(
    conn: db.Connection,
    redis_client: Any,
    make_settings: MakeSettings,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Eviction takes the stream as a whole; without a file a restart does (F-R07)."""
    wrong = {"maxmemory-policy": "allkeys-lru", "appendonly": "no"}
    with _configured(redis_client, **wrong), running(Consumer, make_settings()):
        said = capfd.readouterr().out
    with running(Consumer, make_settings()):
        rightly = capfd.readouterr().out

    assert "maxmemory-policy allkeys-lru: it may throw all commands away" in said
    assert "appendonly no: a restart loses commands" in said
    assert "setting is doubtful" not in rightly


@pytest.mark.slow
def test_another_kind_of_key_in_place_of_the_stream_refuses_the_start(
    roles: Roles, redis_client: Any
) -> None:
    """78, which supervisord does not try again, and the key by its name (F-R08)."""
    redis_client.set(STREAM, "somebody else's")

    consumer = roles.start("consumer")

    assert consumer.wait() == 78
    assert f"the key {STREAM} holds something that is not a stream" in consumer.output.read_text()


@contextmanager
def _forbidden(client: Any, *commands: str) -> Iterator[None]:
    """Take *commands* from everybody for a while."""
    client.execute_command("ACL SETUSER", "default", *(f"-{name}" for name in commands))
    try:
        yield
    finally:
        client.execute_command("ACL SETUSER", "default", "+@all")


@pytest.mark.parametrize("command", ["xautoclaim", "xgroup", "xreadgroup", "xack"])
def test_a_command_that_is_not_allowed_is_named_and_waited_for(
    servers: Servers,
    conn: db.Connection,
    redis_client: Any,
    make_settings: MakeSettings,
    capfd: pytest.CaptureFixture[str],
    command: str,
) -> None:
    """NOPERM: in the log of whoever needs it and by `doctor`; allowed, it is used (F-R13)."""
    settings = make_settings()
    put_commands(servers, 2)
    assert denied(settings) == []
    with running(Consumer, settings) as turn:
        capfd.readouterr()
        redis_client.xgroup_destroy(STREAM, GROUP)
        with _forbidden(redis_client, command):
            # The entries of dead consumers are looked for every five seconds.
            eventually(lambda: turn() or f"run the '{command}" in capfd.readouterr().out, within=15)
            lacking = denied(settings)
        eventually(lambda: turn() or _deliveries(conn) == 2, within=20)

    assert {name.partition(" ")[0].lower() for name in lacking} == {command}
