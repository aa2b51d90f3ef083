"""Taking a guard away is noticed; and the finder finds the guards."""

import subprocess
import sys

import pytest

from mailworkers.adapters import db
from tests.mutation.__main__ import ROOT, STATEMENTS, guards_of
from tests.mutation.equivalents import EQUIVALENT
from tests.mutation.guards import find

SQL = (
    "WITH due AS (SELECT id FROM t WHERE status IN ('a', 'b AND c') AND at <= now()"
    " AND (x IS NULL OR x > 1) ORDER BY at LIMIT 5 FOR UPDATE SKIP LOCKED), moved AS ("
    " UPDATE t d SET a = CASE WHEN d.cancel_requested_at IS NULL THEN 1 END FROM due"
    " WHERE d.delivery_id = due.delivery_id AND d.token = %(token)s RETURNING d.id)"
    " INSERT INTO u SELECT id, count(*) FILTER (WHERE is_open) FROM moved m"
    " JOIN v ON v.delivery_id = m.delivery_id AND v.number = m.number"
    " ON CONFLICT (id) WHERE closed IS NULL DO NOTHING"
)


def test_every_condition_that_guards_is_found_and_what_only_joins_is_not() -> None:
    """In WHERE, ON, FILTER and CASE; locks and conflicts; nothing inside a string."""
    assert [guard.text for guard in find("x", SQL)] == [
        "status IN ('a', 'b AND c')",
        "at <= now()",
        "(x IS NULL OR x > 1)",
        "FOR UPDATE SKIP LOCKED",
        "SKIP LOCKED",
        "d.cancel_requested_at IS NULL",
        "d.token = %(token)s",
        "is_open",
        "v.number = m.number",
        "ON CONFLICT (id) WHERE closed IS NULL DO NOTHING",
    ]


def test_a_mutant_is_the_statement_without_its_guard() -> None:
    """Everything else is there to the letter."""
    mutants = {guard.text: guard.without(SQL) for guard in find("x", SQL)}

    assert mutants["at <= now()"] == SQL.replace("at <= now()", "true")
    assert mutants["SKIP LOCKED"] == SQL.replace(" SKIP LOCKED", "")
    assert mutants["d.cancel_requested_at IS NULL"] == SQL.replace(
        "d.cancel_requested_at IS NULL", "true"
    )


def test_an_or_among_conditions_is_one_guard() -> None:
    """AND binds closer: its halves are no conditions of their own."""
    assert [g.text for g in find("x", "DELETE FROM t WHERE a = 1 AND b = 2 OR c = 3")] == [
        "a = 1 AND b = 2 OR c = 3"
    ]


def test_every_moving_statement_has_guards_and_reasons_name_some() -> None:
    """A reason without its guard would hide the next one of that name."""
    guards = guards_of(STATEMENTS)

    assert {name for name, _, _ in guards} == set(STATEMENTS)
    assert EQUIVALENT.keys() <= guards.keys()
    assert all(guard.without(db.SQL[name].decode()) for (name, _, _), guard in guards.items())


def _mutate(request: pytest.FixtureRequest, *arguments: str) -> None:
    source = request.config.getoption("--servers")
    done = subprocess.run(
        [sys.executable, "-m", "tests.mutation", f"--servers={source}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_guard_of_what_a_lease_ends_by_can_be_taken_away(
    request: pytest.FixtureRequest,
) -> None:
    """Settling, handing back, reclaiming: the fencing of leases."""
    _mutate(request, "--statement=settle", "--statement=hand_back", "--statement=reclaim")


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_guard_of_any_moving_statement_can_be_taken_away(
    request: pytest.FixtureRequest,
) -> None:
    """Those with a reason in `equivalents.py` are tried, too: a test may miss them by now."""
    _mutate(request)
