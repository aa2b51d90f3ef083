"""API tokens: made, listed, revoked. The text of a token is shown once and never stored."""

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from mailworkers.adapters.db import Connection, run, run_transaction
from mailworkers.adapters.store.operator_actions import record_action

SCOPES = ("intake", "read", "operate", "admin")
_PREFIX = "mw_"  # lets a scanner of repositories and logs find a token that leaked
_BYTES = 32


class Token(msgspec.Struct, frozen=True):
    """What is known of a token: who has it, what it may do, until when."""

    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def add_token(
    conn: Connection,
    *,
    name: str,
    scopes: Iterable[str],
    expires_at: datetime | None,
    actor: str,
    reason: str,
) -> tuple[str, Token] | None:
    """Make a token; return its text, which nothing can show again. None when the name was taken."""
    text = _PREFIX + secrets.token_urlsafe(_BYTES)

    def work() -> Token | None:
        rows = run(
            conn,
            "add_token",
            token_hash=hashlib.sha256(text.encode()).digest(),
            token_name=name,
            scopes=sorted(set(scopes)),
            expires_at=expires_at,
        )
        return _record(conn, "create_token", rows, actor, reason)

    token = run_transaction(conn, work)
    return None if token is None else (text, token)


def revoke_token(conn: Connection, name: str, *, actor: str, reason: str) -> Token | None:
    """End a token at once; None when there is none of this name that still lives."""

    def work() -> Token | None:
        return _record(
            conn, "revoke_token", run(conn, "revoke_token", token_name=name), actor, reason
        )

    return run_transaction(conn, work)


def describe_tokens(conn: Connection) -> list[Token]:
    """Return every token that was ever made, oldest first."""
    return [_token(row) for row in run(conn, "describe_tokens")]


def _token(row: tuple[Any, ...]) -> Token:
    name, scopes, *times = row
    return Token(name, tuple(scopes), *times)


def _record(
    conn: Connection, action: str, rows: list[tuple[Any, ...]], actor: str, reason: str
) -> Token | None:
    """Write the line of the trail about the token in *rows*, if there is one."""
    if not rows:
        return None
    token = _token(rows[0])
    facts = {
        "scopes": list(token.scopes),
        "expires_at": token.expires_at and token.expires_at.isoformat(),
        "is_revoked": token.revoked_at is not None,
    }
    record_action(
        conn,
        actor=actor,
        action=action,
        subject=f"token {token.name}",
        after=facts,
        reason=reason,
    )
    return token
