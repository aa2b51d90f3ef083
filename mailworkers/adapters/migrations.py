"""Running `sql/migrations` by yoyo, on a connection and under a lock of ours.

yoyo brings the bookkeeping and the order. Its own lock is a row that a killed process leaves
behind, so it is not used: the caller holds an advisory lock, which dies with the connection.
"""

from pathlib import Path
from typing import Any, Self

import psycopg
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.connections import DatabaseURI


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]
    """yoyo's Postgres on a connection that is open already, and stays open."""

    def __init__(self, conn: psycopg.Connection[Any]) -> None:
        self._ours = conn
        uri = DatabaseURI("postgresql+psycopg", None, None, None, None, "", {})
        super().__init__(uri, "_yoyo_migration")

    def connect(self, dburi: DatabaseURI) -> psycopg.Connection[Any]:  # noqa: ARG002
        """Return the connection given to the constructor."""
        return self._ours

    def copy(self) -> Self:
        """Return this backend: yoyo wants a second connection, the lock is on the first."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Leave the connection to its owner."""


def apply(conn: psycopg.Connection[Any], directory: Path) -> list[str]:
    """Apply what is missing, each migration in a transaction; return their names in order."""
    backend = _Backend(conn)
    backend.init_database()
    pending = backend.to_apply(read_migrations(str(directory)))
    names = [migration.id for migration in pending]
    backend.apply_migrations(pending)
    return names
