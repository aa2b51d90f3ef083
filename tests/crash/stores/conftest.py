"""Fixtures of the tests in which a store fails."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from mailworkers.adapters.settings import Settings, load
from mailworkers.embedded.servers import Servers
from tests.crash.processes import roles
from tests.crash.stores.proxy import Proxy
from tests.relay import Relay

__all__ = ["roles"]

MakeSettings = Callable[..., Settings]


def behind(proxy: Proxy) -> str:
    """Return the address of the test's database behind *proxy*."""
    return f"postgresql://mailworkers@{proxy.addr}/mailworkers?sslmode=disable&gssencmode=disable"


@pytest.fixture
def open_path() -> Iterator[Path]:
    """Return a directory that the account of the servers may enter; pytest's own it may not."""
    place = Path(tempfile.mkdtemp(prefix="mail-stores-"))
    place.chmod(0o711)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture
def postgres_proxy(servers: Servers) -> Iterator[Proxy]:
    """Return a proxy before the session's PostgreSQL."""
    with Proxy(str(servers.places.sockets / ".s.PGSQL.5432")) as proxy:
        yield proxy


@pytest.fixture
def redis_proxy(servers: Servers) -> Iterator[Proxy]:
    """Return a proxy before the session's Valkey or Redis."""
    with Proxy(str(servers.places.keyvalue_socket)) as proxy:
        yield proxy


@pytest.fixture
def make_settings(
    servers: Servers, database: str, redis_client: redis.Redis, relay: Relay, tmp_path: Path
) -> MakeSettings:
    """Return what makes Settings of the test's stores and relay; arguments are variables."""

    def make(**environ: str) -> Settings:
        return load(
            {
                "MAIL_POSTGRES_PRIMARY_DSN": database,
                "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
                "MAIL_STATE_DIR": str(tmp_path),
                "MAIL_SMTP_ADDR": relay.addr,
                "MAIL_SMTP_TLS": "none",
                "MAIL_SMTP_FROM_EMAIL": "shop@example.org",
                "MAIL_SMTP_HELO": "localhost",
                "MAIL_POLL_INTERVAL": "50ms",
                "MAIL_RETRY_JITTER": "0",
                "LOG_LEVEL": "debug",
                **environ,
            }
        )

    return make
