"""Rows that a statement is given by their keys are looked up by their keys, whatever was counted.

Statistics are a sample of some moment, mostly one in which nothing is being sent: then the planner
takes a partial index for empty, and walking it for each key looks cheap. Under load it is not: with
many senders thousands of rows are in it. So the plan must be right with the worst statistics.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from mailworkers.adapters import db
from mailworkers.bench.filling import Rows, fill

KEYED = sorted(
    name
    for name, sql in db.SQL.items()
    if b"unnest(%(delivery_ids)b" in sql or (b"unnest( %(delivery_ids)b" in sql)
)
LARGE = {"deliveries", "delivery_recipients", "attempts"}


def _prepared(sql: bytes) -> tuple[str, int]:
    """Return *sql* with numbered parameters, and how many there are."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    text = re.sub(r"%\((\w+)\)[bs]", number, sql.decode()).replace("%%", "%")
    return text.rstrip("; "), len(names)


def _plan(conn: db.Connection, name: str) -> dict[str, Any]:
    """Return the plan that a role's connection keeps for the statement *name*."""
    text, count = _prepared(db.SQL[name])
    nulls = ", ".join(["NULL"] * count)
    conn.execute(f"PREPARE asked AS {text}".encode())
    row = conn.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked ({nulls})".encode()).fetchone()
    conn.execute("DEALLOCATE asked")
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def _walks(node: dict[str, Any], *, is_repeated: bool = False) -> Iterator[str]:
    """Yield what is read whole, an index or a table, for rows of something else."""
    is_scan = node["Node Type"].endswith("Scan") and node.get("Relation Name") in LARGE
    if is_repeated and is_scan and "Index Cond" not in node:
        yield f"{node['Node Type']} on {node['Relation Name']} {node.get('Index Name', '')}"
    for child in node.get("Plans", []):
        yield from _walks(child, is_repeated=is_repeated or node["Node Type"] == "Nested Loop")


@pytest.fixture
def role_conn(database: str) -> Iterator[db.Connection]:
    """Return a role's connection, where all there is was sent and counted."""
    with db.connect(database) as conn:
        fill(conn, Rows("past", 2000, "sent", first_in=-3600))
    role = db.Database(database, "test")
    yield role.conn
    role.drop()


@pytest.mark.parametrize("name", KEYED)
def test_keys_are_looked_up_though_nothing_is_under_way(
    name: str, role_conn: db.Connection
) -> None:
    assert list(_walks(_plan(role_conn, name))) == []


def test_the_statements_of_a_lease_are_among_them() -> None:
    assert {"settle", "settle_late", "hand_back", "reclaim", "expire_overdue"} <= set(KEYED)
