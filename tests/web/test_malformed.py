"""Refused entries by HTTP: finding them, looking into one, taking one in after all."""

import threading
from typing import Any

import httpx
import msgspec
import psycopg
import pytest

from mailworkers.adapters.store.malformed import Malformed, MalformedCommand, store_malformed
from mailworkers.core.refusals import FailureCode
from mailworkers.web.malformed import MalformedDetail, MalformedPage, ReplayedCommand
from tests.deliveries import status
from tests.web.conftest import MakeToken, Row, RunningApi, error_of
from tests.web.test_operating import decode, trail

Connection = psycopg.Connection[Row]
WHY = {"reason": "the template is there now"}
STREAM = "mail:delivery_commands"


def fields(number: int = 1, **more: str) -> dict[str, str]:
    """Return the fields of an entry that nothing speaks against."""
    payload = {"to": ["ada@example.com"], "subject": "Hello", "text_body": "Hello Ada."}
    return {
        "delivery_id": f"01900000-0000-7000-8000-{number:012d}",
        "source": "notification",
        "payload_mode": "rendered",
        "idempotency_key": f"key-{number}",
        "requested_at_ms": "1767225600000",
        "payload_json": msgspec.json.encode(payload).decode(),
        **more,
    }


def refuse(conn: Connection, number: int = 1, *, is_complete: bool = True, **more: Any) -> int:
    """Store an entry as the consumer stores refused ones; return its number."""
    given = {name.encode(): text.encode() for name, text in fields(number, **more).items()}
    raw = msgspec.msgpack.encode(given)
    record = Malformed(
        entry_id=f"{number}-0",
        failure_code=FailureCode.UNKNOWN_TEMPLATE,
        detail="payload.template_id: there is no such template",
        source=given[b"source"].decode(),
        delivery_id=given[b"delivery_id"].decode(),
        raw=raw if is_complete else raw[:20],
        raw_size=len(raw),
        is_complete=is_complete,
    )
    store_malformed(conn, STREAM, [record])
    ((malformed_id,),) = conn.execute("SELECT max(malformed_id) FROM malformed_commands").fetchall()
    return int(malformed_id)


def listed(api: httpx.Client, **query: Any) -> list[MalformedCommand]:
    """Return the refused entries of a page."""
    page: MalformedPage = decode(api.get("/malformed-commands", params=query), MalformedPage)
    return page.items


def test_refused_entries_are_found_with_the_reason(api: httpx.Client, conn: Connection) -> None:
    """Newest first; nothing of what stood in them."""
    numbers = [refuse(conn, n) for n in (1, 2)]

    found = listed(api)

    assert [entry.malformed_id for entry in found] == numbers[::-1]
    assert found[0].failure_code == "unknown_template"
    assert "ada@example.com" not in api.get("/malformed-commands").text
    shown = decode(api.get(f"/malformed-commands/{numbers[1]}"), MalformedDetail)
    assert shown == MalformedDetail(found[0], None)


def test_filters_and_pages(api: httpx.Client, conn: Connection) -> None:
    """By code, source, time and whether it was replayed; no gap, no repeat."""
    numbers = [refuse(conn, n, source="api" if n == 3 else "notification") for n in range(1, 6)]
    conn.execute(
        "UPDATE malformed_commands SET failure_code = 'poison' WHERE malformed_id = %s",
        [numbers[0]],
    )
    api.post(f"/malformed-commands/{numbers[4]}/replay", json=WHY)

    assert [m.malformed_id for m in listed(api, failure_code="poison")] == numbers[:1]
    assert [m.malformed_id for m in listed(api, source="api")] == [numbers[2]]
    assert [m.malformed_id for m in listed(api, replayed=True)] == [numbers[4]]
    assert listed(api, to="2020-01-01T00:00:00Z") == []
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = decode(api.get("/malformed-commands", params=query), MalformedPage)
        seen += [entry.malformed_id for entry in page.items]
        if page.next_cursor is None:
            break
        query["cursor"] = page.next_cursor
    assert seen == numbers[::-1]


def test_an_entry_is_taken_in_once_however_often_it_is_replayed(
    api: httpx.Client, conn: Connection
) -> None:
    """By the way of the stream, with its own id; the second time says what the first did."""
    number = refuse(conn)
    path = f"/malformed-commands/{number}/replay"

    first: ReplayedCommand = decode(api.post(path, json=WHY), ReplayedCommand)
    second: ReplayedCommand = decode(api.post(path, json=WHY), ReplayedCommand)

    assert str(first.delivery_id) == fields()["delivery_id"]
    assert (first.outcome, second.outcome) == ("accepted", "repeated")
    assert first.delivery_id == second.delivery_id
    assert status(conn, first.delivery_id) == "queued"
    shown = decode(api.get(f"/malformed-commands/{number}"), MalformedDetail).command
    assert (shown.replayed_as, shown.replayed_at is None) == (first.delivery_id, False)
    assert [(a.action, a.subject, a.after) for a in trail(api)] == [
        (
            "replay",
            f"malformed command {number}",
            {"delivery_id": str(first.delivery_id)},
        )
    ]


def test_a_dry_run_says_what_a_replay_would_do_and_changes_nothing(
    api: httpx.Client, conn: Connection
) -> None:
    """The same answers, and neither a delivery nor a key nor a line of the trail."""
    number, hopeless = refuse(conn, 1), refuse(conn, 2, source="somebody")
    dry = {**WHY, "dry_run": True}
    path = f"/malformed-commands/{number}/replay"

    first: ReplayedCommand = decode(api.post(path, json=dry), ReplayedCommand)
    refused = api.post(f"/malformed-commands/{hopeless}/replay", json=dry)

    assert (str(first.delivery_id), first.outcome, first.dry_run) == (
        fields()["delivery_id"], "accepted", True,
    )  # fmt: skip
    assert error_of(refused)["details"]["reason"] == "invalid_value"
    assert conn.execute("SELECT count(*) FROM deliveries").fetchall() == [(0,)]
    assert conn.execute("SELECT count(*) FROM idempotency_reservations").fetchall() == [(0,)]
    assert trail(api) == []
    assert [entry.replayed_as for entry in listed(api)] == [None, None]

    assert decode(api.post(path, json=WHY), ReplayedCommand).dry_run is False
    again: ReplayedCommand = decode(api.post(path, json=dry), ReplayedCommand)
    assert (again.delivery_id, again.outcome) == (first.delivery_id, "repeated")
    assert api.post(path, json={**WHY, "dry_run": "yes"}).status_code == 400


def test_a_code_that_a_newer_release_wrote_is_shown_as_it_is(
    api: httpx.Client, conn: Connection
) -> None:
    """After a rollback the list must not answer 500 for what the newer one has left."""
    number = refuse(conn)
    conn.execute("UPDATE malformed_commands SET failure_code = 'sunspots'")

    assert [entry.failure_code for entry in listed(api)] == ["sunspots"]
    shown = decode(api.get(f"/malformed-commands/{number}"), MalformedDetail)
    assert shown.command.failure_code == "sunspots"
    assert api.get("/status").status_code == 200


def test_two_who_replay_an_entry_at_once_get_one_delivery(
    running: RunningApi, api: httpx.Client, conn: Connection
) -> None:
    """One of them stores it, the other is told so."""
    path = f"/malformed-commands/{refuse(conn)}/replay"
    answers: list[ReplayedCommand] = []

    def ask() -> None:
        with running.client() as own:
            answers.append(decode(own.post(path, json=WHY), ReplayedCommand))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert len({answer.delivery_id for answer in answers}) == 1
    assert sorted(answer.outcome for answer in answers) == ["accepted", *["repeated"] * 3]
    assert conn.execute("SELECT count(*) FROM deliveries").fetchall() == [(1,)]
    assert len(trail(api)) == 1


def test_what_its_producer_has_sent_again_is_not_sent_twice(
    api: httpx.Client, conn: Connection
) -> None:
    """The key is that of the delivery there is: the entry is marked with it."""
    first = decode(
        api.post(f"/malformed-commands/{refuse(conn, 1)}/replay", json=WHY), ReplayedCommand
    )
    other = refuse(conn, 2, idempotency_key="key-1")

    again = decode(api.post(f"/malformed-commands/{other}/replay", json=WHY), ReplayedCommand)

    assert (again.delivery_id, again.outcome) == (first.delivery_id, "repeated")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"source": "somebody"}, "invalid_value"),
        ({"payload_json": "{"}, "invalid_json"),
        ({"lane": "auth"}, "auth"),
        ({"source": "authsession"}, "auth"),
        ({"expires_at_ms": "1767225600001"}, "invalid_value"),
    ],
)
def test_what_is_refused_again_stays_as_it_is(
    api: httpx.Client, conn: Connection, more: dict[str, Any], reason: str
) -> None:
    """409 with the failure code; no delivery, no line of the trail."""
    number = refuse(conn, **more)

    answer = api.post(f"/malformed-commands/{number}/replay", json=WHY)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (409, "not_replayable")
    assert error["details"]["reason"] == reason
    assert error["message"]
    assert conn.execute("SELECT count(*) FROM deliveries").fetchall() == [(0,)]
    assert trail(api) == []
    assert listed(api, replayed=False)[0].malformed_id == number


def test_a_conflict_is_found_by_the_key(api: httpx.Client, conn: Connection) -> None:
    """Same key, other content: as on the stream."""
    api.post(f"/malformed-commands/{refuse(conn, 1)}/replay", json=WHY)
    other = refuse(conn, 2, idempotency_key="key-1", lane="bulk")

    answer = api.post(f"/malformed-commands/{other}/replay", json=WHY)

    assert error_of(answer)["details"]["reason"] == "idempotency_conflict"


def test_an_entry_that_was_cut_cannot_be_replayed(api: httpx.Client, conn: Connection) -> None:
    """More than 2 MiB are not kept: only its producer has it."""
    number = refuse(conn, is_complete=False)

    answer = api.post(f"/malformed-commands/{number}/replay", json=WHY)

    assert (answer.status_code, error_of(answer)["details"]) == (409, {"reason": "incomplete"})
    shown = decode(
        api.get(f"/malformed-commands/{number}", params={"content": True}), MalformedDetail
    )
    assert shown.fields is None


def test_what_stood_in_an_entry_is_shown_when_asked_for(
    api: httpx.Client, conn: Connection
) -> None:
    """As text, whatever the bytes."""
    number = refuse(conn)

    shown = decode(
        api.get(f"/malformed-commands/{number}", params={"content": True}), MalformedDetail
    )

    assert shown.fields == fields()
    assert trail(api) == []


@pytest.mark.parametrize("more", [{"source": "authsession"}, {"source": "x y"}, {"lane": "auth"}])
def test_what_may_hold_a_login_code_is_for_administrators(
    own_api: RunningApi, conn: Connection, make_token: MakeToken, more: dict[str, Any]
) -> None:
    """Of auth mail, and where nobody knows; looking at it is recorded."""
    path = f"/malformed-commands/{refuse(conn, **more)}"
    reader = {"Authorization": f"Bearer {make_token('reader', ['read'])}"}
    admin = {"Authorization": f"Bearer {make_token('admin', ['read', 'admin'])}"}

    with own_api.client() as api:
        without = api.get(path, headers=reader)
        refused = api.get(path, headers=reader, params={"content": True})
        shown = api.get(path, headers=admin, params={"content": True})
        lines = api.get("/actions", headers=admin).json()["items"]

    assert (without.status_code, refused.status_code, shown.status_code) == (200, 403, 200)
    assert [(line["actor"], line["action"]) for line in lines] == [("admin", "read_content")]


def test_what_does_not_exist_is_404(client: httpx.Client) -> None:
    """Whatever is asked of it."""
    for answer in (
        client.get("/malformed-commands/999999999"),
        client.post("/malformed-commands/999999999/replay", json=WHY),
    ):
        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")
    assert client.post("/malformed-commands/1/replay", json={}).status_code == 400


def test_replaying_needs_its_scope(own_api: RunningApi, make_token: MakeToken) -> None:
    """`read` sees and does not touch."""
    reader = {"Authorization": f"Bearer {make_token('reader', ['read'])}"}

    with own_api.client() as api:
        answer = api.post("/malformed-commands/1/replay", headers=reader, json=WHY)

    assert answer.status_code == 403
