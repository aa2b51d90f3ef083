"""The named statements of `sql/`: headers, functions and the move table say the same."""

import re
from pathlib import Path

from mailworkers.adapters import db
from mailworkers.core.states import MOVES, RecipientStatus, closing_status

_MOVE = re.compile(r"-- ([a-z, ]+): (.+) -> (.+)")
_KINDS = ("-- (reads)", "-- (writes)")
_PACKAGE = Path(db.__file__).resolve().parent.parent


def _headers() -> dict[str, list[str]]:
    return {
        name: [line for line in body.splitlines() if line.startswith("--")]
        for name, body in db.read_statements().items()
    }


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split(", "))


def test_the_headers_together_are_the_move_table() -> None:
    """Who may change a status stands in `MOVES` and above the statement, and nowhere differs."""
    found = {
        name: tuple(_words(group) for group in match.groups())
        for name, lines in _headers().items()
        if (match := _MOVE.fullmatch(lines[0]))
    }

    assert found == {n: (m.owners, m.before, m.after) for n, m in MOVES.items()}


def test_every_statement_says_what_it_does() -> None:
    """A header names the move, or says that the statement only reads, or writes no status."""
    silent = [
        name
        for name, lines in _headers().items()
        if not (lines and (_MOVE.fullmatch(lines[0]) or lines[0] in _KINDS))
    ]

    assert silent == []


def test_reading_statements_do_not_write() -> None:
    """What calls itself reading has no INSERT, UPDATE, DELETE or lock."""
    writes = re.compile(r"^\s*(INSERT|UPDATE|DELETE)|FOR UPDATE", re.MULTILINE)
    offenders = [
        name
        for name, body in db.read_statements().items()
        if body.startswith("-- (reads)") and writes.search(body)
    ]

    assert offenders == []


def test_every_statement_is_used_by_a_function_of_its_name() -> None:
    """One statement, one name, one function; nothing in `sql/` is left over."""
    store = "\n".join(
        path.read_text(encoding="utf-8") for path in (_PACKAGE / "adapters").rglob("*.py")
    )
    unused = [name for name in db.SQL if f'"{name}"' not in store]

    assert unused == []


def test_the_recipients_rule_is_the_same_in_sql_and_in_python(conn: db.Connection) -> None:
    """`closing_status` exists twice, for the settle and for what SQL ends by itself."""
    closed = [status for status in RecipientStatus if status is not RecipientStatus.OPEN]
    for number in range(1 << len(closed)):
        chosen = [status for bit, status in enumerate(closed) if number >> bit & 1]
        found = conn.execute(
            "SELECT closing_status(%s::text[])", [[str(status) for status in chosen]]
        ).fetchone()
        assert found == (closing_status(chosen),), chosen


def test_every_statement_fits_what_the_driver_remembers() -> None:
    """psycopg reads a statement of more than 4,096 bytes anew at every call."""
    assert [name for name, body in db.SQL.items() if len(body) > 4096] == []
