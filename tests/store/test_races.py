"""What a statement has read before it holds a row must not be what it decides by.

A statement sees the database as it was when it began; a row that was moved meanwhile it locks as it
is now. Each test stops one statement just between the two, lets others finish, and lets it go on.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

import pytest

from mailworkers.adapters import db, store
from mailworkers.core.settlement import RecipientEnd, Settlement
from mailworkers.core.states import (
    AttemptOutcome,
    AttemptStatus,
    Lane,
    RecipientStatus,
    Stage,
    Status,
)
from tests.deliveries import accept, attempts, new_delivery, recipient_statuses, row, status
from tests.eventually import eventually

T = TypeVar("T")
AGO = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2099, 1, 1, tzinfo=UTC)
_GATE = 4711  # an advisory lock: who holds it keeps the gate shut
# Found before the real one by whoever has this schema first in its search_path.
_STALLING_CLOCK = """
DROP SCHEMA IF EXISTS stall CASCADE;
CREATE SCHEMA stall;
CREATE FUNCTION stall.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql VOLATILE AS
$$
BEGIN
    PERFORM pg_advisory_lock_shared(4711);
    PERFORM pg_advisory_unlock_shared(4711);
    RETURN pg_catalog.clock_timestamp();
END
$$;
"""


@pytest.fixture
def gate(conn: db.Connection) -> Iterator[None]:
    """Make the clock that stalls while `shut`."""
    conn.execute(_STALLING_CLOCK)
    yield
    conn.execute("SELECT pg_advisory_unlock_all()")
    conn.execute("DROP SCHEMA stall CASCADE")


@contextmanager
def stalled(conn: db.Connection, act: Callable[[db.Connection], T]) -> Iterator[list[T]]:
    """Begin *act* on a connection of its own; it goes on, and ends, when the block is left.

    It stands where it looks at the clock: what it reads it has begun to read, nothing is locked.
    """
    results: list[T] = []
    conn.execute("SELECT pg_advisory_lock(%s)", [_GATE])
    with db.connect(conn.info.dsn) as own, ThreadPoolExecutor(1) as pool:
        own.execute("SET search_path = stall, mail, pg_catalog")
        future = pool.submit(act, own)
        try:
            assert eventually(lambda: _waits(conn) or future.done(), within=20)
            assert not future.done(), "it has not looked at the clock"
            yield results
        finally:
            conn.execute("SELECT pg_advisory_unlock(%s)", [_GATE])
            results.append(future.result(timeout=30))


def _waits(conn: db.Connection) -> bool:
    found = conn.execute(
        "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s", [_GATE]
    )
    return found.fetchone() is not None


def lease(conn: db.Connection) -> list[store.Leased]:
    """Lease what is ready."""
    return store.lease_ready(
        conn,
        lease_token=uuid4(),
        leased_by=uuid4(),
        lanes=list(Lane),
        after="",
        since={},
        limit=10,
        lease=timedelta(minutes=3),
        is_stub=False,
    )


def first_accepted(conn: db.Connection, delivery_id: UUID, end: Status) -> Settlement:
    """Return the outcome of an attempt that the first recipient was accepted in, no other."""
    leased = row(conn, delivery_id)
    accepted, still_open = RecipientStatus.ACCEPTED, RecipientStatus.OPEN
    return Settlement(
        delivery_id=delivery_id,
        lease_token=leased["lease_token"],
        status=end,
        failure=None,
        cancelled_status=Status.SENT,
        cancelled_failure=None,
        next_attempt_at=LATER if end is Status.DEFERRED else None,
        is_burnt=False,
        attempt_status=AttemptStatus.PROVIDER_ACCEPTED,
        outcome=AttemptOutcome.SUCCESS,
        stage=Stage.END_OF_DATA,
        reply_code=250,
        enhanced_code=None,
        summary="ok",
        relay="relay:25",
        recipients=(
            RecipientEnd(0, accepted, accepted, 250, None),
            RecipientEnd(1, still_open, RecipientStatus.CANCELLED, 452, None),
        ),
    )


def ready(conn: db.Connection) -> UUID:
    """Accept a delivery for two that will expire one day."""
    new = new_delivery("ada@example.com", "bob@example.com", expires_at=LATER)
    accept(conn, new)
    return new.delivery_id


@pytest.mark.usefixtures("gate")
def test_a_lease_never_sends_to_whom_another_sender_has_served_meanwhile(
    conn: db.Connection,
) -> None:
    """Ready when the lease began and ready when it locks it, but not the same any more."""
    delivery_id = ready(conn)

    with stalled(conn, lease) as leased:
        lease(conn)
        store.settle(conn, [first_accepted(conn, delivery_id, Status.QUEUED)])

    again = leased[0] or lease(conn)
    assert [row.addresses for row in again] == [["bob@example.com"]]
    assert attempts(conn, delivery_id)[1:] == [(2, "in_progress", None)]


@pytest.mark.usefixtures("gate")
def test_a_lease_never_sends_to_whom_a_late_outcome_has_served_meanwhile(
    conn: db.Connection,
) -> None:
    """Reclaimed, made ready again, and then it becomes known who has it already."""
    delivery_id = ready(conn)
    lease(conn)
    conn.execute("UPDATE deliveries SET next_attempt_at = clock_timestamp()")
    late = first_accepted(conn, delivery_id, Status.DEFERRED)
    ago = datetime.now(UTC) - timedelta(seconds=1)
    store.reclaim(conn, [store.Reclaim(delivery_id, late.lease_token, "deferred", ago, None)])
    store.promote_due(conn, limit=1)

    with stalled(conn, lease) as leased:
        assert store.settle_late(conn, [late])

    again = leased[0] or lease(conn)
    assert [row.addresses for row in again] == [["bob@example.com"]]


@pytest.mark.usefixtures("gate")
def test_a_lease_never_calls_suppressed_who_was_served_meanwhile(conn: db.Connection) -> None:
    """Listed when the lease began; then taken off the list, and served."""
    delivery_id = ready(conn)
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('ada@example.com', 'complaint', 'test')"
    )

    with stalled(conn, lease):
        conn.execute("DELETE FROM suppressed_addresses")
        lease(conn)
        store.settle(conn, [first_accepted(conn, delivery_id, Status.QUEUED)])

    assert recipient_statuses(conn, delivery_id) == ["accepted", "open"]


def expire(conn: db.Connection) -> list[store.Overdue]:
    """End what is overdue."""
    return store.expire_overdue(conn, limit=10)


def expire_at(conn: db.Connection, at: datetime) -> None:
    """Let what there is expire at *at*: what is overdue is not leased."""
    conn.execute("UPDATE deliveries SET expires_at = %s", [at])


@pytest.mark.usefixtures("gate")
def test_an_expiry_sees_who_was_served_before_it(conn: db.Connection) -> None:
    """Accepted for one, expired for the other: it was sent, and is no dead letter."""
    delivery_id = ready(conn)
    expire_at(conn, AGO)

    with stalled(conn, expire):
        expire_at(conn, LATER)
        lease(conn)
        store.settle(conn, [first_accepted(conn, delivery_id, Status.DEFERRED)])
        expire_at(conn, AGO)

    assert status(conn, delivery_id) == Status.SENT
    assert recipient_statuses(conn, delivery_id) == ["accepted", "expired"]
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == []


@pytest.mark.usefixtures("gate")
def test_an_expiry_sees_the_attempt_that_may_have_gone(conn: db.Connection) -> None:
    """The last attempt's outcome is unknown: whoever may have it is not called expired."""
    delivery_id = ready(conn)
    expire_at(conn, AGO)

    with stalled(conn, expire):
        expire_at(conn, LATER)
        lease(conn)
        token = row(conn, delivery_id)["lease_token"]
        conn.execute("UPDATE deliveries SET next_attempt_at = clock_timestamp()")
        store.reclaim(conn, [store.Reclaim(delivery_id, token, "deferred", LATER, None)])
        expire_at(conn, AGO)

    assert status(conn, delivery_id) == Status.UNCERTAIN
    assert recipient_statuses(conn, delivery_id) == ["uncertain", "uncertain"]
