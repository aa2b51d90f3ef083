"""Sending anew by HTTP: the clone, its link, its signature, and what is refused."""

from datetime import UTC, datetime
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
import pytest
import redis

from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.core.states import Lane, Status
from mailworkers.embedded.servers import Servers
from mailworkers.web.answers import ResendAnswer
from tests.deliveries import put, recipient_statuses, row, status
from tests.dkim_keys import published, put_key, verifies
from tests.eventually import eventually
from tests.web.conftest import (
    MakeToken,
    Row,
    RunningApi,
    command,
    encoded,
    error_of,
    make_settings,
)
from tests.web.test_operating import decode, trail

Connection = psycopg.Connection[Row]
WHY = {"reason": "they have deleted it by mistake"}


def sent(conn: Connection, api: httpx.Client, **more: Any) -> UUID:
    """Accept a delivery and let it be sent."""
    key = str(uuid4())
    answer = api.post("/deliveries", json=command(**{"idempotency_key": key, **more}))
    delivery_id = UUID(answer.json()["delivery_id"])
    conn.execute(
        "UPDATE deliveries SET status = 'sent', ready_at = NULL, finished_at = clock_timestamp()"
        " WHERE delivery_id = %s",
        [delivery_id],
    )
    conn.execute(
        "UPDATE delivery_recipients SET status = 'accepted' WHERE delivery_id = %s", [delivery_id]
    )
    return delivery_id


def stored(conn: Connection, delivery_id: UUID) -> bytes:
    """Return the bytes that senders will send."""
    ((mime,),) = conn.execute(
        "SELECT mime FROM delivery_payloads WHERE delivery_id = %s", [delivery_id]
    ).fetchall()
    return bytes(mime)


def resend(api: httpx.Client, delivery_id: UUID, **headers: str) -> httpx.Response:
    """Ask for a resend."""
    return api.post(f"/deliveries/{delivery_id}/resend", json=WHY, headers=headers)


def test_a_resend_is_a_delivery_of_its_own(
    api: httpx.Client, conn: Connection, redis_client: redis.Redis
) -> None:
    """A new Message-ID and Date, the same text and recipients; the original is not touched."""
    first = sent(conn, api)
    before = row(conn, first)
    redis_client.delete(SENDER_WAKE)

    answer = resend(api, first)

    made: ResendAnswer = decode(answer, ResendAnswer)
    assert (answer.status_code, made.resend_of, made.outcome) == (202, first, "accepted")
    clone = api.get(answer.headers["Location"].removeprefix("/api/v1/internal")).json()
    assert (clone["source"], clone["resend_of"]) == ("resend", str(first))
    assert (clone["status"], clone["lane"]) == ("queued", "normal")
    assert row(conn, first) == before
    eventually(lambda: redis_client.llen(SENDER_WAKE) > 0, within=10)
    old, new = (
        message_from_bytes(stored(conn, key), policy=default) for key in (first, made.delivery_id)
    )
    assert new["Message-ID"] == f"<{made.delivery_id}@example.com>" != old["Message-ID"]
    assert (new["Subject"], new.get_content()) == (old["Subject"], old.get_content())


def test_the_trail_of_the_original_names_the_clone(api: httpx.Client, conn: Connection) -> None:
    """Who, what, before, after, why; the timeline has it, too."""
    first = sent(conn, api)

    made = decode(resend(api, first), ResendAnswer)

    (line,) = trail(api, subject=f"delivery {first}")
    assert (line.action, line.actor, line.reason) == ("resend", "local", WHY["reason"])
    assert line.after == {"status": "sent", "resent_as": str(made.delivery_id)}
    events = api.get(f"/deliveries/{first}/timeline").json()["items"]
    assert "operator_action" in {event["kind"] for event in events}


def test_the_same_key_makes_one_mail(api: httpx.Client, conn: Connection) -> None:
    """Whoever got no answer asks again; without a key each request is an order of its own."""
    first = sent(conn, api)
    key = {"Idempotency-Key": "again-1"}

    answers = [resend(api, first, **key) for _ in range(2)]
    others = [resend(api, first) for _ in range(2)]

    ids = [answer.json()["delivery_id"] for answer in (*answers, *others)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    assert len(trail(api)) == 3


def test_a_key_of_another_resend_is_409(api: httpx.Client, conn: Connection) -> None:
    """Nothing is sent for it."""
    key = {"Idempotency-Key": "again-1"}
    resend(api, sent(conn, api), **key)

    answer = resend(api, sent(conn, api), **key)

    assert (answer.status_code, error_of(answer)["details"]["reason"]) == (409, "key_taken")


def test_everybody_gets_it_again_but_who_is_on_the_list_by_now(
    api: httpx.Client, conn: Connection
) -> None:
    """Of two one is suppressed; when nobody is left the clone ends at once."""
    payload = {"to": ["ada@example.com", "bob@example.com"], "subject": "x", "text_body": "y"}
    first = sent(conn, api, payload=payload)

    api.put("/suppressions/bob@example.com", json=WHY)
    one = decode(resend(api, first), ResendAnswer)
    api.put("/suppressions/ada@example.com", json=WHY)
    none = decode(resend(api, first), ResendAnswer)

    assert recipient_statuses(conn, one.delivery_id) == ["open", "suppressed"]
    assert (one.outcome, none.outcome) == ("accepted", "suppressed")
    assert status(conn, none.delivery_id) == Status.SUPPRESSED


@pytest.mark.parametrize(
    ("end", "columns", "reason"),
    [
        (Status.QUEUED, {}, "not_ended"),
        (Status.SENDING, {}, "not_ended"),
        (Status.DEFERRED, {}, "not_ended"),
        (Status.SENT, {"lane": int(Lane.AUTH)}, "auth"),
        (Status.FAILED, {"expires_at": datetime(2026, 1, 1, tzinfo=UTC)}, "expired"),
    ],
)
def test_what_cannot_be_sent_anew_is_409(
    api: httpx.Client, conn: Connection, end: Status, columns: dict[str, Any], reason: str
) -> None:
    """With the reason and what it is; no clone, no line of the trail."""
    delivery_id = put(conn, end, **columns)

    answer = resend(api, delivery_id)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (409, "not_resendable")
    assert error["details"] == {"reason": reason, "status": end}
    assert conn.execute("SELECT count(*) FROM deliveries").fetchall() == [(1,)]
    assert trail(api) == []


def test_what_retention_has_deleted_cannot_be_sent_anew(
    api: httpx.Client, conn: Connection
) -> None:
    """The bytes are gone: only its producer can send it."""
    delivery_id = put(conn, Status.SENT)
    conn.execute("DELETE FROM delivery_payloads")

    answer = resend(api, delivery_id)

    assert (answer.status_code, error_of(answer)["details"]["reason"]) == (409, "content_deleted")


def test_a_new_end_sends_what_is_past_its_own(api: httpx.Client, conn: Connection) -> None:
    """One in the past is refused like none."""
    delivery_id = put(conn, Status.FAILED, expires_at=datetime(2026, 1, 1, tzinfo=UTC))
    path = f"/deliveries/{delivery_id}/resend"

    late = api.post(path, json={**WHY, "expires_at_ms": 1767225600001})
    done = api.post(path, json={**WHY, "expires_at_ms": 4000000000000})

    assert error_of(late)["details"]["reason"] == "expired"
    clone = row(conn, decode(done, ResendAnswer).delivery_id)
    assert clone["expires_at"] == datetime.fromtimestamp(4_000_000_000, UTC)


def test_a_resend_is_signed_by_the_keys_of_now(
    servers: Servers, database: str, conn: Connection, tmp_path: Path
) -> None:
    """The old signature would not fit the new headers; the new one verifies."""
    directory = tmp_path / "dkim"
    zone = published(put_key(directory, "example.com", "s1"))
    settings = make_settings(
        servers, tmp_path, MAIL_DKIM_DIR=str(directory), MAIL_DKIM_SELECTORS="example.com:s1"
    )
    own = RunningApi(settings, database)
    try:
        with own.client() as api:
            first = sent(conn, api)
            made = decode(resend(api, first), ResendAnswer)
    finally:
        own.close()

    old, new = stored(conn, first), stored(conn, made.delivery_id)
    assert new.count(b"DKIM-Signature:") == 1
    assert verifies(new, zone) == [True]
    assert old.partition(b"\r\n b=")[2][:60] != new.partition(b"\r\n b=")[2][:60]


def test_bad_requests_and_missing_scopes_do_nothing(
    own_api: RunningApi, conn: Connection, make_token: MakeToken
) -> None:
    """400, 403, 404, 413: one clear error each."""
    reader = {"Authorization": f"Bearer {make_token('reader', ['read'])}"}
    clerk = {"Authorization": f"Bearer {make_token('clerk', ['operate'])}"}
    path = f"/deliveries/{put(conn, Status.SENT)}/resend"
    json = {"Content-Type": "application/json"}

    with own_api.client() as api:
        assert api.post(path, json=WHY, headers=reader).status_code == 403
        assert api.post(f"/deliveries/{uuid4()}/resend", json=WHY, headers=clerk).status_code == 404
        bodies: list[Any] = [{}, {**WHY, "to": ["x@example.com"]}, {**WHY, "expires_at_ms": 1}, []]
        for body in bodies:
            answer = api.post(path, content=encoded(body), headers={**clerk, **json})
            assert answer.status_code == 400, body
        large = encoded({"reason": "x" * 20_000})
        assert api.post(path, content=large, headers={**clerk, **json}).status_code == 413
        long_key = {**clerk, "Idempotency-Key": "k" * 256}
        assert api.post(path, json=WHY, headers=long_key).status_code == 400

    assert conn.execute("SELECT count(*) FROM deliveries").fetchall() == [(1,)]
