"""Taking one command in by HTTP: login codes and any delivery, until the row is there."""

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import redis

from mailworkers.adapters.stream import SCHEDULER_WAKE, SENDER_WAKE
from mailworkers.embedded.servers import Servers
from mailworkers.web.examples import LOGIN_CODE, RENDERED, TEMPLATE
from mailworkers.web.gate import PREFIX
from tests.eventually import eventually
from tests.web.conftest import (
    PLAIN,
    Row,
    RunningApi,
    command,
    error_of,
    make_settings,
    only_row,
)

CODE = {"email": "ada@example.com", "code": "492817", "locale": "en"}
KEY = {"Idempotency-Key": "challenge-1"}
JSON = {"Content-Type": "application/json"}
CODES_OF_HOSTILE = {"invalid_json", "invalid_value", "missing_field", "payload_too_large"}
HOSTILE = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b'{"source":"api"} {}',
    b"\xef\xbb\xbf{}",
    b'{"source":"\xff"}',
    b'{"source":"api\\u0000"}',
    b'{"source":"\\ud800"}',
    b'{"source":"api","source":"api"}',
    b'{"send_at_ms":' + b"9" * 30 + b"}",
    b'{"send_at_ms":1e400}',
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"payload":' * 5000,
    b"[" + b"[]," * 500_000 + b"[]]",
    "{'source':'api'}".encode("utf-16"),
)
Connection = psycopg.Connection[Row]


# Login codes.


def test_a_login_code_is_durable_on_the_auth_lane_when_it_is_answered_sent(
    api: httpx.Client, conn: Connection
) -> None:
    """`sent` means durably accepted, with no sender running (MS-61)."""
    answer = api.post("/login-code-deliveries", json=CODE, headers=KEY)

    assert answer.status_code == 200
    assert answer.json().keys() == {"outcome", "delivery_id"}
    assert answer.json()["outcome"] == "sent"
    row = only_row(conn, "SELECT delivery_id::text, source, lane, status, locale FROM deliveries")
    assert row == (answer.json()["delivery_id"], "authsession", 0, "rendered", "en")
    (mime,) = only_row(conn, "SELECT mime FROM delivery_payloads")
    assert b"492817" in bytes(mime)


def test_the_same_login_code_again_gets_the_first_answer_and_no_second_mail(
    api: httpx.Client, conn: Connection
) -> None:
    """An equal replay is answered the same (MS-62), and says that it is one."""
    first = api.post("/login-code-deliveries", json=CODE, headers=KEY)
    second = api.post("/login-code-deliveries", json=CODE, headers=KEY)

    assert second.json() == first.json()
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert only_row(conn, "SELECT count(*) FROM deliveries") == (1,)


def test_another_code_under_the_same_key_is_a_conflict(api: httpx.Client) -> None:
    """A mismatched replay is 409 (MS-62)."""
    api.post("/login-code-deliveries", json=CODE, headers=KEY)
    answer = api.post("/login-code-deliveries", json={**CODE, "code": "000000"}, headers=KEY)

    assert answer.status_code == 409
    assert error_of(answer)["code"] == "idempotency_conflict"
    assert error_of(answer)["details"] == {"path": "Idempotency-Key"}


def test_a_listed_address_is_answered_suppressed_and_so_is_its_replay(
    api: httpx.Client, conn: Connection
) -> None:
    """`suppressed` is success, too; the replay says what was said first, whatever the list says."""
    conn.execute(
        "INSERT INTO suppressed_addresses (canonical, reason, created_by)"
        " VALUES ('ada@example.com', 'asked', 'test')"
    )
    first = api.post("/login-code-deliveries", json=CODE, headers=KEY)
    conn.execute("DELETE FROM suppressed_addresses")
    second = api.post("/login-code-deliveries", json=CODE, headers=KEY)

    assert first.json()["outcome"] == "suppressed"
    assert second.json() == first.json()


def test_a_replay_says_sent_after_the_provider_suppressed_the_mail(
    api: httpx.Client, conn: Connection
) -> None:
    """What became of the delivery since does not change the answer of its intake."""
    first = api.post("/login-code-deliveries", json=CODE, headers=KEY)
    conn.execute(
        "UPDATE deliveries SET status = 'suppressed', attempt_no = 1, cycle_attempt = 1,"
        " finished_at = clock_timestamp(), failure = 'policy'"
    )
    second = api.post("/login-code-deliveries", json=CODE, headers=KEY)

    assert second.json() == first.json()


def test_in_stub_mode_a_login_code_is_answered_suppressed(
    servers: Servers, database: str, tmp_path: Path
) -> None:
    """Nothing leaves in stub mode, and whoever asks is told (contract section 3)."""
    running = RunningApi(make_settings(servers, tmp_path, MAIL_SMTP_MODE="stub"), database)
    try:
        answer = httpx.post(
            f"{running.url}{PREFIX}/login-code-deliveries", json=CODE, headers=KEY, **PLAIN
        )
    finally:
        running.close()

    assert (answer.status_code, answer.json()["outcome"]) == (200, "suppressed")


@pytest.mark.parametrize(
    ("body", "code", "path"),
    [
        ({**CODE, "color": "red"}, "unknown_field", "color"),
        ({"email": "ada@example.com", "code": "1"}, "missing_field", "locale"),
        ({**CODE, "code": ""}, "missing_field", "code"),
        ({**CODE, "code": 492817}, "invalid_value", "code"),
        ({**CODE, "email": ["ada@example.com"]}, "invalid_value", "email"),
        ({**CODE, "email": "ada"}, "invalid_address", "email"),
        ({**CODE, "email": "ada@example.com\r\nBcc: x@example.com"}, "header_injection", "email"),
        ({**CODE, "email": "a" * 2000}, "invalid_value", "email"),
        ({**CODE, "locale": "not a locale"}, "invalid_value", "locale"),
        ([CODE], "invalid_value", "body"),
        ("hello", "invalid_value", "body"),
    ],
)
def test_a_wrong_login_code_request_names_its_field(
    client: httpx.Client, body: object, code: str, path: str
) -> None:
    """One clear error, in the words of the request and not of the command made of it."""
    answer = client.post("/login-code-deliveries", json=body, headers=KEY)

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["details"]["path"]) == (400, code, path)
    assert error["message"].startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("key", "code"),
    [(None, "missing_field"), ("", "missing_field"), ("k" * 256, "invalid_value")],
)
def test_a_login_code_needs_a_usable_idempotency_key(
    client: httpx.Client, key: str | None, code: str
) -> None:
    """Without a key a repeated request would be a second mail."""
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = client.post("/login-code-deliveries", json=CODE, headers=headers)

    assert answer.status_code == 400
    assert (error_of(answer)["code"], error_of(answer)["details"]["path"]) == (
        code,
        "Idempotency-Key",
    )


# Any delivery.


@pytest.mark.parametrize("body", [*RENDERED.values(), *TEMPLATE.values()])
def test_an_example_of_the_description_is_accepted_and_can_be_read_at_once(
    api: httpx.Client, body: dict[str, Any]
) -> None:
    """202 after the commit, with the way to the delivery (BO-06)."""
    answer = api.post("/deliveries", json=body)

    assert answer.status_code == 202
    delivery_id = answer.json()["delivery_id"]
    assert answer.json() == {"delivery_id": delivery_id, "outcome": "accepted"}
    assert answer.headers["Location"] == f"{PREFIX}/deliveries/{delivery_id}"
    found = api.get(f"/deliveries/{delivery_id}").json()
    assert found["idempotency_key"] == body["idempotency_key"]


def test_the_login_code_example_is_accepted(api: httpx.Client) -> None:
    """What the description shows works."""
    for body in LOGIN_CODE.values():
        assert api.post("/login-code-deliveries", json=body, headers=KEY).status_code == 200


def test_the_key_may_come_in_the_header_and_must_not_contradict_the_body(
    api: httpx.Client, conn: Connection
) -> None:
    """One rule for header and field."""
    body = command()
    del body["idempotency_key"]
    by_header = api.post("/deliveries", json=body, headers={"Idempotency-Key": "key-1"})
    by_both = api.post("/deliveries", json=command(), headers={"Idempotency-Key": "key-1"})
    against = api.post("/deliveries", json=command(), headers={"Idempotency-Key": "key-2"})
    without = api.post("/deliveries", json=body)

    assert by_header.status_code == 202
    assert by_both.json() == by_header.json()
    assert (against.status_code, error_of(against)["code"]) == (400, "invalid_value")
    assert (without.status_code, error_of(without)["code"]) == (400, "missing_field")
    assert only_row(conn, "SELECT idempotency_key FROM deliveries") == ("key-1",)


def test_a_key_that_is_not_ascii_is_refused(running: RunningApi) -> None:
    """A header is bytes: what they mean beyond ASCII nobody agrees on."""
    answer = httpx.post(
        f"{running.url}{PREFIX}/deliveries",
        json=command(),
        headers=[(b"Idempotency-Key", "schlüssel".encode())],
        **PLAIN,
    )

    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_value")


def test_a_producers_own_id_is_kept_and_cannot_be_taken_twice(api: httpx.Client) -> None:
    """A free key with a `delivery_id` that exists is `duplicate_delivery_id`, 409."""
    own = str(uuid4())
    first = api.post("/deliveries", json=command(delivery_id=own))
    second = api.post("/deliveries", json=command(delivery_id=own, idempotency_key="key-2"))

    assert first.json()["delivery_id"] == own
    assert (second.status_code, error_of(second)["code"]) == (409, "duplicate_delivery_id")


def test_other_content_under_a_used_key_is_a_conflict(api: httpx.Client) -> None:
    """The same rule as on the stream (contract section 2)."""
    api.post("/deliveries", json=command())
    answer = api.post("/deliveries", json=command(lane="bulk"))

    assert (answer.status_code, error_of(answer)["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize(
    ("change", "status", "code", "path"),
    [
        ({"color": "red"}, 400, "unknown_field", "color"),
        ({"payload": None}, 400, "missing_field", "payload"),
        ({"payload": {"subject": "x", "text_body": "x"}}, 400, "missing_field", "payload.to"),
        ({"source": "nobody"}, 400, "invalid_value", "source"),
        ({"lane": "fast"}, 400, "invalid_value", "lane"),
        ({"send_at_ms": "soon"}, 400, "invalid_value", "send_at_ms"),
        (
            {"payload": {"to": ["ada"], "subject": "x", "text_body": "x"}},
            400,
            "invalid_address",
            "payload.to[0]",
        ),
        (
            {"payload": {"to": ["a@example.com"], "subject": "x\r\nBcc: y@z", "text_body": "x"}},
            400,
            "header_injection",
            "payload.subject",
        ),
        (
            {
                "payload_mode": "template",
                "payload": {"to": ["a@example.com"], "template_id": "none", "locale": "en"},
            },
            400,
            "unknown_template",
            "payload.template_id",
        ),
        (
            {
                "payload_mode": "template",
                "payload": {"to": ["a@example.com"], "template_id": "welcome", "locale": "en"},
            },
            400,
            "template_variables",
            "payload.variables",
        ),
    ],
)
def test_a_refused_command_says_code_and_field(
    client: httpx.Client,
    change: dict[str, Any],
    status: int,
    code: str,
    path: str,
) -> None:
    """The failure codes of the stream are the codes of the errors."""
    answer = client.post("/deliveries", json=command(**change))

    error = error_of(answer)
    assert (answer.status_code, error["code"], error["details"]) == (status, code, {"path": path})


@pytest.mark.parametrize("body", HOSTILE)
def test_a_hostile_body_is_refused_and_harms_nothing(client: httpx.Client, body: bytes) -> None:
    """M-12, M-15: deep, NUL-laden, twice-keyed, not UTF-8, with a tail; the next one works."""
    answer = client.post("/deliveries", content=body, headers=JSON)

    assert answer.status_code in {400, 413}
    assert error_of(answer)["code"] in CODES_OF_HOSTILE
    good = command(idempotency_key=str(uuid4()))
    assert client.post("/deliveries", json=good).status_code == 202


def test_a_large_message_is_accepted(api: httpx.Client, conn: Connection) -> None:
    """An attachment of 5 MB goes through, byte for byte."""
    content = bytes(range(256)) * 20_000
    payload = {
        **command()["payload"],
        "attachments": [
            {
                "filename": "all.bin",
                "content_type": "application/octet-stream",
                "content_base64": base64.b64encode(content).decode(),
            }
        ],
    }
    answer = api.post("/deliveries", json=command(payload=payload))

    assert answer.status_code == 202
    shown = api.get(f"/deliveries/{answer.json()['delivery_id']}/content").json()
    assert shown["attachments"] == [
        {
            "filename": "all.bin",
            "content_type": "application/octet-stream",
            "size": len(content),
            "content_id": None,
        }
    ]


def test_a_body_over_the_limit_is_413_before_it_is_read(client: httpx.Client) -> None:
    """The announced length is enough to know; the connection ends with the answer."""
    answer = client.post("/deliveries", content=b"x" * (11 * 1024 * 1024), headers=JSON)

    assert (answer.status_code, error_of(answer)["code"]) == (413, "payload_too_large")
    assert answer.headers["connection"] == "close"


def test_a_body_over_the_limit_in_chunks_is_413_too(client: httpx.Client) -> None:
    """Without an announced length the bytes are counted as they come."""
    chunks = (b"x" * 1024 for _ in range(1024))
    answer = client.post("/login-code-deliveries", content=chunks, headers={**JSON, **KEY})

    assert (answer.status_code, error_of(answer)["code"]) == (413, "payload_too_large")


def test_a_command_for_later_is_scheduled_and_wakes_the_scheduler(
    api: httpx.Client, conn: Connection, redis_client: redis.Redis
) -> None:
    """Who has work by a command is woken after the commit."""
    api.post("/deliveries", json=command(send_at_ms=4_000_000_000_000))

    assert only_row(conn, "SELECT status FROM deliveries") == ("scheduled",)
    assert eventually(lambda: redis_client.llen(SCHEDULER_WAKE) == 1)
    assert redis_client.llen(SENDER_WAKE) == 0


def test_a_command_for_now_wakes_a_sender(api: httpx.Client, redis_client: redis.Redis) -> None:
    """A token for whoever is idle."""
    api.post("/deliveries", json=command())

    assert eventually(lambda: redis_client.llen(SENDER_WAKE) == 1)


def test_the_callers_trace_goes_on_in_the_delivery(api: httpx.Client) -> None:
    """The header traceparent counts where the body has none (W3C Trace Context)."""
    header = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answer = api.post("/deliveries", json=command(), headers={"traceparent": header})

    found = api.get(f"/deliveries/{answer.json()['delivery_id']}").json()
    assert found["traceparent"] == header


def test_many_callers_with_the_same_keys_make_one_delivery_a_key(
    api: httpx.Client, conn: Connection
) -> None:
    """N-16 in small: 20 keys, 16 times each, at once; every caller gets the answer of its key."""
    bodies = [command(idempotency_key=f"key-{n % 20}") for n in range(320)]
    with ThreadPoolExecutor(16) as callers:
        answers = list(callers.map(lambda body: api.post("/deliveries", json=body), bodies))

    assert {answer.status_code for answer in answers} == {202}
    ids: dict[str, set[str]] = {}
    for body, answer in zip(bodies, answers, strict=True):
        ids.setdefault(body["idempotency_key"], set()).add(answer.json()["delivery_id"])
    assert all(len(found) == 1 for found in ids.values())
    assert only_row(conn, "SELECT count(*) FROM deliveries") == (20,)


@pytest.mark.parametrize(("name", "longest"), [("email", 1000), ("code", 255), ("locale", 100)])
def test_a_login_code_has_limits(client: httpx.Client, name: str, longest: int) -> None:
    """Those of the description; the field is named."""
    body = {"email": "ada@example.com", "code": "1", "locale": "en", name: "0" * (longest + 1)}

    answer = client.post("/login-code-deliveries", json=body, headers={"Idempotency-Key": "k"})

    assert (answer.status_code, error_of(answer)["details"]) == (400, {"path": name})


def test_an_empty_key_is_refused(client: httpx.Client) -> None:
    """Whoever sends the header means something by it."""
    answer = client.post("/deliveries", json=command(), headers={"Idempotency-Key": ""})

    assert (answer.status_code, error_of(answer)["details"]) == (400, {"path": "Idempotency-Key"})
