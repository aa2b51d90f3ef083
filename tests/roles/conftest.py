"""Roles for tests: built as their processes build them, stepped by hand."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from mailworkers.adapters import process
from mailworkers.adapters.settings import Settings, load
from mailworkers.embedded.servers import Servers
from mailworkers.roles.consumer import Consumer
from mailworkers.roles.retention import Retention
from mailworkers.roles.scheduler import Scheduler
from mailworkers.roles.sender import Sender
from tests.relay import Relay

R = TypeVar("R", bound=process.Role)
MakeSettings = Callable[..., Settings]


@pytest.fixture
def make_settings(
    servers: Servers, database: str, redis_client: redis.Redis, tmp_path: Path
) -> MakeSettings:
    """Return what makes Settings of the test's stores; arguments are environment variables."""

    def make(**environ: str) -> Settings:
        return load(
            {
                "MAIL_POSTGRES_PRIMARY_DSN": database,
                "MAIL_REDIS_MASTER_ADDR": servers.redis_addr,
                "MAIL_STATE_DIR": str(tmp_path),
                "MAIL_SMTP_MODE": "smtp",
                "MAIL_SMTP_ADDR": "127.0.0.1:9",
                "MAIL_SMTP_TLS": "none",
                "MAIL_SMTP_FROM_EMAIL": "shop@example.org",
                "MAIL_SMTP_HELO": "localhost",
                "LOG_LEVEL": "debug",
                **environ,
            }
        )

    return make


@pytest.fixture
def build(make_settings: MakeSettings) -> Iterator[Callable[..., Any]]:
    """Return what builds a role: `build(Sender, MAIL_..="..")`; closed at the end."""
    roles: list[tuple[process.Context, process.Role]] = []

    def make(role: Callable[[process.Context], R], **environ: str) -> R:
        name = getattr(role, "__name__", "role").lower()
        context = process.Context(name, make_settings(**environ))
        made = role(context)
        roles.append((context, made))
        return made

    yield make
    for context, role in roles:
        role.close()
        context.waker.close()
        context.database.drop()
        context.telemetry.close()


@pytest.fixture
def consumer(build: Callable[..., Consumer]) -> Consumer:
    """Return a consumer of the test's stream."""
    return build(Consumer, MAIL_POLL_INTERVAL="50ms")


@pytest.fixture
def scheduler(build: Callable[..., Scheduler]) -> Scheduler:
    """Return a scheduler."""
    return build(Scheduler)


@pytest.fixture
def retention(build: Callable[..., Retention]) -> Retention:
    """Return a retention role."""
    return build(Retention)


@pytest.fixture
def sender(build: Callable[..., Sender], relay: Relay) -> Sender:
    """Return a sender that talks to the scripted relay."""
    return build(Sender, MAIL_SMTP_ADDR=relay.addr, MAIL_RETRY_JITTER="0")
