"""Suppressions, pauses, timelines, explanations, counts and the trail by HTTP."""

from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import redis

from mailworkers.adapters.store.operator_actions import Action
from mailworkers.adapters.store.overview import Stats
from mailworkers.adapters.store.pauses import Pause
from mailworkers.adapters.store.suppressions import Suppression
from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.core.explanations import Explanation
from mailworkers.core.states import Status
from mailworkers.web.histories import Timeline
from mailworkers.web.overview import ActionPage, ProcessList
from mailworkers.web.pauses import PauseList
from mailworkers.web.suppressions import SuppressionPage
from tests.deliveries import put
from tests.eventually import eventually
from tests.web.conftest import MakeToken, Row, RunningApi, command, error_of

Connection = psycopg.Connection[Row]
WHY = {"reason": "they asked for it"}
NOBODY = "01900000-0000-7000-8000-000000000001"
BOB = "/suppressions/Bob@Example.COM"


def decode(answer: httpx.Response, kind: Any) -> Any:
    """Return the body of a good answer, strictly as *kind*."""
    assert answer.is_success, answer.text
    return msgspec.json.decode(answer.content, type=kind)


def trail(api: httpx.Client, **query: Any) -> list[Action]:
    """Return a page of the audit trail."""
    page: ActionPage = decode(api.get("/actions", params=query), ActionPage)
    return page.items


def test_a_suppressed_address_gets_no_mail_until_it_is_taken_off(api: httpx.Client) -> None:
    """PUT, GET and DELETE mean the same address in whatever form it is written."""
    made: Suppression = decode(api.put(BOB, json=WHY), Suppression)
    shown: SuppressionPage = decode(api.get("/suppressions/bob@example.com"), SuppressionPage)
    to_bob = command(payload={"to": ["bob@example.com"], "subject": "x", "text_body": "y"})
    outcome = api.post("/deliveries", json=to_bob).json()["outcome"]

    assert (made.canonical, made.scope, made.created_by) == ("bob@example.com", "*", "local")
    assert shown.items == [made]
    assert outcome == "suppressed"

    decode(api.delete(BOB, params=WHY), SuppressionPage)

    assert api.get(BOB).status_code == api.delete(BOB, params=WHY).status_code == 404
    assert [(a.action, a.reason) for a in trail(api)] == [
        ("unsuppress", "they asked for it"),
        ("suppress", "they asked for it"),
    ]


def test_the_list_is_paged_by_opaque_cursors(api: httpx.Client) -> None:
    """No gap, no repeat; a scope narrows it."""
    for number in range(5):
        api.put(f"/suppressions/p{number}@example.com", json=WHY)
    api.put("/suppressions/p9@example.com", json={**WHY, "scope": "newsletter"})
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page: SuppressionPage = decode(api.get("/suppressions", params=query), SuppressionPage)
        seen += [found.canonical for found in page.items]
        if page.next_cursor is None:
            break
        query["cursor"] = page.next_cursor

    assert seen == [f"p{number}@example.com" for number in (0, 1, 2, 3, 4, 9)]
    only = decode(api.get("/suppressions", params={"scope": "newsletter"}), SuppressionPage)
    assert [found.canonical for found in only.items] == ["p9@example.com"]


@pytest.mark.parametrize(
    ("path", "body", "at"),
    [
        ("/suppressions/nobody", WHY, "address"),
        (BOB, {}, "reason"),
        (BOB, {**WHY, "scope": 7}, "scope"),
        (BOB, {**WHY, "expires_at_ms": 1_700_000_000_000}, "expires_at_ms"),
        (BOB, {**WHY, "expires_at_ms": "soon"}, "expires_at_ms"),
        (BOB, {**WHY, "until": 1}, "until"),
    ],
)
def test_a_wrong_suppression_is_refused_by_name_and_changes_nothing(
    api: httpx.Client, path: str, body: dict[str, Any], at: str
) -> None:
    """400 with the path of the field."""
    answer = api.put(path, json=body)

    assert answer.status_code == 400
    assert error_of(answer)["details"]["path"] == at
    assert decode(api.get("/suppressions"), SuppressionPage).items == []
    assert trail(api) == []


def test_a_pause_is_made_shown_and_ended(api: httpx.Client, redis_client: redis.Redis) -> None:
    """Its end wakes the senders: what waited goes out at once."""
    answer = api.post("/pauses", json={**WHY, "lane": "bulk", "ends_at_ms": 4_000_000_000_000})
    made: Pause = decode(answer, Pause)

    assert answer.status_code == 201
    assert (made.lane, made.source, made.created_by) == ("bulk", None, "local")
    assert decode(api.get("/pauses"), PauseList).items == [made]
    path = f"/pauses/{made.pause_id}"
    assert decode(api.delete(path, params=WHY), Pause) == made
    assert decode(api.get("/pauses"), PauseList).items == []
    eventually(lambda: redis_client.llen(SENDER_WAKE))
    assert api.delete(path, params=WHY).status_code == 404
    assert api.delete(path).status_code == 400


@pytest.mark.parametrize("body", [{}, {**WHY, "lane": "fast"}, {**WHY, "source": ""}])
def test_a_wrong_pause_holds_nothing_back(api: httpx.Client, body: dict[str, Any]) -> None:
    """What is meant to hold a lane back must not hold back everything."""
    assert api.post("/pauses", json=body).status_code == 400
    assert decode(api.get("/pauses"), PauseList).items == []


def test_a_delivery_is_told_and_explained(api: httpx.Client, conn: Connection) -> None:
    """What happened in order; why it is not sent, in words."""
    path = f"/deliveries/{put(conn, Status.QUEUED)}"
    api.post("/pauses", json={**WHY, "lane": "normal"})

    told: Timeline = decode(api.get(f"{path}/timeline"), Timeline)
    said: Explanation = decode(api.get(f"{path}/explain"), Explanation)

    assert [event.kind for event in told.items] == ["accepted"]
    assert said.why[0] == "local holds it back: they asked for it"
    for route in ("timeline", "explain"):
        assert api.get(f"/deliveries/{NOBODY}/{route}").status_code == 404


def test_stats_count_what_lives_and_what_has_ended(api: httpx.Client, conn: Connection) -> None:
    """By status and lane; the oldest age by lane."""
    put(conn, Status.QUEUED)
    put(conn, Status.QUEUED)
    put(conn, Status.SENT)

    stats: Stats = decode(api.get("/stats"), Stats)

    assert [(c.status, c.lane, c.count) for c in stats.live] == [("queued", "normal", 2)]
    assert [(c.status, c.count) for c in stats.ended_lately] == [("sent", 1)]
    assert stats.oldest_due_ms["normal"] > 59_000
    assert stats.oldest_due_ms["auth"] == 0
    assert decode(api.get("/roles"), ProcessList).items == []


def test_the_trail_is_paged_and_narrowed_to_a_subject(api: httpx.Client) -> None:
    """Newest first."""
    for number in range(3):
        api.put(f"/suppressions/p{number}@example.com", json=WHY)

    first: ActionPage = decode(api.get("/actions", params={"limit": 2}), ActionPage)
    rest = trail(api, limit=2, cursor=first.next_cursor)

    subjects = [action.subject for action in (*first.items, *rest)]
    assert subjects == [f"suppression p{number}@example.com *" for number in (2, 1, 0)]
    assert [action.subject for action in trail(api, subject=subjects[1])] == [subjects[1]]


def test_reading_needs_read_and_changing_needs_operate(
    own_api: RunningApi, make_token: MakeToken
) -> None:
    """A token that may only read changes nothing."""
    reader = {"Authorization": f"Bearer {make_token('reader', ['read'])}"}
    taker = {"Authorization": f"Bearer {make_token('taker', ['intake'])}"}
    with own_api.client() as client:
        for path in ("/suppressions", "/pauses", "/stats", "/roles", "/actions"):
            assert client.get(path, headers=reader).status_code == 200
            assert client.get(path, headers=taker).status_code == 403
        assert client.put(BOB, json=WHY, headers=reader).status_code == 403
        assert client.delete(BOB, params=WHY, headers=reader).status_code == 403
        assert client.post("/pauses", json=WHY, headers=reader).status_code == 403
        assert client.delete("/pauses/1", params=WHY, headers=reader).status_code == 403
