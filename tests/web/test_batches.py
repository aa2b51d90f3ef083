"""A batch of commands: each stands for itself, all are durable when the answer comes."""

from typing import Any

import httpx
import psycopg
import pytest

from mailworkers.web.examples import BATCH
from tests.web.conftest import Row, command, error_of, only_row

Connection = psycopg.Connection[Row]


def test_each_command_of_a_batch_gets_the_result_it_would_get_alone(
    api: httpx.Client, conn: Connection
) -> None:
    """Accepted, repeated, in conflict, refused: side by side, in order."""
    deliveries = [
        command(idempotency_key="one"),
        command(idempotency_key="two", payload={"to": ["ada"], "subject": "", "text_body": "x"}),
        command(idempotency_key="one"),
        command(idempotency_key="one", lane="bulk"),
        {},
        "not an object",
        command(idempotency_key="three"),
    ]
    answer = api.post("/deliveries:batch", json={"deliveries": deliveries})

    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 400, 202, 409, 400, 400, 202]
    assert results[0] == results[2]
    assert [result["error"]["code"] for result in results if "error" in result] == [
        "invalid_address",
        "idempotency_conflict",
        "missing_field",
        "invalid_value",
    ]
    rows = conn.execute("SELECT idempotency_key FROM deliveries ORDER BY created_at").fetchall()
    assert {key for (key,) in rows} == {"one", "three"}


def test_the_example_of_the_description_is_accepted(api: httpx.Client) -> None:
    """What the description shows works."""
    for body in BATCH.values():
        answer = api.post("/deliveries:batch", json=body)
        assert {result["status"] for result in answer.json()["results"]} == {202}


def test_a_thousand_commands_are_one_request(api: httpx.Client, conn: Connection) -> None:
    """The most a batch may hold: the bounds on the values of a command are each command's own."""
    deliveries = [command(idempotency_key=f"key-{n}") for n in range(1000)]
    answer = api.post("/deliveries:batch", json={"deliveries": deliveries})

    ids = {result["delivery_id"] for result in answer.json()["results"]}
    assert len(ids) == 1000
    assert only_row(conn, "SELECT count(*) FROM deliveries") == (1000,)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b'{"deliveries": {}}', 400, "invalid_json"),
        (b'{"deliveries": [{}], "more": 1}', 400, "invalid_json"),
        (b'{"deliveries": [' + b"[" * 100_000, 400, "invalid_json"),
        (b'{"deliveries": []}', 400, "invalid_value"),
        (b'{"deliveries": [{}], "deliveries": [{}]}', 400, "invalid_value"),
        (b'{"deliveries": [' + b",".join([b"{}"] * 1001) + b"]}", 413, "payload_too_large"),
    ],
)
def test_what_is_no_batch_is_refused_whole(
    client: httpx.Client, body: bytes, status: int, code: str
) -> None:
    """One clear error, and nothing half done."""
    headers = {"Content-Type": "application/json"}
    answer = client.post("/deliveries:batch", content=body, headers=headers)

    assert (answer.status_code, error_of(answer)["code"]) == (status, code)


def test_a_hostile_command_in_a_batch_takes_only_itself_down(api: httpx.Client) -> None:
    """NUL, a key given twice, an integer past 64 bits: each is its own refusal."""
    good = b'{"payload_mode":"rendered","idempotency_key":"k","payload":{"to":["a@example.com"],'
    good += b'"subject":"s","text_body":"t"}}'
    commands = [
        good,
        b'{"source":"api\\u0000"}',
        b'{"source":"api","source":"api"}',
        b'{"send_at_ms":' + b"9" * 30 + b"}",
        b"[" * 50 + b"]" * 50,
        b'"\xff"',
    ]
    answer = api.post(
        "/deliveries:batch",
        content=b'{"deliveries": [' + b",".join(commands) + b"]}",
        headers={"Content-Type": "application/json"},
    )

    results: list[dict[str, Any]] = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 400, 400, 400, 400, 400]


def test_a_key_for_the_whole_batch_is_refused(api: httpx.Client) -> None:
    """It would silently mean nothing."""
    answer = api.post(
        "/deliveries:batch",
        json={"deliveries": [command()]},
        headers={"Idempotency-Key": "all"},
    )

    assert (answer.status_code, error_of(answer)["code"]) == (400, "invalid_value")
