"""Measured facts about PostgreSQL that statements and tables must respect (M-12, M-14).

M-13, a LIMIT that a plan ignores, is tried in `tests/store/test_plans.py` with every plan.
"""

import psycopg
import pytest

from mailworkers.adapters import db
from mailworkers.core.states import MOVES
from tests.deliveries import put

# Times that come from outside, or are reckoned from such. The others are clock_timestamp() always.
GIVEN = {
    "deliveries": (
        *("next_attempt_at", "ready_at", "expires_at"),
        *("cancel_requested_at", "created_at", "finished_at"),
    ),
    "suppressed_addresses": ("expires_at",),
    "pauses": ("ends_at",),
    "api_tokens": ("expires_at",),
}
COLUMNS = [(table, column) for table, columns in GIVEN.items() for column in columns]


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=[".".join(pair) for pair in COLUMNS])
def test_a_time_without_end_is_refused(conn: db.Connection, table: str, column: str) -> None:
    """M-12: 'infinity' can be stored, and then nobody can read the row: it blinds who meets it."""
    put(conn, "deferred")
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by) VALUES ('a@b', '', '');"
        "INSERT INTO pauses (reason, created_by) VALUES ('', '');"
        "INSERT INTO api_tokens (token_hash, name, scopes) VALUES ('', '', '{}')"
    )

    for endless in ("infinity", "-infinity"):
        with pytest.raises(psycopg.errors.CheckViolation):
            conn.execute(f"UPDATE {table} SET {column} = '{endless}'".encode())  # noqa: S608


@pytest.mark.parametrize("name", MOVES)
def test_no_move_takes_the_begin_of_its_transaction_for_now(name: str) -> None:
    """M-14: now() stands still in a transaction; a lease by it would be too short."""
    text = db.SQL[name].lower()

    for clock in (b"now()", b"current_timestamp", b"transaction_timestamp", b"statement_timestamp"):
        assert clock not in text
