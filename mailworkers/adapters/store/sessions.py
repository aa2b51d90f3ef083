"""Sessions of the operator console: a browser that acts for an API token until it logs out.

The cookie's text is known to the browser alone; here lies its SHA-256, so that reading the table
gives nobody a session.
"""

import hashlib
import secrets
from datetime import timedelta

import msgspec

from mailworkers.adapters.db import Connection, run, run_transaction
from mailworkers.adapters.store.operator_actions import record_action

_BYTES = 32


class Session(msgspec.Struct, frozen=True):
    """For which token a browser acts, and what that may do."""

    name: str
    scopes: frozenset[str]


def open_session(conn: Connection, token: str, *, life: timedelta) -> str | None:
    """Return the text of a new session for *token*, None when that is not valid now."""
    text = secrets.token_urlsafe(_BYTES)
    token_hash = hashlib.sha256(token.encode()).digest()

    def work() -> str | None:
        run(conn, "forget_sessions")
        rows = run(conn, "open_session", session_hash=_hash(text), token_hash=token_hash, life=life)
        if not rows:
            return None
        name = rows[0][0]
        record_action(conn, actor=name, action="log_in", subject=f"token {name}")
        return text

    return run_transaction(conn, work)


def find_session(conn: Connection, text: str) -> Session | None:
    """Return whose session *text* is, None when it ended or never was."""
    rows = run(conn, "find_session", session_hash=_hash(text))
    return Session(rows[0][0], frozenset(rows[0][1])) if rows else None


def close_session(conn: Connection, text: str) -> None:
    """End a session, if it is one."""
    run(conn, "close_session", session_hash=_hash(text))


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
