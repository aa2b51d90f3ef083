"""The API while its stores are away: it says so, goes on, and needs no restart."""

import time
from pathlib import Path

import psycopg

from mailworkers.embedded.servers import Servers
from tests.eventually import eventually
from tests.web.conftest import (
    Row,
    RunningApi,
    command,
    error_of,
    make_settings,
    only_row,
    with_status,
)


def test_while_postgres_is_away_everything_is_503_and_afterwards_all_is_well(
    servers: Servers, own_api: RunningApi, conn: psycopg.Connection[Row]
) -> None:
    """`store_unavailable`, with a time to come back at; nothing half done; no restart (N-08)."""
    with own_api.client() as api:
        before = api.post("/deliveries", json=command())
        servers.postgres.stop()
        try:
            refused = [
                api.post("/deliveries", json=command(idempotency_key="key-2")),
                api.post("/deliveries:batch", json={"deliveries": [command()]}),
                api.get("/deliveries"),
                api.get(f"/deliveries/{before.json()['delivery_id']}"),
            ]
            wrong = api.post("/deliveries", json={})
        finally:
            servers.postgres.start()
        after = eventually(lambda: with_status(api.get("/deliveries"), 200), within=5)
        repeated = api.post("/deliveries", json=command(idempotency_key="key-2"))

    for answer in refused:
        assert (answer.status_code, error_of(answer)["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"] == "1"
        assert "postgres" not in answer.text.lower()
    # What can be judged without the database is.
    assert wrong.status_code == 400
    assert len(after.json()["items"]) == 1
    assert repeated.status_code == 202


def test_status_answers_while_postgres_is_away(servers: Servers, own_api: RunningApi) -> None:
    """That is when it is asked: the store is named, the other one's part is there."""
    with own_api.client() as api:
        well = api.get("/status").json()
        servers.postgres.stop()
        try:
            away = api.get("/status")
        finally:
            servers.postgres.start()

    assert [store["is_there"] for store in well["stores"]] == [True, True]
    assert away.status_code == 200
    assert away.json()["mail"] is None
    assert away.json()["stream"] is not None
    assert [store["is_there"] for store in away.json()["stores"]] == [False, True]
    assert away.json()["problems"][0]["what"].startswith("postgres: ")


def test_the_first_request_after_a_restart_of_postgres_is_served(
    servers: Servers, own_api: RunningApi, conn: psycopg.Connection[Row]
) -> None:
    """Connections from before are dead; nobody has to find out by failing."""
    with own_api.client() as api:
        assert api.post("/deliveries", json=command()).status_code == 202
        servers.postgres.restart()

        assert api.post("/deliveries", json=command(idempotency_key="k2")).status_code == 202


def test_an_api_that_starts_while_postgres_is_away_says_503(
    servers: Servers, database: str, tmp_path: Path
) -> None:
    """Without the tokens nobody can be let in; 404 is still 404."""
    servers.postgres.stop()
    try:
        running = RunningApi(make_settings(servers, tmp_path), database)
        try:
            with running.client() as api:
                answer = api.get("/deliveries")
                lost = api.get("/../../../healthz")
        finally:
            running.close()
    finally:
        servers.postgres.start()

    assert (answer.status_code, error_of(answer)["code"]) == (503, "store_unavailable")
    assert lost.status_code == 404


def test_while_redis_is_away_mail_is_accepted_without_waiting_for_it(
    servers: Servers, own_api: RunningApi, conn: psycopg.Connection[Row]
) -> None:
    """HTTP intake goes on; wake-ups become polls (architecture section 5)."""
    servers.keyvalue.stop()
    try:
        with own_api.client() as api:
            began = time.monotonic()
            answers = [
                api.post("/deliveries", json=command(idempotency_key=f"key-{n}")) for n in range(20)
            ]
            took = time.monotonic() - began
    finally:
        servers.keyvalue.start()

    assert {answer.status_code for answer in answers} == {202}
    assert only_row(conn, "SELECT count(*) FROM deliveries") == (20,)
    assert took < 5


def test_a_surprise_is_a_500_that_tells_nothing_and_is_recorded(
    own_api: RunningApi, conn: psycopg.Connection[Row]
) -> None:
    """No words of ours about our inside in an answer; all of them in the log."""
    conn.execute("ALTER TABLE deliveries RENAME COLUMN locale TO secret_column")
    try:
        with own_api.client() as api:
            answer = api.get("/deliveries")
    finally:
        conn.execute("ALTER TABLE deliveries RENAME COLUMN secret_column TO locale")

    assert (answer.status_code, error_of(answer)["code"]) == (500, "internal_error")
    assert "locale" not in answer.text
    assert [type(error) for error in own_api.surprises] == [psycopg.errors.UndefinedColumn]
    own_api.surprises.clear()


def test_a_surprise_with_one_command_takes_no_other_down(
    own_api: RunningApi, conn: psycopg.Connection[Row]
) -> None:
    """Commands share a transaction; when it fails for a reason unforeseen, each is tried alone."""
    conn.execute("ALTER TABLE deliveries ADD CONSTRAINT odd CHECK (idempotency_key <> 'odd')")
    try:
        with own_api.client() as api:
            deliveries = [command(idempotency_key=key) for key in ("even", "odd", "more")]
            answer = api.post("/deliveries:batch", json={"deliveries": deliveries})
            single = api.post("/deliveries", json=command(idempotency_key="odd"))
    finally:
        conn.execute("ALTER TABLE deliveries DROP CONSTRAINT odd")

    assert [result["status"] for result in answer.json()["results"]] == [202, 500, 202]
    assert (single.status_code, error_of(single)["code"]) == (500, "internal_error")
    assert len(own_api.surprises) == 2
    own_api.surprises.clear()
