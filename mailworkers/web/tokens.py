"""API tokens: who calls, and what they may do.

A token is known only by its SHA-256 in `api_tokens`. While that table is empty the API is open to
programs of this host; from the first row on, even one that was revoked, it wants a token.
"""

import asyncio
import hashlib
import hmac
import time
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from mailworkers.adapters.store.pool import Pool
from mailworkers.adapters.store.reads import TokenRow, list_tokens
from mailworkers.core.errors import StoreUnavailable
from mailworkers.web.errors import ErrorCode, Problem

# A token that was made or revoked counts after this at the latest.
MEMORY = timedelta(seconds=1)
LONGEST = 512  # characters of a token
SCOPES = ("intake", "read", "operate", "admin")


class Principal(msgspec.Struct, frozen=True):
    """Who calls: the name of a token, or a program of this host."""

    name: str
    scopes: frozenset[str]


# Without tokens nobody can prove to be an administrator.
LOCAL = Principal("local", frozenset(SCOPES) - {"admin"})


class Tokens:
    """The tokens as they were at most `MEMORY` ago; the last known ones while Postgres is away."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rows: tuple[TokenRow, ...] | None = None
        self._read_at = 0.0
        self._lock = asyncio.Lock()

    async def current(self) -> tuple[TokenRow, ...]:
        """Return all tokens; StoreUnavailable when they were never read."""
        if self._is_fresh() and self._rows is not None:
            return self._rows
        async with self._lock:
            if self._rows is None or not self._is_fresh():
                try:
                    self._rows = await asyncio.to_thread(self._read)
                except StoreUnavailable:
                    if self._rows is None:
                        raise
                self._read_at = time.monotonic()
            return self._rows

    def _is_fresh(self) -> bool:
        return time.monotonic() - self._read_at < MEMORY.total_seconds()

    def _read(self) -> tuple[TokenRow, ...]:
        with self._pool.connection() as conn:
            return list_tokens(conn)


def find_principal(authorization: bytes | None, tokens: tuple[TokenRow, ...]) -> Principal:
    """Return whose token the header *authorization* holds, or raise the answer 401.

    Takes the same time for every token: all digests are compared, whatever is found (X-23).
    """
    scheme, _, token = (authorization or b"").partition(b" ")
    token = token.strip()
    digest = hashlib.sha256(token[:LONGEST]).digest()
    found = None
    for row in tokens:
        if hmac.compare_digest(row.token_hash, digest) and row.is_valid:
            found = row
    if found is None or scheme.lower() != b"bearer" or not 0 < len(token) <= LONGEST:
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            ErrorCode.UNAUTHORIZED,
            "a valid API token is needed, as the header Authorization: Bearer <token>",
            headers={"WWW-Authenticate": 'Bearer realm="mailworkers"'},
        )
    return Principal(found.name, found.scopes)


def needs(scope: str) -> Guard:
    """Return a guard that lets only callers with *scope* pass."""

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        require_scope(principal_of(connection), scope)

    return guard


def principal_of(connection: ASGIConnection[Any, Any, Any, Any]) -> Principal:
    """Return who calls, as the gate found out."""
    principal: Principal = connection.scope["state"]["principal"]
    return principal


def require_scope(principal: Principal, scope: str) -> None:
    """Raise the answer 403 unless *principal* has *scope*."""
    if scope not in principal.scopes:
        raise Problem(
            HTTPStatus.FORBIDDEN,
            ErrorCode.FORBIDDEN,
            f"this needs an API token with the scope {scope}",
            details={"scope": scope},
        )
