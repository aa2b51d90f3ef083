"""Stores by TLS: certificates are verified, and who insists on TLS never goes on without."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.embedded.ports import free_port
from tests.certificates import Certificates
from tests.crash.operation.commands import put
from tests.crash.operation.verdicts import count
from tests.crash.processes import Roles
from tests.crash.stores.conftest import behind
from tests.crash.stores.own import lack
from tests.crash.stores.proxy import Proxy
from tests.eventually import eventually

# Valkey of the wheels speaks no TLS; that of Debian, or its Redis, does.
PROGRAM = "redis-server"

StartRedis = Callable[[str], int]


@pytest.fixture
def start_redis(certificates: Certificates, tmp_path: Path) -> Iterator[StartRedis]:
    """Return what starts a Redis that shows a certificate of ours; it returns the port."""
    if shutil.which(PROGRAM) is None:
        lack(f"{PROGRAM}: install the package redis-server")
    with ExitStack() as stack:

        def start(identity: str) -> int:
            port = free_port()
            chain, key = certificates.chain(identity)
            command = [PROGRAM, "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1"]
            command += ["--tls-cert-file", str(chain), "--tls-key-file", str(key), "--save", ""]
            command += ["--tls-ca-cert-file", str(certificates.ca), "--tls-auth-clients", "no"]
            log = stack.enter_context((tmp_path / f"redis-{identity}.log").open("wb"))
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=tmp_path)
            stack.callback(server.wait)
            stack.callback(server.kill)
            eventually(lambda: _listens(port), within=30)
            return port

        yield start


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


def _environ(certificates: Certificates, port: int) -> dict[str, str]:
    """Return the settings of a role that trusts our authority as it trusts the system's."""
    return {
        "MAIL_REDIS_MASTER_ADDR": f"127.0.0.1:{port}",
        "MAIL_REDIS_TLS": "true",
        "SSL_CERT_FILE": str(certificates.ca),
    }


def test_commands_come_by_tls(
    roles: Roles, conn: db.Connection, certificates: Certificates, start_redis: StartRedis
) -> None:
    """RS-121: from the producer's entry to the relay."""
    port = start_redis("localhost")
    roles.environ |= _environ(certificates, port)
    roles.start("consumer")
    roles.start("sender")
    with redis.Redis(port=port, ssl=True, ssl_ca_certs=str(certificates.ca)) as producer:
        put(producer)

        eventually(lambda: count(conn, "sent") == 1, within=30)

    assert "store lost" not in roles.logs()


@pytest.mark.parametrize("identity", ["elsewhere", "expired", "localhost"])
def test_a_certificate_that_is_not_good_is_named_and_waited_for(
    roles: Roles, certificates: Certificates, start_redis: StartRedis, identity: str
) -> None:
    """Of another name, out of date, of an authority nobody trusts: told, and never passed over."""
    environ = _environ(certificates, start_redis(identity))
    if identity == "localhost":
        del environ["SSL_CERT_FILE"]
    consumer = roles.start("consumer", **environ)

    eventually(lambda: "store lost" in roles.logs(), within=30)

    assert '"dependency":"redis"' in roles.logs()
    assert "certificate verify failed" in roles.logs()
    assert consumer.exit_code is None


def test_a_database_without_tls_is_refused_where_the_dsn_insists_on_it(
    roles: Roles, database: str, postgres_proxy: Proxy
) -> None:
    """RS-43: `sslmode=require` is libpq's, and nothing of ours works around it."""
    dsn = behind(postgres_proxy).replace("sslmode=disable", "sslmode=require")
    scheduler = roles.start("scheduler", MAIL_POSTGRES_PRIMARY_DSN=dsn)

    eventually(lambda: "store lost" in roles.logs(), within=30)

    assert "does not support SSL" in roles.logs()
    assert scheduler.exit_code is None
