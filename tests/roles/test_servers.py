"""The embedded servers: throwaway or kept, reached by nobody but their owner."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from mailworkers.embedded.account import servers_account
from mailworkers.embedded.binaries import Source, find_binaries
from mailworkers.embedded.installation import without_foreign_servers
from mailworkers.embedded.ports import Ports, choose_ports
from mailworkers.embedded.server_commands import socket_directory
from mailworkers.embedded.servers import Servers, start_servers
from tests.eventually import eventually


@pytest.fixture
def directory() -> Iterator[Path]:
    """Return a short directory that the servers' account can enter."""
    made = Path(tempfile.mkdtemp(prefix="mail-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def source(request: pytest.FixtureRequest) -> str:
    """Return the chosen source of server programs."""
    return str(request.config.getoption("--servers"))


def _ask(servers: Servers, statement: bytes) -> object:
    with psycopg.connect(servers.postgres_dsn, autocommit=True) as conn:
        return conn.execute(statement).fetchone()


def test_data_survives_a_crash_of_both_servers(directory: Path, source: str) -> None:
    with start_servers(directory, source=source) as servers:
        with psycopg.connect(servers.postgres_dsn, autocommit=True) as conn:
            conn.execute("CREATE TABLE kept AS SELECT 7 AS number")
        with redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client:
            client.xadd("stream", {"number": 7})
            client.config_set("appendfsync", "always")
            client.xadd("stream", {"number": 8})

        for server in (servers.postgres, servers.keyvalue):
            server.kill()
            server.start()

        assert _ask(servers, b"SELECT number FROM kept") == (7,)
        with redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client:
            assert client.xlen("stream") == 2


def test_no_server_listens_on_a_port(servers: Servers) -> None:
    with redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client:
        assert client.config_get("port") == {"port": "0"}
    assert _ask(servers, b"SHOW listen_addresses") == ("",)


def test_only_the_owner_can_open_the_sockets(servers: Servers) -> None:
    assert servers.places.sockets.stat().st_mode & 0o077 == 0


def test_sorting_is_the_same_on_every_machine(servers: Servers) -> None:
    found = _ask(servers, b"SELECT array_agg(x ORDER BY x) FROM unnest('{b,B,a,A}'::text[]) x")

    assert found == (["A", "B", "a", "b"],)


def test_an_interrupted_preparation_leaves_nothing_half_made(directory: Path, source: str) -> None:
    account = servers_account()
    label = find_binaries(Source(source), account, directory).postgres.label
    half = account.make_directory(directory / f"{label}.new")
    (half / "PG_VERSION").write_text("half of a directory")

    with start_servers(directory, source=source, durable=False) as servers:
        assert _ask(servers, b"SELECT 1") == (1,)


def test_sockets_of_a_deep_directory_go_to_a_short_one(directory: Path, source: str) -> None:
    """A socket's path may have 107 bytes."""
    deep = directory / ("a-rather-long-name-of-a-directory" * 4)
    deep.mkdir(mode=0o711)
    try:
        with start_servers(deep, source=source, durable=False) as servers:
            assert deep not in servers.places.sockets.parents
            assert servers.places.sockets.stat().st_mode & 0o077 == 0
            assert _ask(servers, b"SELECT 1") == (1,)
    finally:
        shutil.rmtree(socket_directory(deep, "s"))


def test_servers_end_when_the_process_that_started_them_is_killed(
    directory: Path, source: str
) -> None:
    program = (
        "import sys, time; from pathlib import Path;"
        "from mailworkers.embedded.servers import start_servers;"
        "s = start_servers(Path(sys.argv[1]), source=sys.argv[2], durable=False);"
        "print(s.postgres.pid, s.keyvalue.pid, flush=True); time.sleep(600)"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program, directory, source], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pids = [int(word) for word in starter.stdout.readline().split()]
    starter.stdout.close()

    starter.send_signal(signal.SIGKILL)
    starter.wait()

    eventually(lambda: not any(_is_alive(pid) for pid in pids), within=15)


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_programs_named_by_hand_come_before_all_others(
    monkeypatch: pytest.MonkeyPatch, servers: Servers
) -> None:
    monkeypatch.setenv("PG_BINDIR", str(servers.binaries.postgres.path.parent))

    found = find_binaries(Source.AUTO, servers_account(), servers.places.sockets.parent)

    assert found.postgres.version == servers.binaries.postgres.version


def test_nothing_that_names_a_server_gets_into_an_installation() -> None:
    foreign = {
        "DATABASE_URL": "postgresql://elsewhere/",
        "REDIS_URL": "redis://elsewhere",
        "PGHOST": "elsewhere",
        "MAIL_SMTP_ADDR": "elsewhere:25",
        "MAIL_POSTGRES_PRIMARY_DSN_FILE": "/run/secrets/dsn",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere",
    }

    assert without_foreign_servers({**foreign, "PATH": os.defpath}) == {"PATH": os.defpath}


def test_ports_are_remembered_and_a_taken_one_is_replaced(tmp_path: Path) -> None:
    memory = tmp_path / "ports.json"
    with _listening() as taken:
        port = taken.getsockname()[1]
        memory.write_text(json.dumps({"api": port}))
        chosen = choose_ports(memory)

    assert chosen.api != port
    assert len({getattr(chosen, name) for name in Ports.__struct_fields__}) == 5
    assert choose_ports(memory) == chosen


@pytest.mark.parametrize("written", ["", "{", '{"api": 0}', '{"smtp": 25}', '{"health": 70000}'])
def test_a_memory_of_ports_that_makes_no_sense_is_not_used(tmp_path: Path, written: str) -> None:
    memory = tmp_path / "ports.json"
    memory.write_text(written)

    assert choose_ports(memory).api >= 1024


def _listening() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken
