"""Cancel and requeue by HTTP: answers, scopes, the audit trail, and who is woken."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import psycopg
import pytest
import redis

from mailworkers.adapters.exposition import exposition
from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.adapters.telemetry import METRICS_DIRECTORY
from mailworkers.core.states import Status
from mailworkers.web.answers import CancelAnswer, RequeueAnswer
from tests.deliveries import put, row, status
from tests.eventually import eventually
from tests.web.conftest import MakeToken, Row, RunningApi, command, error_of

Connection = psycopg.Connection[Row]
WHY = {"reason": "the invoice was wrong"}
AGO = datetime(2026, 1, 1, tzinfo=UTC)
LATER_MS = 4_000_000_000_000


def trail(conn: Connection) -> list[Row]:
    """Return the audit trail."""
    return conn.execute(
        "SELECT actor, action, subject, before ->> 'status', after ->> 'status', reason"
        " FROM operator_actions ORDER BY action_id"
    ).fetchall()


def test_a_delivery_is_cancelled_and_the_trail_says_by_whom_and_why(
    api: httpx.Client, conn: Connection
) -> None:
    """Who, what, before, after, why: in the transaction of the change."""
    delivery_id = api.post("/deliveries", json=command()).json()["delivery_id"]

    answer = api.post(f"/deliveries/{delivery_id}/cancel", json=WHY)

    assert answer.status_code == 200
    assert answer.json() == {"delivery_id": delivery_id, "status": "cancelled"}
    msgspec.json.decode(answer.content, type=CancelAnswer)
    assert api.get(f"/deliveries/{delivery_id}").json()["status"] == "cancelled"
    assert trail(conn) == [
        ("local", "cancel", f"delivery {delivery_id}", "queued", "cancelled", WHY["reason"])
    ]


def test_a_cancel_may_be_repeated(api: httpx.Client, conn: Connection) -> None:
    """Whoever got no answer asks again; there is one line in the trail."""
    path = f"/deliveries/{put(conn, Status.DEFERRED)}/cancel"

    answers = [api.post(path, json=WHY) for _ in range(2)]

    assert [(a.status_code, a.json()["status"]) for a in answers] == [(200, "cancelled")] * 2
    assert len(trail(conn)) == 1


def test_a_cancel_while_sending_is_202_pending(api: httpx.Client, conn: Connection) -> None:
    """The sender goes on; the delivery says that a cancel was asked for."""
    delivery_id = put(conn, Status.SENDING)

    answer = api.post(f"/deliveries/{delivery_id}/cancel", json=WHY)

    assert (answer.status_code, answer.json()["status"]) == (202, "pending")
    shown = api.get(f"/deliveries/{delivery_id}").json()
    assert shown["status"] == "sending"
    assert shown["cancel_requested_at"]


def test_what_has_ended_is_409_not_cancellable_with_its_status(
    api: httpx.Client, conn: Connection
) -> None:
    """Nothing is changed, nothing is in the trail."""
    answer = api.post(f"/deliveries/{put(conn, Status.SENT)}/cancel", json=WHY)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (409, "not_cancellable")
    assert error["details"] == {"reason": "ended", "status": "sent"}
    assert trail(conn) == []


def test_what_a_cancel_ended_is_counted(
    own_api: RunningApi, conn: Connection, tmp_path: Path
) -> None:
    """As every other end: here of one whose last attempt may have arrived."""
    delivery_id = put(conn, Status.DEFERRED, attempt_no=1, cycle_attempt=1)
    conn.execute(
        "INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome,"
        " lease_token, leased_by, finished_at) VALUES (%s, 1, 1, 'abandoned', 'unknown',"
        " gen_random_uuid(), gen_random_uuid(), clock_timestamp())",
        [delivery_id],
    )

    with own_api.client() as api:
        answer = api.post(f"/deliveries/{delivery_id}/cancel", json=WHY)

    assert answer.json()["status"] == "uncertain"
    numbers = exposition(tmp_path / METRICS_DIRECTORY, None).decode()
    assert 'mail_delivery_uncertain_total{source="notification"} 1.0' in numbers


def test_a_requeued_delivery_is_ready_and_the_senders_are_woken(
    api: httpx.Client, conn: Connection, redis_client: redis.Redis
) -> None:
    """After the commit; a lost token would cost one poll."""
    delivery_id = put(conn, Status.DEAD_LETTER)

    answer = api.post(f"/deliveries/{delivery_id}/requeue", json=WHY)

    assert answer.status_code == 200
    assert answer.json() == {"delivery_id": str(delivery_id), "status": "queued"}
    msgspec.json.decode(answer.content, type=RequeueAnswer)
    assert trail(conn)[0][1:5] == (
        "requeue",
        f"delivery {delivery_id}",
        "dead_letter",
        "queued",
    )
    eventually(lambda: redis_client.llen(SENDER_WAKE))


@pytest.mark.parametrize(
    ("end", "columns", "reason"),
    [
        (Status.SENT, {}, "not_in_trouble"),
        (Status.QUEUED, {}, "not_in_trouble"),
        (Status.FAILED, {"lane": 0}, "auth"),
        (Status.FAILED, {"expires_at": AGO}, "expired"),
    ],
)
def test_what_cannot_be_requeued_is_409_with_the_reason(
    api: httpx.Client, conn: Connection, end: Status, columns: dict[str, Any], reason: str
) -> None:
    """A word for programs, a sentence for people."""
    delivery_id = put(conn, end, **columns)

    answer = api.post(f"/deliveries/{delivery_id}/requeue", json=WHY)

    error = error_of(answer)
    assert (answer.status_code, error["code"]) == (409, "not_requeueable")
    assert error["details"] == {"reason": reason, "status": end}
    assert status(conn, delivery_id) == end


def test_content_that_was_deleted_cannot_be_requeued(api: httpx.Client, conn: Connection) -> None:
    """There is nothing left to send."""
    delivery_id = put(conn, Status.FAILED)
    conn.execute("DELETE FROM delivery_payloads")

    answer = api.post(f"/deliveries/{delivery_id}/requeue", json=WHY)

    assert error_of(answer)["details"]["reason"] == "content_deleted"


@pytest.mark.parametrize("until", [LATER_MS, str(LATER_MS)])
def test_a_new_expiry_lets_an_expired_delivery_go_again(
    api: httpx.Client, conn: Connection, until: object
) -> None:
    """A number or a text of digits, as in a command."""
    delivery_id = put(conn, Status.FAILED, expires_at=AGO, failure="expired")

    answer = api.post(f"/deliveries/{delivery_id}/requeue", json={**WHY, "expires_at_ms": until})

    assert answer.status_code == 200
    assert row(conn, delivery_id)["expires_at"] == datetime.fromtimestamp(LATER_MS / 1000, UTC)


@pytest.mark.parametrize("verb", ["cancel", "requeue"])
def test_an_unknown_delivery_is_404(api: httpx.Client, verb: str) -> None:
    """The same for an id that is none."""
    for delivery_id in (uuid4(), "does-not-exist"):
        answer = api.post(f"/deliveries/{delivery_id}/{verb}", json=WHY)

        assert (answer.status_code, error_of(answer)["code"]) == (404, "not_found")


@pytest.mark.parametrize("verb", ["cancel", "requeue"])
@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        (b"", "invalid_json", "body"),
        (b"[]", "invalid_value", "body"),
        (b"{}", "missing_field", "reason"),
        (b'{"reason": ""}', "missing_field", "reason"),
        (b'{"reason": 7}', "invalid_value", "reason"),
        (b'{"reason": "a\\nb"}', "invalid_value", "reason"),
        (b'{"reason": "%s"}' % (b"x" * 501), "invalid_value", "reason"),
        (b'{"reason": "x", "force": true}', "unknown_field", "force"),
    ],
)
def test_a_body_that_cannot_be_is_400_and_named(
    client: httpx.Client, verb: str, body: bytes, code: str, path: str
) -> None:
    """Judged before the delivery is looked up."""
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/deliveries/{uuid4()}/{verb}", content=body, headers=headers)

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["details"]) == (400, code, {"path": path})


@pytest.mark.parametrize("until", [True, 1.5, "soon", 1_790_000_000, []])
def test_an_expiry_that_is_no_time_is_400(client: httpx.Client, until: object) -> None:
    """Milliseconds, not seconds."""
    body = {**WHY, "expires_at_ms": until}
    answer = client.post(f"/deliveries/{uuid4()}/requeue", json=body)

    error = error_of(answer)
    assert (answer.status_code, error["details"]) == (400, {"path": "expires_at_ms"})


def test_a_cancel_takes_no_expiry(client: httpx.Client) -> None:
    """A field that would do nothing is refused."""
    body = {**WHY, "expires_at_ms": LATER_MS}
    answer = client.post(f"/deliveries/{uuid4()}/cancel", json=body)

    assert error_of(answer)["code"] == "unknown_field"


def test_the_verbs_need_the_scope_operate(
    own_api: RunningApi, conn: Connection, make_token: MakeToken
) -> None:
    """Reading and sending do not include changing; the trail names the token."""
    delivery_id = put(conn, Status.QUEUED)
    others = make_token("shop", ["intake", "read", "admin"])
    operator = make_token("desk", ["operate"])

    with own_api.client() as api:
        answers = [
            api.post(
                f"/deliveries/{delivery_id}/{verb}",
                json=WHY,
                headers={"Authorization": f"Bearer {token}"},
            )
            for verb, token in (("cancel", others), ("requeue", others), ("cancel", operator))
        ]

    assert [answer.status_code for answer in answers] == [403, 403, 200]
    assert error_of(answers[0])["details"] == {"scope": "operate"}
    assert [line[0] for line in trail(conn)] == ["desk"]
