"""Columns as arrays: what the server reads is what was written, as with the driver's own way."""

from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from mailworkers.adapters import db
from mailworkers.adapters.arrays import as_column

_ID = uuid4()


@pytest.mark.parametrize(
    ("kind", "column"),
    [
        ("uuid", [_ID, UUID(int=0), UUID(int=2**128 - 1)]),
        ("uuid", [_ID, None, _ID]),
        ("uuid", [None, _ID]),
        ("uuid", [None, None]),
        ("uuid", []),
        ("text", ["a", "", "\u00e9\u4e2d\U0001f600", '"{},\\\n\t NULL', "x" * 100_000]),
        ("text", ["a", None]),
        ("text", [None, "a"]),
        ("text", [None]),
        ("timestamptz", [None, None]),
        ("integer", [1, None, -1]),
        ("bytea", [b"\x00\xff", b""]),
        ("boolean", [True, None]),
    ],
)
def test_a_column_arrives_as_it_is(conn: db.Connection, kind: str, column: list[Any]) -> None:
    """Whatever stands in it, and where it has nulls."""
    query = f"SELECT %s::{kind}[], array_ndims(%s::{kind}[]), array_lower(%s::{kind}[], 1)"

    found = conn.execute(query, [as_column(column)] * 3).fetchone()

    assert found == conn.execute(query, [column] * 3).fetchone()
    assert found is not None
    assert found[0] == column


def test_a_column_arrives_whatever_encoding_the_dsn_names(database: str) -> None:
    """Or a database that is not in UTF-8: its sessions would speak its own."""
    with db.connect(make_conninfo(database, client_encoding="LATIN1")) as conn:
        found = conn.execute("SELECT %s::text[], %s", [as_column(["\u00e9"]), "\u00e9"]).fetchone()

    assert found == (["\u00e9"], "\u00e9")


@pytest.mark.parametrize("column", [["a", 1], [_ID, "a"], ["\ud800"], ["a\0"]])
def test_what_is_no_such_column_is_refused(conn: db.Connection, column: list[Any]) -> None:
    """Nothing is written for it that the server could take for something else."""
    with pytest.raises((psycopg.Error, AttributeError, UnicodeError)):
        conn.execute("SELECT %s::text[]", [as_column(column)])


@pytest.mark.parametrize("value", [None, 5, "a", ("a",), b"a", {"a": 1}])
def test_what_is_no_list_is_left_alone(value: object) -> None:
    """The driver knows best."""
    assert as_column(value) is value
