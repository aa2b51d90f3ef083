"""Two at once: who waits for whom, who passes by, and what the one who waited finds."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.store import retention
from mailworkers.core.states import Status
from tests.deliveries import attempts, new_delivery, put, recipient_statuses, row, status
from tests.eventually import eventually
from tests.store.situations import (
    AGO,
    SUCCESS,
    lease,
    make_ready,
    reclaimed,
    settlement,
    several,
)

T = TypeVar("T")


@contextmanager
def locked(conn: db.Connection, delivery_id: UUID) -> Iterator[None]:
    """Hold a delivery in a transaction of another connection meanwhile."""
    with db.connect(conn.info.dsn) as other, other.transaction():
        db.run(other, "hold_delivery", delivery_id=delivery_id)
        yield


def begin(conn: db.Connection, act: Callable[[db.Connection], T]) -> Future[T]:
    """Begin *act* on a connection of its own; return when it waits for a lock."""
    own = db.connect(conn.info.dsn)

    def acting() -> T:
        with own:
            return act(own)

    pool = ThreadPoolExecutor(1)
    future = pool.submit(acting)
    pool.shutdown(wait=False)
    assert eventually(lambda: _waits(conn, own.info.backend_pid) or future.done(), within=20)
    assert not future.done(), "it waits for nobody"
    return future


def _waits(conn: db.Connection, pid: int) -> bool:
    found = conn.execute("SELECT FROM pg_locks WHERE NOT granted AND pid = %s", [pid])
    return found.fetchone() is not None


PASSERS_BY: dict[str, tuple[Status, Callable[[db.Connection], int]]] = {
    "lease_ready": (Status.QUEUED, lambda conn: len(lease(conn))),
    "promote_due": (Status.DEFERRED, lambda conn: store.promote_due(conn, limit=10)),
    "expire_overdue": (Status.DEFERRED, lambda conn: len(store.expire_overdue(conn, limit=10))),
    "delete_deliveries": (
        Status.SENT,
        lambda conn: retention.delete_deliveries(conn, keep=timedelta(0), limit=10),
    ),
}


@pytest.mark.parametrize("name", PASSERS_BY)
def test_what_somebody_holds_is_passed_by(conn: db.Connection, name: str) -> None:
    """A pass over many waits for nobody: the row is there the next time."""
    status_before, act = PASSERS_BY[name]
    expires_at = AGO if name == "expire_overdue" else None
    held, free = (put(conn, status_before, expires_at=expires_at) for _ in range(2))
    conn.execute("SET lock_timeout = '2s'")

    with locked(conn, held):
        assert act(conn) == 1

    assert status(conn, held) == status_before
    assert status(conn, free) != status_before
    assert act(conn) == 1


@pytest.mark.parametrize("name", PASSERS_BY)
def test_what_one_takes_nobody_else_takes(conn: db.Connection, name: str) -> None:
    """Two at once share: what the first has taken and not committed, the second passes by."""
    status_before, act = PASSERS_BY[name]
    expires_at = AGO if name == "expire_overdue" else None
    put(conn, status_before, expires_at=expires_at)
    conn.execute("SET lock_timeout = '2s'")

    with db.connect(conn.info.dsn) as other, other.transaction():
        assert act(other) == 1
        assert act(conn) == 0


def test_an_overdue_delivery_is_held_until_it_has_ended(conn: db.Connection) -> None:
    """Nobody moves it between the reading and the end."""
    delivery_id = put(conn, Status.DEFERRED, expires_at=AGO)

    with db.connect(conn.info.dsn) as other, other.transaction():
        assert len(db.run(other, "hold_overdue", limit=10, since=None)) == 1

        assert db.run(conn, "hold_free_deliveries", delivery_ids=[delivery_id]) == []


def test_many_are_held_without_waiting_for_those_that_somebody_has(conn: db.Connection) -> None:
    """And those that were free are held from then on."""
    taken, free = put(conn, Status.QUEUED), put(conn, Status.QUEUED)
    conn.execute("SET lock_timeout = '2s'")

    with locked(conn, taken), conn.transaction():
        held = db.run(conn, "hold_free_deliveries", delivery_ids=[taken, free])
        with db.connect(conn.info.dsn) as third:
            left = db.run(third, "hold_free_deliveries", delivery_ids=[free])

    assert [found[0] for found in held] == [free]
    assert left == []


def test_a_late_outcome_waits_for_a_lease_and_does_not_hold_then(conn: db.Connection) -> None:
    """Nothing of it is recorded: the row, its attempts and recipients are the new sender's."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.DEFERRED)
    make_ready(conn)
    late = settlement(first, Status.SENT, "accepted", **SUCCESS)

    with db.connect(conn.info.dsn) as sender, sender.transaction():
        lease(sender)
        future = begin(conn, lambda own: store.settle_late(own, [late]))

    assert future.result(timeout=30) == {}
    assert status(conn, delivery_id) == Status.SENDING
    assert recipient_statuses(conn, delivery_id) == ["open"]
    assert attempts(conn, delivery_id)[0] == (1, "abandoned", "unknown")


def test_a_cancel_moves_only_what_it_has_read(conn: db.Connection) -> None:
    """Without its lock, too: what a sender has taken meanwhile is left alone."""
    delivery_id = several(conn, "open")

    with db.connect(conn.info.dsn) as sender, sender.transaction():
        lease(sender)
        future = begin(conn, lambda own: db.run(own, "cancel", delivery_ids=[delivery_id]))

    assert future.result(timeout=30) == []
    assert status(conn, delivery_id) == Status.SENDING


def test_a_requeue_moves_only_what_it_has_read(conn: db.Connection) -> None:
    """Without its lock, too: what turned out to be sent is not sent again."""
    delivery_id = several(conn, "open")
    first = reclaimed(conn, delivery_id, Status.UNCERTAIN)
    late = settlement(first, Status.SENT, "accepted", **SUCCESS)

    def requeue(own: db.Connection) -> list[tuple[Any, ...]]:
        return db.run(own, "requeue", delivery_ids=[delivery_id], expires_at=None)

    with db.connect(conn.info.dsn) as sender, sender.transaction():
        store.settle_late(sender, [late])
        future = begin(conn, requeue)

    future.result(timeout=30)
    assert status(conn, delivery_id) == Status.SENT
    assert recipient_statuses(conn, delivery_id) == ["accepted"]


def test_two_that_bring_the_same_new_source_both_come_in(conn: db.Connection) -> None:
    """The second waits for the first and needs no repetition."""
    first, second = (new_delivery(source="brandnew") for _ in range(2))

    def accepting(own: db.Connection) -> list[store.Acceptance]:
        with own.transaction():
            return store.accept(own, [second])

    with db.connect(conn.info.dsn) as other, other.transaction():
        store.accept(other, [first])
        future = begin(conn, accepting)

    (found,) = future.result(timeout=30)
    assert found.verdict == store.Verdict.ACCEPTED
    assert row(conn, second.delivery_id)["source"] == "brandnew"
