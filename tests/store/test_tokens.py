"""API tokens as the store keeps them: by hash, by name, for good."""

import hashlib
from datetime import UTC, datetime

from mailworkers.adapters import db
from mailworkers.adapters.store.operator_actions import list_actions
from mailworkers.adapters.store.reads import list_tokens
from mailworkers.adapters.store.tokens import Token, add_token, describe_tokens, revoke_token

LATER = datetime(2099, 1, 1, tzinfo=UTC)


def make(conn: db.Connection, name: str) -> tuple[str, Token] | None:
    """Make a token that may read."""
    return add_token(
        conn, name=name, scopes=["read"], expires_at=LATER, actor="ada", reason="for the shop"
    )


def test_a_token_is_kept_as_its_hash_only(conn: db.Connection) -> None:
    """Its text is 256 bits of chance under a prefix that scanners know."""
    made = make(conn, "shop")
    assert made is not None
    text, token = made

    assert text.startswith("mw_")
    assert len(text) >= 43
    (row,) = list_tokens(conn)
    assert row.token_hash == hashlib.sha256(text.encode()).digest()
    assert (row.name, row.scopes, row.is_valid) == ("shop", frozenset({"read"}), True)
    assert describe_tokens(conn) == [token]


def test_a_name_is_taken_for_ever(conn: db.Connection) -> None:
    """The audit trail names tokens: a name must not come to mean another one."""
    assert make(conn, "shop") is not None
    revoke_token(conn, "shop", actor="ada", reason="it leaked")

    assert make(conn, "shop") is None


def test_a_revoked_token_is_over_at_once_and_stays_in_the_list(conn: db.Connection) -> None:
    """Revoking twice changes nothing; each change leaves a line without the text of the token."""
    made = make(conn, "shop")
    assert made is not None

    revoked = revoke_token(conn, "shop", actor="ada", reason="it leaked")
    assert revoked is not None
    assert revoked.revoked_at is not None
    assert revoke_token(conn, "shop", actor="ada", reason="it leaked") is None
    assert revoke_token(conn, "nobody", actor="ada", reason="it leaked") is None

    assert not any(row.is_valid for row in list_tokens(conn))
    assert describe_tokens(conn) == [revoked]
    lines = list_actions(conn, subject="token shop", before_id=None, limit=10)
    assert [line.action for line in lines] == ["revoke_token", "create_token"]
    assert made[0] not in repr(lines)
