"""Reading what became of deliveries: lists, pages, one delivery, its attempts, its content."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest

from mailworkers.core.deliveries import NewRecipient
from mailworkers.core.states import Lane, Status
from tests import deliveries
from tests.deliveries import new_delivery, put
from tests.web.conftest import MakeToken, Row, RunningApi, command, error_of

Connection = psycopg.Connection[Row]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def listed(api: httpx.Client, **query: Any) -> list[str]:
    """Return the ids of a list, first page."""
    answer = api.get("/deliveries", params=query)
    assert answer.status_code == 200, answer.text
    return [item["delivery_id"] for item in answer.json()["items"]]


def walk(api: httpx.Client, limit: int, between: Any = None, **query: Any) -> list[str]:
    """Return the ids on all pages, in order; *between* is called after each page."""
    ids: list[str] = []
    cursor = None
    while True:
        page = api.get(
            "/deliveries",
            params={**query, "limit": limit, **({"cursor": cursor} if cursor else {})},
        ).json()
        ids.extend(item["delivery_id"] for item in page["items"])
        cursor = page["next_cursor"]
        if cursor is None:
            return ids
        if between is not None:
            between()


def accept_at(conn: Connection, at: datetime, **changes: Any) -> str:
    """Accept a delivery as if it were *at* that time; return its id."""
    new = new_delivery(**changes)
    deliveries.accept(conn, new)
    conn.execute(
        "UPDATE deliveries SET created_at = %s WHERE delivery_id = %s", [at, new.delivery_id]
    )
    return str(new.delivery_id)


def test_the_list_is_newest_first(api: httpx.Client, conn: Connection) -> None:
    """By the time of acceptance, then by id (MS-63)."""
    same = [accept_at(conn, NOON) for _ in range(5)]
    older = accept_at(conn, NOON - timedelta(microseconds=1))
    newer = accept_at(conn, NOON + timedelta(microseconds=1))

    assert listed(api) == [newer, *sorted(same, reverse=True), older]


def test_pages_neither_skip_nor_repeat_while_new_ones_come_in(
    api: httpx.Client, conn: Connection
) -> None:
    """A cursor is a position, not a number of rows."""
    ids = [accept_at(conn, NOON + timedelta(seconds=n // 3)) for n in range(50)]

    pages = walk(api, 7, between=lambda: deliveries.accept(conn, new_delivery()))

    assert len(pages) == 50
    assert set(pages) == set(ids)


def test_the_last_page_has_no_cursor(api: httpx.Client, conn: Connection) -> None:
    """Also when the items fill it exactly: nobody asks for an empty page."""
    deliveries.accept(conn, *(new_delivery() for _ in range(4)))

    assert api.get("/deliveries", params={"limit": 4}).json()["next_cursor"] is None
    assert api.get("/deliveries", params={"limit": 3}).json()["next_cursor"] is not None


def test_filters_narrow_the_list(api: httpx.Client, conn: Connection) -> None:
    """Each alone, several values of one, and all together."""
    sent = str(put(conn, Status.SENT, source="api"))
    auth = str(put(conn, Status.RENDERED, lane=int(Lane.AUTH), template_id="login-code"))
    bulk = str(put(conn, Status.DEFERRED, lane=int(Lane.BULK)))

    assert listed(api, status="sent") == [sent]
    assert set(listed(api, status=["sent", "deferred"])) == {sent, bulk}
    assert listed(api, source="api") == [sent]
    assert set(listed(api, source=["api", "notification"])) == {sent, auth, bulk}
    assert listed(api, lane="bulk") == [bulk]
    assert set(listed(api, lane=["auth", "bulk"])) == {auth, bulk}
    assert listed(api, template="login-code") == [auth]
    assert listed(api, status="rendered", lane="auth", source="notification") == [auth]
    assert listed(api, status="sent", lane="auth") == []


def test_from_is_included_and_to_is_not(api: httpx.Client, conn: Connection) -> None:
    """So that two neighbouring spans share nothing."""
    ids = [accept_at(conn, NOON + timedelta(hours=n)) for n in range(3)]

    assert listed(api, **{"from": "2026-11-21T13:00:00Z"}) == [ids[2], ids[1]]
    assert listed(api, to="2026-11-21T14:00:00+01:00") == [ids[0]]
    assert listed(api, **{"from": "2026-11-21T12:00:00Z", "to": "2026-11-21T13:00:00Z"}) == [ids[0]]


@pytest.mark.parametrize(
    "asked", ["ada@example.com", "ADA@EXAMPLE.COM", "Ada <ada@Example.com>", "<ada@example.com>"]
)
def test_a_recipient_is_found_in_every_form_and_place(
    api: httpx.Client, conn: Connection, asked: str
) -> None:
    """To, Cc and Bcc; compared as suppression compares (X-16)."""
    ids = []
    for kind in ("to", "cc", "bcc"):
        recipients = (
            NewRecipient("to", "bob@example.com", "bob@example.com"),
            NewRecipient(kind, "Ada@example.com", "ada@example.com"),
        )
        new = new_delivery(recipients=recipients)
        deliveries.accept(conn, new)
        ids.append(str(new.delivery_id))
    deliveries.accept(conn, new_delivery("eve@example.com"))

    assert listed(api, recipient=asked) == ids[::-1]
    assert walk(api, 1, recipient=asked) == ids[::-1]
    assert listed(api, recipient=asked, status="sent") == []


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ({"status": "lost"}, "status"),
        ({"lane": "fast"}, "lane"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-11-21T12:00:00"}, "to"),
        ({"recipient": "ada"}, "recipient"),
        ({"recipient": "x" * 2000}, "recipient"),
        ({"cursor": "zzz"}, "cursor"),
        ({"cursor": "MTIzOmFiYw"}, "cursor"),
        ({"cursor": "é"}, "cursor"),
        ({"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk6YQ"}, "cursor"),
        ({"sattus": "sent"}, "sattus"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"source": "\0"}, "source"),
        ({"source": ["api", "a\0"]}, "source"),
        ({"template": "a\0b"}, "template"),
        ({"template": "a\x9b"}, "template"),
    ],
)
def test_a_filter_that_cannot_be_is_400_and_named(
    client: httpx.Client, query: dict[str, Any], path: str
) -> None:
    """Also a misspelt one: it must not show everything."""
    answer = client.get("/deliveries", params=query)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (400, "invalid_value")
    assert error["details"] == {"path": path}


def test_one_delivery_shows_everything_but_its_content(api: httpx.Client, conn: Connection) -> None:
    """Recipients in the order of the envelope, with what the relay said to each."""
    recipients = (
        NewRecipient("to", "ada@example.com", "ada@example.com"),
        NewRecipient("bcc", "bob@example.com", "bob@example.com"),
    )
    new = new_delivery(recipients=recipients)
    deliveries.accept(conn, new)
    conn.execute(
        "UPDATE delivery_recipients SET status = 'refused', reply_code = 550,"
        " enhanced_code = '5.1.1' WHERE ordinal = 1"
    )

    found = api.get(f"/deliveries/{new.delivery_id}").json()

    assert found["delivery_id"] == str(new.delivery_id)
    assert (found["status"], found["lane"], found["source"]) == ("queued", "normal", "notification")
    assert found["mime_size"] == len(new.mime)
    assert found["ready_at"].endswith("Z")
    assert found["recipients"] == [
        {
            "kind": "to",
            "address": "ada@example.com",
            "status": "open",
            "reply_code": None,
            "enhanced_code": None,
        },
        {
            "kind": "bcc",
            "address": "bob@example.com",
            "status": "refused",
            "reply_code": 550,
            "enhanced_code": "5.1.1",
        },
    ]


@pytest.mark.parametrize(
    ("status", "given"),
    [
        (Status.DEFERRED, "next_attempt_at"),
        (Status.SCHEDULED, "next_attempt_at"),
        (Status.QUEUED, "ready_at"),
        (Status.SENDING, "lease_until"),
        (Status.SENT, "finished_at"),
    ],
)
def test_a_time_is_shown_under_the_name_its_status_gives_it(
    api: httpx.Client, conn: Connection, status: Status, given: str
) -> None:
    """The column `next_attempt_at` is a retry's time or a lease's end: a reader need not know."""
    delivery_id = put(conn, status)

    found = api.get(f"/deliveries/{delivery_id}").json()

    names = ("next_attempt_at", "ready_at", "lease_until", "finished_at")
    assert [name for name in names if found[name] is not None] == [given]


def test_attempts_are_shown_newest_first_in_pages(api: httpx.Client, conn: Connection) -> None:
    """A relay that is down for hours leaves more attempts than a page holds."""
    delivery_id = put(conn, Status.DEFERRED)
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome, stage,"
        " reply_code, enhanced_code, summary, relay, lease_token, leased_by, finished_at)"
        " SELECT %s, n, n, 'provider_deferred', 'transient_error', 'rcpt', 451, '4.7.1',"
        " 'try later', 'mx.example.com:25', %s, %s, clock_timestamp() FROM generate_series(1, 5) n",
        [delivery_id, uuid4(), uuid4()],
    )

    first = api.get(f"/deliveries/{delivery_id}/attempts", params={"limit": 3}).json()
    second = api.get(
        f"/deliveries/{delivery_id}/attempts", params={"cursor": first["next_cursor"]}
    ).json()

    assert [item["attempt_no"] for item in first["items"]] == [5, 4, 3]
    assert [item["attempt_no"] for item in second["items"]] == [2, 1]
    assert second["next_cursor"] is None
    attempt = first["items"][0]
    assert (attempt["status"], attempt["outcome"]) == ("provider_deferred", "transient_error")
    assert (attempt["stage"], attempt["reply_code"]) == ("rcpt", 451)
    assert (attempt["enhanced_code"], attempt["summary"]) == ("4.7.1", "try later")


@pytest.mark.parametrize("path", ["", "/attempts", "/content"])
@pytest.mark.parametrize("delivery_id", ["does-not-exist", str(UUID(int=7)), "0", "%00", "..%2f"])
def test_what_does_not_exist_is_404_with_the_error_envelope(
    client: httpx.Client, delivery_id: str, path: str
) -> None:
    """The smoke request of the runbook (MS-55), and its neighbours."""
    answer = client.get(f"/deliveries/{delivery_id}{path}")

    assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


def test_the_content_is_what_the_producer_gave(api: httpx.Client) -> None:
    """Read back from the bytes that are sent: subject, texts, files; the message itself as raw."""
    payload = {
        "to": ["Ada Lövelace <ada@example.com>"],
        "bcc": ["secret@example.com"],
        "subject": "Grüße",
        "text_body": "Schöne Grüße.\n.\n",
        "html_body": "<p>Schöne Grüße.</p>",
        "attachments": [
            {"filename": "a b.txt", "content_type": "text/plain", "content_base64": "aGVsbG8="}
        ],
    }
    delivery_id = api.post("/deliveries", json=command(payload=payload)).json()["delivery_id"]

    shown = api.get(f"/deliveries/{delivery_id}/content").json()
    raw = api.get(f"/deliveries/{delivery_id}/content", params={"raw": "true"})

    assert shown["subject"] == "Grüße"
    assert shown["text_body"].splitlines()[:2] == ["Schöne Grüße.", "."]
    assert shown["html_body"].strip() == "<p>Schöne Grüße.</p>"
    assert [(a["filename"], a["size"]) for a in shown["attachments"]] == [("a b.txt", 5)]
    headers = {header["name"]: header["value"] for header in shown["headers"]}
    assert headers["To"] == "Ada Lövelace <ada@example.com>"
    assert raw.headers["content-type"] == "message/rfc822"
    assert raw.headers["x-content-type-options"] == "nosniff"
    assert raw.content.startswith(b"From: ")
    assert "secret@example.com" not in raw.text + str(shown)


def test_content_that_was_deleted_is_gone(api: httpx.Client, conn: Connection) -> None:
    """Retention deletes the content before the delivery."""
    delivery_id = put(conn, Status.SENT)
    conn.execute("DELETE FROM delivery_payloads")

    answer = api.get(f"/deliveries/{delivery_id}/content")

    assert (answer.status_code, error_of(answer)["code"]) == (410, "content_deleted")


@pytest.mark.parametrize("changes", [{"lane": 0}, {"source": "authsession"}])
def test_the_content_of_auth_mail_is_closed_to_who_cannot_prove_to_be_an_administrator(
    api: httpx.Client, conn: Connection, changes: dict[str, Any]
) -> None:
    """It holds a code that signs somebody in: by lane or by source, whichever says so."""
    delivery_id = put(conn, Status.SENT, **changes)

    answer = api.get(f"/deliveries/{delivery_id}/content")

    assert (answer.status_code, error_of(answer)["code"]) == (403, "forbidden")
    assert error_of(answer)["details"] == {"scope": "admin"}


def test_an_administrator_who_reads_auth_mail_leaves_a_line_in_the_audit_trail(
    own_api: RunningApi, conn: Connection, make_token: MakeToken
) -> None:
    """Contract section 4: scope admin, audited."""
    delivery_id = put(conn, Status.SENT, lane=0)
    reader = make_token("reader", ["read"])
    admin = make_token("boss", ["read", "admin"])

    with own_api.client() as api:
        path = f"/deliveries/{delivery_id}/content"
        refused = api.get(path, headers={"Authorization": f"Bearer {reader}"})
        shown = api.get(path, headers={"Authorization": f"Bearer {admin}"})

    assert (refused.status_code, shown.status_code) == (403, 200)
    rows = conn.execute("SELECT actor, action, subject FROM operator_actions").fetchall()
    assert rows == [("boss", "read_content", f"delivery {delivery_id}")]


@pytest.mark.parametrize("query", [{"to": "0.5"}, {"from": "null"}, {"to": "1770000000"}])
def test_a_time_is_a_date_with_a_time(client: httpx.Client, query: dict[str, str]) -> None:
    """Not a number, which somebody may mean as milliseconds, nor `null`, which is no filter."""
    answer = client.get("/deliveries", params=query)

    assert answer.status_code == 400
    assert error_of(answer)["details"] == {"path": next(iter(query))}
