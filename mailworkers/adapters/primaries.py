"""Connecting to the server that may be written: never to one that was replaced (F-P13).

After a failover the old primary may come back, or still be there: whatever is written to it is
lost. Its timeline is older than the one its successor began, and that is how it is known: by what
this process has seen before. Servers that do not tell are taken at their word.
"""

from collections.abc import Mapping
from typing import Any

import psycopg

from mailworkers.adapters.sqlstates import translated
from mailworkers.adapters.watchdog import Watchdog
from mailworkers.core.errors import StoreUnavailable

# The newest timeline this process has seen, by the system it belongs to (initdb makes a new one).
_NEWEST: dict[int, int] = {}

_ASK = b"""
SELECT pg_is_in_recovery(), (SELECT system_identifier FROM pg_control_system()),
    CASE WHEN NOT pg_is_in_recovery() THEN substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END
"""


def timeline_of(conn: psycopg.Connection[Any]) -> int:
    """Return the timeline *conn* leads to, 0 where the server keeps that to itself.

    Raises StoreUnavailable when it leads to a standby or to a primary that was replaced.
    """
    try:
        row = conn.execute(_ASK).fetchone()
    except (psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported):
        return 0  # hosted servers
    is_standby, system, name = row or (False, 0, None)
    if is_standby:
        raise StoreUnavailable("postgres", "the server is a standby, it cannot be written")
    timeline = int(name or "0", 16)
    newest = _NEWEST.setdefault(system, timeline)
    if timeline < newest:
        reason = (
            f"the server is on timeline {timeline}, older than {newest}, where we have been: "
            "a primary that was replaced. Stop it; if it is meant, restart the roles"
        )
        raise StoreUnavailable("postgres", reason)
    _NEWEST[system] = timeline
    return timeline


def each_host(parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return *parameters* for each of the hosts they name, in order."""
    names = [name for name in ("host", "hostaddr", "port") if "," in str(parameters.get(name, ""))]
    if not names:
        return [parameters]
    columns = {name: str(parameters[name]).split(",") for name in names}
    count = max(map(len, columns.values()))
    return [
        {**parameters, **{name: values[i] for name, values in columns.items() if i < len(values)}}
        for i in range(count)
    ]


class Watched(psycopg.Connection[tuple[Any, ...]]):
    """A connection on which nobody waits for an answer longer than its watchdog allows."""

    watchdog: Watchdog | None = None
    timeline: int = 0

    def wait(self, *args: Any, **options: Any) -> Any:
        """Wait for the server, as the driver does for every statement."""
        if self.watchdog is None:
            return super().wait(*args, **options)
        with self.watchdog.watching(self):
            return super().wait(*args, **options)

    def close(self) -> None:
        """Close the connection and stop watching it."""
        if self.watchdog is not None:
            self.watchdog.close()
        super().close()


def connect_primary(parameters: Mapping[str, Any], *, asks_all: bool = False) -> Watched:
    """Open an autocommit connection to the host of *parameters* that may be written.

    The first that will do; with *asks_all* the one on the newest timeline, for it may be that there
    are two. StoreUnavailable, with what each of them said, when there is none.
    """
    reasons: list[str] = []
    found: list[Watched] = []
    for host in each_host(dict(parameters)):
        try:
            found.append(_connect(host))
        except StoreUnavailable as error:
            reasons.append(error.reason)
        if found and not asks_all:
            break
    if not found:
        raise StoreUnavailable("postgres", "; ".join(reasons))
    newest = max(found, key=lambda conn: conn.timeline)
    for conn in found:
        if conn is not newest:
            conn.close()
    return newest


def _connect(parameters: Mapping[str, Any]) -> Watched:
    """Open a connection to one host that may be written."""
    with translated():
        conn = Watched.connect(**parameters, autocommit=True)
        try:
            conn.timeline = timeline_of(conn)
        except BaseException:
            conn.close()
            raise
        return conn
