"""Bulk replays of dead letters: who is requeued, when, and how it goes on and back."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.store.dead_letters import (
    Cause,
    DeadLetterFilter,
    find_dead_letter,
    list_dead_letters,
    resolve_dead_letter,
)
from mailworkers.adapters.store.operator_actions import list_actions
from mailworkers.adapters.store.replays import (
    Batch,
    Replay,
    ReplayStatus,
    cancel_replay,
    continue_replay,
    find_replay,
    list_replays,
    order_replay,
    plan_replay,
)
from mailworkers.core.states import Lane, RecipientStatus, Status
from mailworkers.embedded.servers import Servers
from tests.deliveries import put, recipient_statuses, row, status
from tests.store.situations import LATER, enter_letter, let_the_oldest_win, several

EVERYTHING = DeadLetterFilter()
WHY: Any = {"actor": "eve", "reason": "the relay is well again"}


def dead(conn: db.Connection, cause: str = "permanent", **columns: Any) -> UUID:
    """Put a delivery that ended badly, with its dead letter."""
    end = Status.DEAD_LETTER if cause == "exhausted" else Status.FAILED
    delivery_id = put(conn, end, failure="rejected", attempt_no=1, cycle_attempt=1, **columns)
    enter_letter(conn, delivery_id, None)
    conn.execute("UPDATE dead_letters SET cause = %s WHERE delivery_id = %s", [cause, delivery_id])
    return delivery_id


def dead_for(conn: db.Connection, *recipients: str) -> UUID:
    """Put a dead letter whose recipients ended like this."""
    delivery_id = several(conn, *recipients)
    conn.execute(
        "UPDATE deliveries SET status = 'dead_letter', failure = 'exhausted', ready_at = NULL,"
        " finished_at = clock_timestamp() WHERE delivery_id = %s",
        [delivery_id],
    )
    enter_letter(conn, delivery_id, None)
    conn.execute(
        "UPDATE dead_letters SET cause = 'exhausted' WHERE delivery_id = %s", [delivery_id]
    )
    return delivery_id


def letter_of(conn: db.Connection, delivery_id: UUID) -> int:
    """Return the number of a delivery's newest dead letter."""
    ((number,),) = conn.execute(
        "SELECT max(dead_letter_id) FROM dead_letters WHERE delivery_id = %s", [delivery_id]
    ).fetchall()
    return int(number)


def order(conn: db.Connection, wanted: DeadLetterFilter = EVERYTHING, rate: float = 10) -> Replay:
    """Order a replay that has something to do."""
    made = order_replay(conn, wanted, rate=rate, **WHY)
    assert made is not None
    return made


def carry_out(conn: db.Connection, *, limit: int = 100) -> list[Batch]:
    """Do as schedulers do until nothing is left to do."""
    return list(_batches(conn, limit))


def _batches(conn: db.Connection, limit: int) -> Iterator[Batch]:
    while batch := continue_replay(conn, limit=limit):
        yield batch


def looked_up(conn: db.Connection, replay_id: int) -> Replay:
    """Return an order as it is now."""
    found = find_replay(conn, replay_id)
    assert found is not None
    return found


def everything(conn: db.Connection, delivery_id: UUID) -> tuple[object, ...]:
    """Return all that a replay might change of a delivery."""
    letters = conn.execute(
        "SELECT * FROM dead_letters WHERE delivery_id = %s ORDER BY dead_letter_id", [delivery_id]
    ).fetchall()
    return row(conn, delivery_id), recipient_statuses(conn, delivery_id), letters


def test_each_is_scheduled_at_a_time_of_its_own(conn: db.Connection) -> None:
    """Times are spread at the rate, the oldest first, whatever the size of the batches."""
    ids = [dead(conn) for _ in range(5)]

    batches = carry_out(conn, limit=2) if order(conn, rate=4) else []

    times = [row(conn, delivery_id)["next_attempt_at"] for delivery_id in ids]
    assert [status(conn, delivery_id) for delivery_id in ids] == ["scheduled"] * 5
    assert [b - a for a, b in itertools.pairwise(times)] == [timedelta(seconds=0.25)] * 4
    assert [batch.requeued for batch in batches] == [2, 2, 1]


def test_a_replay_begins_a_new_cycle_for_the_recipients_that_gave_the_status(
    conn: db.Connection,
) -> None:
    """Whoever has the mail does not get it again; the delivery forgets how it had ended."""
    delivery_id = dead_for(conn, "accepted", "exhausted", "refused")

    order(conn)
    carry_out(conn)

    after = row(conn, delivery_id)
    assert recipient_statuses(conn, delivery_id) == ["accepted", "open", "refused"]
    assert (after["finished_at"], after["failure"], after["cycle_attempt"]) == (None, None, 0)


def test_a_plan_counts_and_changes_nothing(conn: db.Connection) -> None:
    """By cause and lane, and what cannot be sent again, with the reason."""
    for _ in range(3):
        dead(conn)
    dead(conn, "exhausted", lane=int(Lane.BULK))
    dead(conn, lane=int(Lane.AUTH))
    late = dead(conn, "expired", expires_at=datetime.now(UTC))
    gone = dead(conn, "poison")
    conn.execute("DELETE FROM delivery_payloads WHERE delivery_id = %s", [gone])
    before = [everything(conn, delivery_id) for delivery_id in (late, gone)]

    plan = plan_replay(conn, EVERYTHING, rate=2)

    assert (plan.matched, plan.replayable, plan.duration_seconds) == (7, 4, 1.5)
    assert {(c.cause, c.lane, c.hindrance, c.count) for c in plan.counts} == {
        ("permanent", "normal", None, 3),
        ("exhausted", "bulk", None, 1),
        ("permanent", "auth", "auth", 1),
        ("expired", "normal", "expired", 1),
        ("poison", "normal", "content_deleted", 1),
    }
    assert [everything(conn, delivery_id) for delivery_id in (late, gone)] == before
    assert plan_replay(conn, EVERYTHING, rate=2, expires_at=LATER).replayable == 5


def test_what_cannot_be_sent_again_stays_a_dead_letter(conn: db.Connection) -> None:
    """Auth mail, what would be late, what has no bytes: left as they are, and counted."""
    now = datetime.now(UTC)
    kept = [dead(conn, lane=int(Lane.AUTH)), dead(conn, "expired", expires_at=now), dead(conn)]
    conn.execute("DELETE FROM delivery_payloads WHERE delivery_id = %s", [kept[2]])
    good = dead(conn)
    before = [everything(conn, delivery_id) for delivery_id in kept]

    made = order(conn)
    carry_out(conn)

    assert [everything(conn, delivery_id) for delivery_id in kept] == before
    assert status(conn, good) == Status.SCHEDULED
    now_is = looked_up(conn, made.replay_id)
    assert (now_is.matched, now_is.requeued, now_is.skipped) == (4, 1, 3)
    assert (now_is.status, now_is.outcomes) == (ReplayStatus.REQUEUED, {Status.SCHEDULED: 1})


def test_one_whose_turn_comes_after_its_end_is_left(conn: db.Connection) -> None:
    """The slower the rate, the later its turn: it would expire before it is sent."""
    dead(conn)
    late = dead(conn, expires_at=datetime.now(UTC) + timedelta(hours=1))

    order(conn, rate=0.0001)
    carry_out(conn)

    assert status(conn, late) == Status.FAILED


def test_a_new_end_is_given_to_those_past_their_own(conn: db.Connection) -> None:
    """As with a requeue of one: past `expires_at` it needs a later one."""
    late = dead(conn, "expired", expires_at=datetime.now(UTC))

    assert order_replay(conn, EVERYTHING, rate=1, expires_at=LATER, **WHY)
    carry_out(conn)

    assert (status(conn, late), row(conn, late)["expires_at"]) == (Status.SCHEDULED, LATER)


def test_nothing_to_replay_is_no_order(conn: db.Connection) -> None:
    """No order, no line of the trail."""
    dead(conn, lane=int(Lane.AUTH))

    assert order_replay(conn, EVERYTHING, rate=1, **WHY) is None
    assert list_replays(conn, before_id=None, limit=9) == []
    assert list_actions(conn, subject=None, before_id=None, limit=9) == []


WANTED = {
    "cause": DeadLetterFilter(causes=(Cause.EXHAUSTED,)),
    "source": DeadLetterFilter(sources=("shop",)),
    "lane": DeadLetterFilter(lanes=("bulk",)),
    "template": DeadLetterFilter(template_id="welcome"),
    "recipient": DeadLetterFilter(recipient="ada@example.com"),
    "resolved": DeadLetterFilter(is_resolved=True),
    "from": DeadLetterFilter(created_from=LATER - timedelta(days=1)),
    "to": DeadLetterFilter(created_to=datetime(2026, 1, 1, tzinfo=UTC)),
}


def _put_the_wanted(conn: db.Connection, by: str) -> UUID:
    conn.execute("INSERT INTO sources VALUES ('shop') ON CONFLICT DO NOTHING")
    columns: dict[str, dict[str, Any]] = {
        "source": {"source": "shop"},
        "lane": {"lane": int(Lane.BULK)},
        "template": {"template_id": "welcome"},
    }
    delivery_id = dead(conn, "exhausted" if by == "cause" else "permanent", **columns.get(by, {}))
    if by == "recipient":
        conn.execute(
            "UPDATE delivery_recipients SET canonical = 'ada@example.com' WHERE delivery_id = %s",
            [delivery_id],
        )
    if by == "resolved":
        resolve_dead_letter(conn, letter_of(conn, delivery_id), actor="eve", note="seen")
    if by in {"from", "to"}:
        at = LATER if by == "from" else datetime(2025, 1, 1, tzinfo=UTC)
        conn.execute(
            "UPDATE dead_letters SET created_at = %s WHERE delivery_id = %s", [at, delivery_id]
        )
    return delivery_id


@pytest.mark.parametrize("by", [name for name in WANTED if name != "from"])
def test_list_plan_and_replay_mean_the_same_dead_letters(conn: db.Connection, by: str) -> None:
    """What was shown and counted is what is sent again, and nothing else."""
    others = [dead(conn), dead(conn)]
    wanted = _put_the_wanted(conn, by)

    shown = list_dead_letters(conn, WANTED[by], before=None, limit=9)
    plan = plan_replay(conn, WANTED[by], rate=1)
    order(conn, WANTED[by])
    carry_out(conn)

    assert [letter.delivery_id for letter in shown.items] == [wanted]
    assert plan.matched == 1
    assert [status(conn, found) for found in (wanted, *others)] == ["scheduled", "failed", "failed"]


def test_a_dead_letter_that_came_after_the_order_is_not_of_it(conn: db.Connection) -> None:
    """A delivery that fails again is not sent again by the order that had sent it."""
    wanted = _put_the_wanted(conn, "from")
    dead(conn)

    order(conn)
    carry_out(conn)

    assert status(conn, wanted) == Status.FAILED


def test_a_replay_goes_on_where_it_was(conn: db.Connection) -> None:
    """Whoever is killed between two batches: the next one takes up the next dead letter."""
    ids = [dead(conn) for _ in range(4)]
    made = order(conn)
    continue_replay(conn, limit=2)
    halfway = looked_up(conn, made.replay_id)

    carry_out(conn, limit=2)

    assert (halfway.status, halfway.requeued) == (ReplayStatus.REQUEUEING, 2)
    assert looked_up(conn, made.replay_id).requeued == 4
    assert {status(conn, delivery_id) for delivery_id in ids} == {Status.SCHEDULED}


def test_a_batch_that_fails_leaves_nothing_half_done(conn: db.Connection) -> None:
    """Deliveries, letters and how far the order has come are one transaction."""
    delivery_id = dead(conn)
    made = order(conn)
    before = everything(conn, delivery_id), looked_up(conn, made.replay_id)

    with conn.transaction(force_rollback=True):
        continue_replay(conn, limit=9)

    assert (everything(conn, delivery_id), looked_up(conn, made.replay_id)) == before


def test_cancelling_puts_back_what_is_scheduled_still(conn: db.Connection) -> None:
    """Status, recipients, times and dead letter are as before; what has gone on is left alone."""
    waiting, gone = dead(conn, expires_at=LATER), dead(conn, "exhausted")
    mixed = dead_for(conn, "exhausted", "refused", "accepted")
    before = [everything(conn, delivery_id) for delivery_id in (waiting, mixed)]
    made = order(conn, rate=0.01)
    carry_out(conn)
    conn.execute("UPDATE deliveries SET next_attempt_at = now() WHERE delivery_id = %s", [gone])
    store.promote_due(conn, limit=9)
    store.promote_due(conn, limit=9)

    cancel_replay(conn, made.replay_id, actor="eve", reason="too early")
    promoted = [found for found in (waiting, mixed, gone) if status(conn, found) == "queued"]
    carry_out(conn)

    assert gone in promoted
    for delivery_id, was in zip((waiting, mixed), before, strict=True):
        if delivery_id not in promoted:
            assert everything(conn, delivery_id) == was
    now_is = looked_up(conn, made.replay_id)
    assert (now_is.status, now_is.returned) == (ReplayStatus.CANCELLED, 3 - len(promoted))


def test_cancelling_a_replay_puts_back_nothing_of_another(conn: db.Connection) -> None:
    """It failed again and was ordered anew: that is the other order's."""
    delivery_id = dead(conn)
    first = order(conn)
    carry_out(conn)
    conn.execute(
        "UPDATE deliveries SET status = 'failed', next_attempt_at = NULL, finished_at = now()"
    )
    conn.execute("UPDATE delivery_recipients SET status = 'refused'")
    enter_letter(conn, delivery_id, None)
    second = order(conn)
    carry_out(conn)

    cancel_replay(conn, first.replay_id, actor="eve", reason="an error")
    carry_out(conn)

    assert status(conn, delivery_id) == Status.SCHEDULED
    assert looked_up(conn, first.replay_id).returned == 0
    assert looked_up(conn, second.replay_id).outcomes == {Status.SCHEDULED: 1}


def test_only_the_dead_letter_that_is_open_is_marked(conn: db.Connection) -> None:
    """One that was closed before, by a requeue that failed, says nothing of this order."""
    delivery_id = dead(conn)
    conn.execute("UPDATE dead_letters SET closed_at = created_at")
    enter_letter(conn, delivery_id, None)
    let_the_oldest_win(conn)

    made = order(conn)
    carry_out(conn)

    marks = conn.execute("SELECT replay_id FROM dead_letters ORDER BY dead_letter_id").fetchall()
    assert marks == [(None,), (made.replay_id,)]
    cancel_replay(conn, made.replay_id, actor="eve", reason="an error")
    carry_out(conn)
    ends = conn.execute("SELECT closed_at IS NULL FROM dead_letters ORDER BY dead_letter_id")
    assert ends.fetchall() == [(False,), (True,)]


def _hold(conn: db.Connection, replay_id: int, walked_id: int = 0) -> list[int]:
    rows = db.run(conn, "hold_replayed", replay_id=replay_id, walked_id=walked_id, limit=9)
    return [number for number, _ in rows]


def test_what_is_put_back_is_of_the_order_and_scheduled_and_still_to_come(
    conn: db.Connection, servers: Servers
) -> None:
    """Each of these by itself; what somebody else has locked is not waited for."""
    gone, *waiting = (dead(conn) for _ in range(4))
    made = order(conn)
    carry_out(conn)
    conn.execute("UPDATE deliveries SET next_attempt_at = %s", [LATER])
    conn.execute("UPDATE deliveries SET next_attempt_at = now() WHERE delivery_id = %s", [gone])
    store.promote_due(conn, limit=9)
    numbers = [letter_of(conn, delivery_id) for delivery_id in waiting]

    assert _hold(conn, made.replay_id) == numbers
    assert _hold(conn, made.replay_id, numbers[0]) == numbers[1:]
    assert _hold(conn, made.replay_id + 1) == []
    with _other(servers) as other, other.transaction():
        other.execute("SELECT FROM deliveries WHERE delivery_id = %s FOR UPDATE", [waiting[0]])
        assert _hold(conn, made.replay_id) == numbers[1:]
    with conn.transaction():
        _hold(conn, made.replay_id)
        with _other(servers) as other:
            assert db.run(other, "hold_free_deliveries", delivery_ids=waiting) == []
    before = [everything(conn, delivery_id) for delivery_id in waiting]
    db.run(conn, "undo_replay", replay_id=made.replay_id + 1, dead_letter_ids=numbers)
    assert [everything(conn, delivery_id) for delivery_id in waiting] == before


def test_who_was_served_meanwhile_is_not_put_back(conn: db.Connection) -> None:
    """An outcome that became known late closed one recipient; only the open one returns."""
    delivery_id = dead_for(conn, "exhausted", "exhausted")
    made = order(conn)
    carry_out(conn)
    conn.execute("UPDATE delivery_recipients SET status = 'accepted' WHERE ordinal = 0")

    cancel_replay(conn, made.replay_id, actor="eve", reason="an error")
    carry_out(conn)

    assert status(conn, delivery_id) == Status.DEAD_LETTER
    assert recipient_statuses(conn, delivery_id) == [
        RecipientStatus.ACCEPTED,
        RecipientStatus.EXHAUSTED,
    ]


def test_cancelling_twice_is_cancelling_once(conn: db.Connection) -> None:
    """The second changes nothing and leaves no line; an order nobody gave is None."""
    dead(conn)
    made = order(conn)

    first = cancel_replay(conn, made.replay_id, actor="eve", reason="an error")
    carry_out(conn)
    second = cancel_replay(conn, made.replay_id, actor="bob", reason="another")

    trail = list_actions(conn, subject=f"replay {made.replay_id}", before_id=None, limit=9)
    assert first is not None
    assert first.status == ReplayStatus.CANCELLING
    assert second is not None
    assert second.status == ReplayStatus.CANCELLED
    assert [(line.action, line.actor) for line in trail] == [
        ("cancel_replay", "eve"),
        ("replay", "eve"),
    ]
    assert trail[1].action_id == made.replay_id
    assert cancel_replay(conn, 10**12, actor="eve", reason="none") is None


@contextmanager
def _other(servers: Servers) -> Iterator[db.Connection]:
    with db.connect(servers.postgres_dsn) as conn:
        yield conn


def test_two_replays_at_once_send_each_once(conn: db.Connection, servers: Servers) -> None:
    """Two orders for the same, two schedulers: every dead letter has one of them, none both."""
    ids = [dead(conn) for _ in range(40)]
    orders = [order(conn, rate=1000), order(conn, rate=1000)]

    def schedule() -> None:
        with _other(servers) as own:
            carry_out(own, limit=3)

    threads = [threading.Thread(target=schedule) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    carry_out(conn)
    assert {status(conn, delivery_id) for delivery_id in ids} == {Status.SCHEDULED}
    assert sum(looked_up(conn, made.replay_id).requeued for made in orders) == 40


def test_an_order_that_somebody_carries_out_is_left_to_them(
    conn: db.Connection, servers: Servers
) -> None:
    """Nobody waits for a lock: the other scheduler does the next order, or nothing."""
    dead(conn)
    made = order(conn)
    with _other(servers) as other, other.transaction():
        db.run(other, "hold_replay")

        assert continue_replay(conn, limit=9) is None

    assert continue_replay(conn, limit=9) == Batch(made.replay_id, 1, 0)


def test_a_delivery_that_somebody_has_in_hand_is_not_waited_for(
    conn: db.Connection, servers: Servers
) -> None:
    """Waiting with locks in hand could end in a deadlock: it stays what it is, and is counted."""
    held, free = dead(conn), dead(conn)
    made = order(conn)
    with _other(servers) as other, other.transaction():
        other.execute("SELECT FROM deliveries WHERE delivery_id = %s FOR UPDATE", [held])
        carry_out(conn)

    assert (status(conn, held), status(conn, free)) == (Status.FAILED, Status.SCHEDULED)
    assert looked_up(conn, made.replay_id).skipped == 1


def test_resolving_leaves_the_delivery_and_a_line(conn: db.Connection) -> None:
    """The first who resolves it is named; a second changes nothing."""
    delivery_id = dead(conn)
    number = letter_of(conn, delivery_id)
    before = row(conn, delivery_id)

    first = resolve_dead_letter(conn, number, actor="eve", note="they were told by phone")
    second = resolve_dead_letter(conn, number, actor="bob", note="me too")

    trail = list_actions(conn, subject=f"dead letter {number}", before_id=None, limit=9)
    assert first == second == find_dead_letter(conn, number)
    assert first is not None
    assert (first.resolved_by, first.note) == ("eve", "they were told by phone")
    assert row(conn, delivery_id) == before
    assert [(line.action, line.actor) for line in trail] == [("resolve", "eve")]


def test_a_dead_letter_no_more_is_not_resolved(conn: db.Connection) -> None:
    """It was requeued meanwhile: there is nothing to see to. One nobody knows is None."""
    delivery_id = dead(conn)
    store.requeue(conn, [delivery_id], actor="eve", reason="again")

    found = resolve_dead_letter(conn, letter_of(conn, delivery_id), actor="eve", note="seen")

    assert found is not None
    assert found.closed_at is not None
    assert found.resolved_at is None
    assert resolve_dead_letter(conn, 10**12, actor="eve", note="seen") is None


def test_pages_of_dead_letters_neither_skip_nor_repeat(conn: db.Connection) -> None:
    """Newest first, whatever comes in meanwhile; those closed are not dead letters any more."""
    ids = [dead(conn) for _ in range(5)]
    store.requeue(conn, [ids[2]], actor="eve", reason="again")
    seen: list[UUID] = []
    before = None
    while True:
        page = list_dead_letters(conn, EVERYTHING, before=before, limit=2)
        seen += [letter.delivery_id for letter in page.items]
        dead(conn)
        before = page.next
        if before is None:
            break

    assert seen == [ids[4], ids[3], ids[1], ids[0]]


def test_a_page_looks_at_so_many_and_says_where_to_go_on(
    conn: db.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A filter that hardly anything passes gives short pages, not slow ones."""
    monkeypatch.setattr("mailworkers.adapters.store.dead_letters._MOST_LOOKED_AT", 3)
    wanted = _put_the_wanted(conn, "lane")
    for _ in range(4):
        dead(conn)

    first = list_dead_letters(conn, WANTED["lane"], before=None, limit=2)
    second = list_dead_letters(conn, WANTED["lane"], before=first.next, limit=2)

    assert first.items == []
    assert first.next is not None
    assert [letter.delivery_id for letter in second.items] == [wanted]
    assert second.next is None
