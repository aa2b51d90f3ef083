"""Leasing: who gets what, in which order, and who gets nothing."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.store import Leased
from mailworkers.adapters.store.leases import MIME_BUDGET
from mailworkers.core.states import Lane, Status
from tests.deliveries import accept, attempts, new_delivery, put, recipient_statuses, row, status


def _lease(conn: db.Connection, **changes: Any) -> list[Leased]:
    values: dict[str, Any] = {
        "lease_token": uuid4(),
        "leased_by": uuid4(),
        "lanes": list(Lane),
        "after": "",
        "since": {},
        "limit": 100,
        "lease": timedelta(seconds=150),
        "is_stub": False,
    }
    return store.lease_ready(conn, **{**values, **changes})


def test_a_lease_gives_the_row_its_bytes_and_opens_the_attempt(conn: db.Connection) -> None:
    """Intention before act: the attempt row is there before the network is touched."""
    new = new_delivery("A@example.com", "b@example.com", traceparent="00-" + "a" * 52)
    accept(conn, new)

    (leased,) = _lease(conn)

    assert leased.delivery_id == new.delivery_id
    assert (leased.status, leased.attempt_no, leased.cycle_attempt) == ("sending", 1, 1)
    assert (leased.ordinals, leased.addresses) == ([0, 1], ["A@example.com", "b@example.com"])
    assert leased.mime == new.mime
    assert attempts(conn, new.delivery_id) == [(1, "in_progress", None)]


def test_a_second_leaser_gets_nothing(conn: db.Connection) -> None:
    """One row, one lease."""
    accept(conn, new_delivery())
    _lease(conn)

    assert _lease(conn) == []


def test_two_leasers_at_once_share_without_waiting(database: str, conn: db.Connection) -> None:
    """A row locked by a lease that is not committed is skipped (MS-96)."""
    accept(conn, *(new_delivery() for _ in range(10)))
    with db.connect(database) as other, conn.transaction():
        first = _lease(conn, limit=4)
        second = _lease(other, limit=100)

    ids = {leased.delivery_id for leased in [*first, *second]}
    assert (len(first), len(second), len(ids)) == (4, 6, 10)


def test_the_limit_holds_over_lanes_and_sources(conn: db.Connection) -> None:
    """No plan may update more than was asked for (M-13)."""
    accept(
        conn,
        *(
            new_delivery(lane=lane, source=source)
            for lane in Lane
            for source in ("api", "notification")
            for _ in range(5)
        ),
    )

    assert len(_lease(conn, limit=7)) == 7


def test_lanes_are_served_in_the_order_given(conn: db.Connection) -> None:
    """Auth mail is first however late it came."""
    for lane in (Lane.BULK, Lane.NORMAL, Lane.AUTH):
        accept(conn, new_delivery(lane=lane), new_delivery(lane=lane))

    first = [leased.lane for leased in _lease(conn, limit=2)]
    second = [leased.lane for leased in _lease(conn, lanes=[0, 2, 1], limit=2)]

    assert (first, second) == ([Lane.AUTH] * 2, [Lane.BULK] * 2)


def test_sources_take_turns(conn: db.Connection) -> None:
    """The source after the one served last comes first."""
    accept(conn, *(new_delivery(source=s) for s in ("api", "notification", "resend")))

    served: list[str] = []
    for _ in range(3):
        (leased,) = _lease(conn, limit=1, after=served[-1] if served else "api")
        served.append(leased.source)

    assert served == ["notification", "resend", "api"]


def test_oldest_ready_comes_first(conn: db.Connection) -> None:
    """First ready, first served."""
    news = [new_delivery() for _ in range(3)]
    for new in news:
        accept(conn, new)

    assert [leased.delivery_id for leased in _lease(conn)] == [n.delivery_id for n in news]


def test_a_pause_holds_back_its_lane_and_source_until_it_ends(conn: db.Connection) -> None:
    """A pause by lane, by source, of all; one whose time is over holds nothing back."""
    accept(conn, new_delivery(lane=Lane.BULK), new_delivery(source="api"), new_delivery())

    def leased_with(lane: int | None, source: str | None, ends_at: datetime | None) -> int:
        conn.execute("TRUNCATE pauses")
        conn.execute(
            "INSERT INTO pauses (lane, source, reason, created_by, ends_at)"
            " VALUES (%s, %s, 'test', 'test', %s)",
            [lane, source, ends_at],
        )
        with conn.transaction(force_rollback=True):
            return len(_lease(conn))

    later = datetime.now(UTC) + timedelta(hours=1)
    assert leased_with(Lane.BULK, None, None) == 2
    assert leased_with(None, "api", later) == 2
    assert leased_with(Lane.NORMAL, "notification", None) == 2
    assert leased_with(None, None, None) == 0
    assert leased_with(None, None, datetime.now(UTC) - timedelta(seconds=1)) == 3


def test_what_is_past_its_expiry_is_not_leased(conn: db.Connection) -> None:
    """Expiry is judged by the database's clock at the lease."""
    put(conn, Status.QUEUED, expires_at=datetime.now(UTC) - timedelta(seconds=1))

    assert _lease(conn) == []


def test_recipients_listed_since_are_dropped_from_the_envelope(conn: db.Connection) -> None:
    """Suppression is read in the lease statement too."""
    new = new_delivery("a@example.com", "b@example.com")
    accept(conn, new)
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('a@example.com', 'bounce', 'test')"
    )

    (leased,) = _lease(conn)

    assert leased.addresses == ["b@example.com"]
    assert recipient_statuses(conn, new.delivery_id) == ["suppressed", "open"]


@pytest.mark.parametrize("is_stub", [True, False])
def test_whoever_may_have_it_already_is_uncertain_and_not_suppressed(
    conn: db.Connection, is_stub: bool
) -> None:
    """Listed after an attempt whose outcome is unknown: the mail may be there."""
    new = new_delivery("a@example.com", "b@example.com")
    accept(conn, new)
    _lease(conn)
    conn.execute(
        "UPDATE attempts SET status = 'abandoned', outcome = 'unknown', stage = 'end_of_data',"
        " finished_at = clock_timestamp()"
    )
    conn.execute(
        "UPDATE deliveries SET status = 'queued', lease_token = NULL, leased_by = NULL,"
        " next_attempt_at = NULL, ready_at = clock_timestamp()"
    )
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('a@example.com', 'complaint', 'ada'), ('b@example.com', 'complaint', 'ada')"
    )

    (leased,) = _lease(conn, is_stub=is_stub)

    assert (leased.status, leased.failure) == ("uncertain", "unknown")
    assert recipient_statuses(conn, new.delivery_id) == ["uncertain"] * 2


def test_a_delivery_whose_recipients_are_all_listed_ends_in_the_lease(
    conn: db.Connection,
) -> None:
    """It ends suppressed, without an attempt."""
    new = new_delivery("a@example.com")
    accept(conn, new)
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('a@example.com', 'bounce', 'test')"
    )

    (leased,) = _lease(conn)

    assert (leased.status, leased.failure) == ("suppressed", "listed")
    assert status(conn, new.delivery_id) == "suppressed"
    assert attempts(conn, new.delivery_id) == []


def test_stub_mode_ends_what_was_queued_before(conn: db.Connection) -> None:
    """Nothing leaves in stub mode, whatever was accepted before it was switched on."""
    new = new_delivery()
    accept(conn, new)

    (leased,) = _lease(conn, is_stub=True)

    assert (leased.status, leased.failure) == ("suppressed", "stub")
    assert recipient_statuses(conn, new.delivery_id) == ["suppressed"]


def test_closed_recipients_are_told_and_not_tried_again(conn: db.Connection) -> None:
    """After a partial refusal only the open recipients stand in the envelope."""
    new = new_delivery("a@example.com", "b@example.com", "c@example.com")
    accept(conn, new)
    conn.execute(
        "UPDATE delivery_recipients SET status = 'accepted' WHERE canonical = 'a@example.com'"
    )

    (leased,) = _lease(conn)

    assert (leased.addresses, leased.closed) == (["b@example.com", "c@example.com"], ["accepted"])


def test_the_bytes_of_a_lease_are_bounded(conn: db.Connection) -> None:
    """The rest is fetched delivery by delivery when its turn comes."""
    size = MIME_BUDGET // 2 + 1
    accept(conn, *(new_delivery(mime=b"x" * size) for _ in range(3)))

    leased = _lease(conn)

    assert [row.mime is not None for row in leased] == [True, False, False]
    assert store.load_mime(conn, leased[2].delivery_id) == b"x" * size


def test_the_lease_of_a_large_message_is_longer(conn: db.Connection) -> None:
    """Its end grows with the size at 64 KiB a second, so that a large one can start at all."""
    new = new_delivery(mime=b"x" * 65536 * 10)
    accept(conn, new)

    (leased,) = _lease(conn, lease=timedelta(seconds=100))

    end = row(conn, new.delivery_id)["next_attempt_at"]
    assert timedelta(seconds=109) < end - leased.leased_at < timedelta(seconds=111)


def test_a_retry_tells_when_it_was_due(conn: db.Connection) -> None:
    """Lateness is the time of the lease minus the time it was due, whenever it was promoted."""
    due = datetime.now(UTC) - timedelta(seconds=3)
    delivery_id = put(conn, Status.DEFERRED, next_attempt_at=due)
    store.promote_due(conn, limit=10)

    (leased,) = _lease(conn)

    assert (leased.delivery_id, leased.due_at) == (delivery_id, due)


def test_a_pair_is_read_from_the_time_given_and_others_whole(conn: db.Connection) -> None:
    """What was leased lies before it, dead: only a sweep reads there again."""
    before, after, other = new_delivery(), new_delivery(), new_delivery(source="shop")
    accept(conn, before)
    accept(conn, after)
    accept(conn, other)
    mark = row(conn, after.delivery_id)["ready_at"]

    found = _lease(conn, since={(int(Lane.NORMAL), "notification"): mark})

    assert {leased.delivery_id for leased in found} == {after.delivery_id, other.delivery_id}
    assert [leased.delivery_id for leased in _lease(conn)] == [before.delivery_id]
