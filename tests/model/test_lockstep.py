"""The model's store and PostgreSQL, statement for statement: what holds of one holds of both."""

import functools
from collections import Counter
from collections.abc import Iterator

import pytest

from mailworkers.adapters import db
from tests.model.lockstep import LockstepStore
from tests.model.narration import tell
from tests.model.walks import draw, run, shrink
from tests.model.world import World


@pytest.fixture
def own_conn(conn: db.Connection) -> Iterator[db.Connection]:
    """Return a connection on which the clock may be ours for a while."""
    yield conn
    conn.execute("DROP SCHEMA IF EXISTS model_clock CASCADE")


def _walk(conn: db.Connection, seeds: range) -> Counter[str]:
    """Walk the schedules of *seeds* on both stores; return what happened in them."""
    make = functools.partial(World, store=lambda clock: LockstepStore(conn, clock.now))
    seen: Counter[str] = Counter()
    for seed in seeds:
        if failed := run(draw(seed), make, seen):
            pytest.fail(f"seed {seed}\n{tell(shrink(failed, make), make)}")
    return seen


def test_postgres_does_what_the_model_says(own_conn: db.Connection) -> None:
    """Statuses, counters, times, recipients, attempts and dead letters are equal, always."""
    _walk(own_conn, range(12))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_postgres_does_what_the_model_says_for_hundreds_of_schedules(
    own_conn: db.Connection,
) -> None:
    """Long enough for every statement, whatever it may meet."""
    seen = _walk(own_conn, range(1000, 1250))

    assert seen["reclaim"] > 20
