"""The scheduler: what the clock owes, and how it shares the work."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.store.dead_letters import DeadLetterFilter
from mailworkers.adapters.store.replays import cancel_replay, order_replay
from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.core.states import Status
from mailworkers.roles.scheduler import Scheduler
from tests.deliveries import accept, attempts, new_delivery, put, recipient_statuses, row, status
from tests.eventually import eventually
from tests.store.situations import enter_letter

Build = Callable[..., Scheduler]


def _later(**span: float) -> datetime:
    return datetime.now(UTC) + timedelta(**span)


@pytest.mark.parametrize("before", [Status.SCHEDULED, Status.DEFERRED])
def test_what_is_due_becomes_ready_and_a_sender_is_woken(
    scheduler: Scheduler, conn: db.Connection, redis_client: redis.Redis, before: Status
) -> None:
    """The wake-up comes after the commit."""
    delivery_id = put(conn, before)

    scheduler.step()

    assert status(conn, delivery_id) == Status.QUEUED
    assert redis_client.llen(SENDER_WAKE) == 1


def test_what_is_not_due_stays(scheduler: Scheduler, conn: db.Connection) -> None:
    """Not a moment early."""
    delivery_id = put(conn, Status.DEFERRED, next_attempt_at=_later(seconds=5))

    scheduler.step()

    assert status(conn, delivery_id) == Status.DEFERRED


def test_a_vanished_sender_loses_its_lease_and_the_delivery_is_tried_again(
    scheduler: Scheduler, conn: db.Connection
) -> None:
    """Not at its heels: ten seconds at least, whatever the ladder says."""
    delivery_id = put(conn, Status.SENDING, retry_policy="auth")

    scheduler.step()

    after = row(conn, delivery_id)
    assert after["status"] == Status.DEFERRED
    assert after["next_attempt_at"] > _later(seconds=9)
    assert attempts(conn, delivery_id) == [(1, "abandoned", "unknown")]


def test_a_living_lease_is_left_alone(scheduler: Scheduler, conn: db.Connection) -> None:
    """Its end has not come."""
    delivery_id = put(conn, Status.SENDING, next_attempt_at=_later(seconds=30))
    before = row(conn, delivery_id)

    scheduler.step()

    assert row(conn, delivery_id) == before


def test_a_vanished_sender_on_the_last_rung_leaves_a_dead_letter(
    scheduler: Scheduler, conn: db.Connection
) -> None:
    """The ladder is at its end: no further try, an operator decides."""
    delivery_id = put(conn, Status.SENDING, cycle_attempt=9, attempt_no=9)

    scheduler.step()

    assert status(conn, delivery_id) == Status.DEAD_LETTER
    assert recipient_statuses(conn, delivery_id) == ["exhausted"]
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == [("exhausted",)]


def test_a_vanished_sender_of_a_parked_lane_leaves_it_uncertain(
    build: Build, conn: db.Connection
) -> None:
    """Under `park` nothing that may have gone is tried again."""
    scheduler = build(Scheduler, MAIL_UNCERTAIN_POLICY="park")
    delivery_id = put(conn, Status.SENDING)

    scheduler.step()

    assert status(conn, delivery_id) == Status.UNCERTAIN
    assert recipient_statuses(conn, delivery_id) == ["uncertain"]


def test_a_vanished_sender_of_a_cancelled_delivery_leaves_it_uncertain(
    scheduler: Scheduler, conn: db.Connection
) -> None:
    """It must not be tried again, and cannot be called cancelled either."""
    delivery_id = put(conn, Status.SENDING, cancel_requested_at=datetime.now(UTC))

    scheduler.step()

    assert status(conn, delivery_id) == Status.UNCERTAIN


@pytest.mark.parametrize(
    "before", [Status.SCHEDULED, Status.QUEUED, Status.RENDERED, Status.DEFERRED]
)
def test_what_is_past_its_expiry_fails_with_a_dead_letter(
    scheduler: Scheduler, conn: db.Connection, before: Status
) -> None:
    """Whatever queue it waits in (I-15)."""
    delivery_id = put(conn, before, expires_at=_later(seconds=-1))

    scheduler.step()

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, "expired")
    assert recipient_statuses(conn, delivery_id) == ["expired"]
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == [("expired",)]


def test_an_expired_delivery_that_somebody_accepted_is_sent(
    scheduler: Scheduler, conn: db.Connection
) -> None:
    """Expiry closes only open recipients, then the recipients' rule holds."""
    from tests.deliveries import accept, new_delivery

    new = new_delivery("a@example.com", "b@example.com")
    accept(conn, new)
    conn.execute("UPDATE delivery_recipients SET status = 'accepted' WHERE ordinal = 0")
    conn.execute("UPDATE deliveries SET expires_at = clock_timestamp()")

    scheduler.step()

    assert status(conn, new.delivery_id) == Status.SENT
    assert recipient_statuses(conn, new.delivery_id) == ["accepted", "expired"]
    assert conn.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)


def test_an_expired_delivery_that_may_have_gone_is_uncertain(
    scheduler: Scheduler, conn: db.Connection
) -> None:
    """Whoever may have it already is never called expired."""
    delivery_id = put(conn, Status.DEFERRED, attempt_no=1, cycle_attempt=1)
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
        " lease_token, leased_by, finished_at) VALUES (%s, 1, 1, 'timed_out', 'unknown',"
        " gen_random_uuid(), gen_random_uuid(), clock_timestamp())",
        [delivery_id],
    )
    conn.execute("UPDATE deliveries SET expires_at = clock_timestamp()")

    scheduler.step()

    after = row(conn, delivery_id)
    assert (after["status"], after["failure"]) == (Status.UNCERTAIN, "unknown")
    assert recipient_statuses(conn, delivery_id) == ["uncertain"]


def test_pauses_whose_time_is_over_are_removed(scheduler: Scheduler, conn: db.Connection) -> None:
    """Those without an end, or with one to come, stay."""
    for reason, ends_at in (("over", _later(seconds=-1)), ("on", _later(hours=1)), ("on", None)):
        conn.execute(
            "INSERT INTO pauses (reason, created_by, ends_at) VALUES (%s, 'test', %s)",
            [reason, ends_at],
        )

    scheduler.step()

    assert conn.execute("SELECT reason FROM pauses").fetchall() == [("on",), ("on",)]


def test_two_schedulers_promote_ten_thousand_rows_once_each(
    build: Build, conn: db.Connection
) -> None:
    """Rows are shared by SKIP LOCKED (MS-96): none is promoted twice."""
    import threading

    conn.execute(
        "INSERT INTO deliveries (delivery_id, source, lane, status, payload_mode, mail_from,"
        " idempotency_key, retry_policy, next_attempt_at, mime_size)"
        " SELECT gen_random_uuid(), 'api', 1, 'deferred', 'rendered', 'a@example.org', 'k' || n,"
        " 'ladder', clock_timestamp(), 0 FROM generate_series(1, 10000) n"
    )
    schedulers = [build(Scheduler), build(Scheduler)]
    busy = [0, 0]

    def work(number: int) -> None:
        while schedulers[number].step():
            busy[number] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    ready = conn.execute("SELECT count(*) FROM deliveries WHERE status = 'queued'").fetchone()
    assert ready == (10000,)
    assert sum(busy) <= 21


def test_what_is_late_to_become_due_is_not_overlooked(build: Build, conn: db.Connection) -> None:
    """Passes read on from the time of the last ones; what comes to lie before it is swept up."""
    scheduler = build(Scheduler, MAIL_POLL_INTERVAL="10ms")
    for _ in range(3):
        scheduler.step()
        scheduler.wait()
    delivery_id = put(conn, Status.DEFERRED, next_attempt_at=_later(hours=-1))

    eventually(lambda: scheduler.step() or status(conn, delivery_id) == Status.QUEUED)


def test_a_backlog_found_by_a_sweep_is_worked_off_at_once(
    build: Build, conn: db.Connection
) -> None:
    """After a full batch comes the next, not a batch a sweep."""
    scheduler = build(Scheduler, MAIL_POLL_INTERVAL="10ms")
    for _ in range(3):
        scheduler.step()
        scheduler.wait()
    due = {"status": Status.SCHEDULED, "next_attempt_at": _later(hours=-1)}
    accept(conn, *(new_delivery(**due) for _ in range(1200)))

    eventually(scheduler.step)  # the sweep, which finds the first batch
    assert [scheduler.step(), scheduler.step()] == [True, False]


def test_it_sleeps_no_longer_than_to_the_next_due_time(build: Build, conn: db.Connection) -> None:
    """A retry is not late by a poll."""
    import time

    scheduler = build(Scheduler, MAIL_POLL_INTERVAL="5s")
    put(conn, Status.DEFERRED, next_attempt_at=_later(seconds=0.3))

    started = time.monotonic()
    scheduler.wait()

    assert time.monotonic() - started < 2


def test_a_replay_is_carried_out_and_undone(scheduler: Scheduler, conn: db.Connection) -> None:
    """A batch a step, before the next sleep; what is due of it is ready in the step after."""
    ids = [put(conn, Status.FAILED) for _ in range(3)]
    for delivery_id in ids:
        enter_letter(conn, delivery_id, None)
    ordered = order_replay(conn, DeadLetterFilter(), rate=0.01, actor="eve", reason="again")
    assert ordered is not None

    assert scheduler.step()
    scheduler.step()
    cancel_replay(conn, ordered.replay_id, actor="eve", reason="an error")
    assert scheduler.step()

    assert [status(conn, delivery_id) for delivery_id in ids] == ["queued", "failed", "failed"]
    assert not scheduler.step()
