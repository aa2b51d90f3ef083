"""Dead letters by HTTP: finding them, resolving one, sending many again and stopping that."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import redis

from mailworkers.adapters.store.dead_letters import DeadLetter
from mailworkers.adapters.store.replays import Replay, ReplayStatus, continue_replay
from mailworkers.adapters.stream import SCHEDULER_WAKE
from mailworkers.core.states import Lane, Status
from mailworkers.web.dead_letters import DeadLetterPage
from mailworkers.web.replays import ReplayAnswer, ReplayPage
from tests.deliveries import put, status
from tests.eventually import eventually
from tests.store.situations import enter_letter
from tests.web.conftest import MakeToken, Row, RunningApi, error_of
from tests.web.test_operating import decode, trail

Connection = psycopg.Connection[Row]
WHY = {"reason": "the relay is well again"}
ORDER: dict[str, Any] = {**WHY, "rate_per_second": 100}


def dead(conn: Connection, **columns: Any) -> UUID:
    """Put a delivery that failed, with its dead letter."""
    delivery_id = put(conn, Status.FAILED, failure="rejected", **columns)
    enter_letter(conn, delivery_id, None)
    return delivery_id


def listed(api: httpx.Client, **query: Any) -> list[DeadLetter]:
    """Return the dead letters of a page."""
    page: DeadLetterPage = decode(api.get("/dead-letters", params=query), DeadLetterPage)
    return page.items


def schedule(conn: Connection) -> None:
    """Do as a scheduler does until nothing is left to do."""
    while continue_replay(conn, limit=100):
        pass


def test_dead_letters_are_found_with_what_is_known_of_them(
    api: httpx.Client, conn: Connection
) -> None:
    """Newest first, with the delivery as it is and what keeps it from being sent again."""
    first = dead(conn)
    second = dead(conn, lane=int(Lane.AUTH))

    found = listed(api)

    assert [letter.delivery_id for letter in found] == [second, first]
    assert [letter.hindrance for letter in found] == ["auth", None]
    assert found[1].reason == "no such user"
    shown = decode(api.get(f"/dead-letters/{found[1].dead_letter_id}"), DeadLetter)
    assert shown == found[1]


def test_filters_narrow_the_list(api: httpx.Client, conn: Connection) -> None:
    """One of each kind; recipients in whatever form they are written."""
    dead(conn)
    wanted = dead(conn, lane=int(Lane.BULK), template_id="welcome")
    conn.execute(
        "UPDATE delivery_recipients SET canonical = 'ada@example.com' WHERE delivery_id = %s",
        [wanted],
    )
    conn.execute("UPDATE dead_letters SET cause = 'poison' WHERE delivery_id = %s", [wanted])

    for query in (
        {"lane": "bulk"},
        {"template": "welcome"},
        {"cause": "poison"},
        {"recipient": "Ada@Example.COM"},
        {"recipient": "ada@example.com", "lane": ["bulk", "auth"]},
    ):
        assert [letter.delivery_id for letter in listed(api, **query)] == [wanted], query
    assert listed(api, to="2020-01-01T00:00:00Z") == []
    assert len(listed(api, **{"from": "2020-01-01T00:00:00Z"})) == 2


def test_pages_follow_each_other(api: httpx.Client, conn: Connection) -> None:
    """No gap, no repeat."""
    ids = [dead(conn) for _ in range(5)]
    seen: list[UUID] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page: DeadLetterPage = decode(api.get("/dead-letters", params=query), DeadLetterPage)
        seen += [letter.delivery_id for letter in page.items]
        if page.next_cursor is None:
            break
        query["cursor"] = page.next_cursor

    assert seen == ids[::-1]


def test_resolving_takes_it_off_the_list_of_what_is_to_be_seen_to(
    api: httpx.Client, conn: Connection
) -> None:
    """The first who did it stays named; the delivery stays as it ended."""
    delivery_id = dead(conn)
    number = listed(api)[0].dead_letter_id
    path = f"/dead-letters/{number}/resolve"

    done = decode(api.post(path, json={"note": "told by phone"}), DeadLetter)
    again = decode(api.post(path, json={"note": "me too"}), DeadLetter)

    assert done == again
    assert (done.resolved_by, done.note) == ("local", "told by phone")
    assert listed(api, resolved=False) == []
    assert listed(api, resolved=True) == [done]
    assert status(conn, delivery_id) == Status.FAILED
    assert [(a.action, a.subject, a.reason) for a in trail(api)] == [
        ("resolve", f"dead letter {number}", "told by phone")
    ]


def test_a_dry_run_counts_and_changes_nothing(api: httpx.Client, conn: Connection) -> None:
    """By cause and lane, with what cannot be sent again; no order, no line of the trail."""
    delivery_id = dead(conn)
    dead(conn, lane=int(Lane.AUTH))

    answer = api.post("/dead-letters:replay", json={**ORDER, "dry_run": True})

    assert answer.status_code == 200
    found: ReplayAnswer = decode(answer, ReplayAnswer)
    assert found.replay_id is None
    assert (found.plan.matched, found.plan.replayable) == (2, 1)
    assert status(conn, delivery_id) == Status.FAILED
    assert trail(api) == []


def test_a_replay_is_ordered_watched_and_stopped(
    api: httpx.Client, conn: Connection, redis_client: redis.Redis
) -> None:
    """202 with its number; the scheduler is woken; cancelling puts back what is scheduled."""
    ids = [dead(conn) for _ in range(3)]

    answer = api.post("/dead-letters:replay", json={**ORDER, "rate_per_second": 0.01})
    number = decode(answer, ReplayAnswer).replay_id
    eventually(lambda: redis_client.llen(SCHEDULER_WAKE) > 0, within=10)
    ordered: Replay = decode(api.get(f"/replays/{number}"), Replay)
    schedule(conn)
    running: Replay = decode(api.get(f"/replays/{number}"), Replay)
    stopped: Replay = decode(api.post(f"/replays/{number}/cancel", json=WHY), Replay)
    schedule(conn)
    over: Replay = decode(api.get(f"/replays/{number}"), Replay)

    assert answer.status_code == 202
    assert (ordered.status, ordered.matched) == (ReplayStatus.REQUEUEING, 3)
    assert (running.status, running.outcomes) == (ReplayStatus.REQUEUED, {Status.SCHEDULED: 3})
    assert stopped.status == ReplayStatus.CANCELLING
    assert (over.status, over.returned) == (ReplayStatus.CANCELLED, 3)
    assert {status(conn, delivery_id) for delivery_id in ids} == {Status.FAILED}
    assert [found.replay_id for found in decode(api.get("/replays"), ReplayPage).items] == [number]
    assert [(a.action, a.subject) for a in trail(api)] == [
        ("cancel_replay", f"replay {number}"),
        ("replay", f"replay {number}"),
    ]


def test_a_replay_takes_what_its_filter_names(api: httpx.Client, conn: Connection) -> None:
    """By number too; what was resolved is left out unless it is asked for."""
    first, second, third = (dead(conn) for _ in range(3))
    numbers = [letter.dead_letter_id for letter in listed(api)]
    api.post(f"/dead-letters/{numbers[0]}/resolve", json={"note": "seen"})

    by_number = api.post(
        "/dead-letters:replay", json={**ORDER, "filter": {"dead_letter_ids": numbers[:2]}}
    )
    schedule(conn)

    assert by_number.status_code == 202
    assert [status(conn, d) for d in (first, second, third)] == ["failed", "scheduled", "failed"]
    assert api.post("/dead-letters:replay", json={**ORDER, "filter": {"resolved": True}}).is_success


def test_nothing_to_replay_is_409(api: httpx.Client, conn: Connection) -> None:
    """With how many were meant and what keeps them; no order, no line of the trail."""
    dead(conn, lane=int(Lane.AUTH))

    answer = api.post("/dead-letters:replay", json=ORDER)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (409, "nothing_to_replay")
    assert error["details"] == {"matched": 1, "hindered": {"auth": 1}}
    assert trail(api) == []


def test_a_new_end_sends_what_is_past_its_own(api: httpx.Client, conn: Connection) -> None:
    """One that has passed itself is refused."""
    late = dead(conn, expires_at=datetime(2026, 1, 1, tzinfo=UTC))

    refused = api.post("/dead-letters:replay", json={**ORDER, "expires_at_ms": 1767225600000})
    done = api.post("/dead-letters:replay", json={**ORDER, "expires_at_ms": 4000000000000})
    schedule(conn)

    assert error_of(refused)["details"] == {"path": "expires_at_ms"}
    assert done.status_code == 202
    assert status(conn, late) == Status.SCHEDULED


def test_what_is_sent_again_cannot_be_resolved(api: httpx.Client, conn: Connection) -> None:
    """409 with what it is now."""
    delivery_id = dead(conn)
    number = listed(api)[0].dead_letter_id
    api.post(f"/deliveries/{delivery_id}/requeue", json=WHY)

    answer = api.post(f"/dead-letters/{number}/resolve", json={"note": "seen"})

    assert (answer.status_code, error_of(answer)["code"]) == (409, "not_resolvable")
    assert listed(api) == []


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "reason"),
        ({**WHY, "rate_per_second": 0}, "rate_per_second"),
        ({**WHY, "rate_per_second": "fast"}, "rate_per_second"),
        ({**WHY, "rate_per_second": True}, "rate_per_second"),
        ({**WHY, "dry_run": 1}, "dry_run"),
        ({**WHY, "filter": []}, "filter"),
        ({**WHY, "filter": {"colour": "red"}}, "filter.colour"),
        ({**WHY, "filter": {"cause": ["sunspots"]}}, "cause[0]"),
        ({**WHY, "filter": {"cause": "poison"}}, "cause"),
        ({**WHY, "filter": {"lane": ["bulk", "fast"]}}, "lane[1]"),
        ({**WHY, "filter": {"source": [7]}}, "source[0]"),
        ({**WHY, "filter": {"recipient": "nobody"}}, "filter.recipient"),
        ({**WHY, "filter": {"dead_letter_ids": [0]}}, "dead_letter_ids[0]"),
        ({**WHY, "filter": {"dead_letter_ids": [1] * 1001}}, "dead_letter_ids"),
        ({**WHY, "filter": {"resolved": "no"}}, "resolved"),
    ],
)
def test_a_replay_that_cannot_be_read_is_400_and_names_the_field(
    client: httpx.Client, body: dict[str, Any], path: str
) -> None:
    """One clear error, nothing done."""
    answer = client.post("/dead-letters:replay", json=body)

    assert answer.status_code == 400
    assert error_of(answer)["details"]["path"].endswith(path)


def test_what_does_not_exist_is_404(client: httpx.Client) -> None:
    """Whatever is asked of it; a number that is none is refused before."""
    for answer in (
        client.get("/dead-letters/999999999"),
        client.post("/dead-letters/999999999/resolve", json={"note": "seen"}),
        client.get("/replays/999999999"),
        client.post("/replays/999999999/cancel", json=WHY),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")
    for path in ("/dead-letters/0", "/dead-letters/99999999999999999999", "/replays/-1"):
        assert client.get(path).status_code in {400, 404}
    assert client.get("/dead-letters", params={"cursor": "eHh4"}).status_code == 400


def test_reading_and_operating_need_their_scopes(
    own_api: RunningApi, make_token: MakeToken
) -> None:
    """`read` sees and does not touch; `intake` sees nothing."""
    reader = {"Authorization": f"Bearer {make_token('reader', ['read'])}"}
    producer = {"Authorization": f"Bearer {make_token('producer', ['intake'])}"}

    with own_api.client() as api:
        assert api.get("/dead-letters", headers=reader).status_code == 200
        for path in ("/dead-letters:replay", "/dead-letters/1/resolve", "/replays/1/cancel"):
            assert api.post(path, headers=reader, json=WHY).status_code == 403
        for path in ("/dead-letters", "/dead-letters/1", "/replays", "/replays/1"):
            assert api.get(path, headers=producer).status_code == 403
