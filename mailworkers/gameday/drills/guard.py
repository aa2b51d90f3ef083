"""Before a drill touches an installation that is there: does it look like production?"""

from collections.abc import Iterator

import msgspec
from psycopg.conninfo import conninfo_to_dict

from mailworkers.adapters.settings import Settings

_FOR_TRYING = frozenset({"ci", "dev", "development", "local", "staging", "test", "testing"})
_LOCAL = ("127.", "localhost", "[::1]", "::1", "unix:", "/")


class Doubt(msgspec.Struct, frozen=True):
    """Why an installation looks like production, and what to type if it is meant all the same."""

    reasons: tuple[str, ...]
    phrase: str


def doubt_of(settings: Settings) -> Doubt | None:
    """Return why *settings* may be production's, None when they are plainly for trying."""
    reasons = tuple(_reasons(settings))
    if not reasons:
        return None
    return Doubt(reasons, f"break {settings.environment or 'production'}".lower())


def _reasons(settings: Settings) -> Iterator[str]:
    name = settings.environment
    if name and name.lower() not in _FOR_TRYING:
        yield f"MAIL_ENVIRONMENT is {name}"
    if settings.smtp_mode == "smtp" and not settings.smtp_addr.startswith(_LOCAL):
        yield f"mail leaves this machine, by {settings.smtp_addr}"
    for host in _postgres_hosts(settings):
        if not host.startswith(_LOCAL):
            yield f"PostgreSQL is on another machine: {host}"
    for address in (settings.redis_addr, *settings.redis_sentinels):
        if not address.startswith(_LOCAL):
            yield f"Redis is on another machine: {address}"


def _postgres_hosts(settings: Settings) -> list[str]:
    """Return the hosts of the DSN; one without is reached by its local socket."""
    given = conninfo_to_dict(settings.postgres_dsn)
    hosts = str(given.get("hostaddr") or given.get("host") or "")
    return [host for host in hosts.split(",") if host]
