"""The pool: connections lent to threads, and what happens when the server is not there."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from mailworkers.adapters.store import pool as pools
from mailworkers.adapters.store import reads
from mailworkers.adapters.store.pool import Pool
from mailworkers.core.errors import StoreUnavailable
from tests.eventually import eventually

LIMIT = timedelta(milliseconds=500)


@pytest.fixture
def pool(database: str) -> Iterator[Pool]:
    """Return a pool of two connections."""
    made = Pool(database, "mailworkers pool test", size=2, limit=LIMIT)
    yield made
    made.close()


def test_a_connection_that_was_given_back_is_lent_again(pool: Pool) -> None:
    """Opening one costs milliseconds; asking one costs microseconds."""
    with pool.connection() as first:
        pass
    with pool.connection() as second:
        assert second is first


def test_no_more_are_lent_than_there_are(pool: Pool) -> None:
    """Who comes then waits, and is told after a bounded time."""
    began = time.monotonic()
    with (
        pool.connection(),
        pool.connection(),
        pytest.raises(StoreUnavailable, match="all 2 connections are busy"),
        pool.connection(),
    ):
        pass

    assert time.monotonic() - began < pools.PATIENCE.total_seconds() + 1


def test_whoever_waits_gets_the_connection_given_back(pool: Pool) -> None:
    """A short queue is not an error."""
    is_taken, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with pool.connection():
            is_taken.set()
            may_go.wait(5)

    holder = threading.Thread(target=hold)
    with pool.connection():
        holder.start()
        is_taken.wait(5)
        threading.Timer(0.1, may_go.set).start()
        with pool.connection() as late:
            reads.ping(late)
    holder.join()


def test_a_connection_the_server_left_is_not_lent(
    pool: Pool, conn: psycopg.Connection[tuple[object, ...]]
) -> None:
    """After a restart of the server the first question is answered, not the third."""
    with pool.connection() as first, pool.connection() as second:
        pids = [first.info.backend_pid, second.info.backend_pid]
    conn.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) pid", [pids])
    eventually(
        lambda: (
            conn.execute(
                "SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = ANY (%s)", [pids]
            ).fetchone()
            == (True,)
        )
    )

    with pool.connection() as third:
        reads.ping(third)


def test_a_connection_left_in_a_transaction_is_not_lent_again(pool: Pool) -> None:
    """Nothing of one caller's work reaches the next."""
    with pool.connection() as first:
        first.execute("BEGIN")
    with pool.connection() as second:
        assert second is not first


def test_a_statement_that_takes_too_long_is_ended_by_the_server(pool: Pool) -> None:
    """Well before our own clock would cut the connection."""
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="statement timeout"), pool.connection() as conn:
        conn.execute("SELECT pg_sleep(10)")

    assert time.monotonic() - began < 3


def test_a_server_that_froze_is_noticed(pool: Pool) -> None:
    """It takes packets and never answers: no timeout of its own or of the kernel sees that."""
    with pool.connection() as conn:
        pid = conn.info.backend_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(StoreUnavailable), pool.connection() as conn:
            reads.ping(conn)
        assert time.monotonic() - began < 3
    finally:
        os.kill(pid, signal.SIGCONT)

    with pool.connection() as conn:
        reads.ping(conn)


def test_an_absent_server_is_an_answer_at_once_with_its_reason() -> None:
    """Nobody waits out a timeout for a port where nothing listens."""
    pool = Pool("postgresql://127.0.0.1:1/none", "test", size=2, limit=LIMIT)
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="refused"), pool.connection():
        pass
    pool.close()

    assert time.monotonic() - began < 1
