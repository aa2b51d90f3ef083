"""`mailworkers deliveries cancel` and `requeue`: confirmation, what is printed, exit codes."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import redis

from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.core.states import Status
from tests.deliveries import put, row, status
from tests.roles.test_cli import Run, environ, here, run

__all__ = ["environ", "here", "run"]

Connection = psycopg.Connection[tuple[Any, ...]]
WHY = ("--reason", "the invoice was wrong")
NOBODY = "01900000-0000-7000-8000-000000000001"


def trail(conn: Connection) -> list[tuple[Any, ...]]:
    """Return the audit trail."""
    return conn.execute("SELECT actor, action, subject, reason FROM operator_actions").fetchall()


@pytest.mark.usefixtures("here")
def test_cancel_asks_first_and_shows_which_delivery_is_meant(run: Run, conn: Connection) -> None:
    """A no, or nobody to ask, changes nothing."""
    delivery_id = put(conn, Status.QUEUED)

    for answer in (b"n\n", b""):
        result = run("deliveries", "cancel", str(delivery_id), *WHY, input=answer)

        assert result.exit_code == 1
        assert re.search(rf"{delivery_id} is queued: .* to person\d+@example.com", result.stderr)
        assert status(conn, delivery_id) == Status.QUEUED
    assert trail(conn) == []


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(("sure", "answer"), [((), b"y\n"), (("--yes",), None)])
def test_cancel_withdraws_and_the_trail_names_the_person(
    run: Run, conn: Connection, sure: tuple[str, ...], answer: bytes | None
) -> None:
    """The same function, and so the same line, as by HTTP."""
    delivery_id = put(conn, Status.DEFERRED)

    result = run("deliveries", "cancel", str(delivery_id), *WHY, *sure, input=answer)

    assert result.exit_code == 0, result.output
    assert f"{delivery_id} is cancelled: " in result.stdout
    assert status(conn, delivery_id) == Status.CANCELLED
    ((actor, *rest),) = trail(conn)
    assert actor.startswith("cli:")
    assert rest == ["cancel", f"delivery {delivery_id}", WHY[1]]


@pytest.mark.usefixtures("here")
def test_cancel_of_what_a_sender_has_is_pending(run: Run, conn: Connection) -> None:
    """Done as far as it can be: exit code 0."""
    delivery_id = put(conn, Status.SENDING)

    result = run("deliveries", "cancel", str(delivery_id), *WHY, "--yes")

    assert result.exit_code == 0
    assert "is pending: a sender has it now" in result.stdout
    assert row(conn, delivery_id)["cancel_requested_at"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("verb", "end", "hindrance"),
    [("cancel", Status.SENT, "ended"), ("requeue", Status.SENT, "not_in_trouble")],
)
def test_what_cannot_be_done_is_1_with_the_reason(
    run: Run, conn: Connection, verb: str, end: Status, hindrance: str
) -> None:
    """In words, and as a word for programs."""
    delivery_id = put(conn, end)

    told = run("deliveries", verb, str(delivery_id), *WHY, "--yes")
    as_json = run("deliveries", verb, str(delivery_id), *WHY, "--yes", "--json")

    assert (told.exit_code, as_json.exit_code) == (1, 1)
    assert "nothing was changed: it is sent" in told.stderr
    assert json.loads(as_json.stdout) == {
        "delivery_id": str(delivery_id),
        "status": "sent",
        "hindrance": hindrance,
    }


@pytest.mark.usefixtures("here")
def test_requeue_makes_it_ready_and_wakes_a_sender(
    run: Run, conn: Connection, redis_client: redis.Redis
) -> None:
    """With the answer of `--json`."""
    delivery_id = put(conn, Status.DEAD_LETTER)

    result = run("deliveries", "requeue", str(delivery_id), *WHY, "--yes", "--json")

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {
        "delivery_id": str(delivery_id),
        "status": "queued",
        "hindrance": None,
    }
    assert redis_client.llen(SENDER_WAKE) == 1


@pytest.mark.usefixtures("here")
def test_requeue_past_its_time_needs_a_new_one(run: Run, conn: Connection) -> None:
    """The error says what to give."""
    past = datetime.now(UTC) - timedelta(days=1)
    delivery_id = put(conn, Status.FAILED, expires_at=past)
    command = ("deliveries", "requeue", str(delivery_id), *WHY, "--yes")

    refused = run(*command)
    done = run(*command, "--expires-at", "+2h")

    assert refused.exit_code == 1
    assert "give an expires_at in the future" in refused.stderr
    assert done.exit_code == 0, done.output
    assert row(conn, delivery_id)["expires_at"] > datetime.now(UTC) + timedelta(hours=1)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("sure", [(), ("--yes",)])
@pytest.mark.parametrize("verb", ["cancel", "requeue"])
def test_an_unknown_delivery_is_1_and_says_where_to_look(
    run: Run, verb: str, sure: tuple[str, ...], database: str
) -> None:
    """Before anything is asked."""
    result = run("deliveries", verb, NOBODY, *WHY, *sure)

    assert result.exit_code == 1
    assert f"there is no delivery {NOBODY}" in result.stderr
    assert "deliveries show" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("cancel", NOBODY),
        ("cancel", "not-an-id", *WHY),
        ("cancel", NOBODY, "--reason", ""),
        ("cancel", NOBODY, "--reason", "two\nlines"),
        ("requeue", NOBODY, *WHY, "--expires-at", "soon"),
    ],
)
def test_a_verb_without_reason_or_sense_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    """Usage errors, before any store is asked."""
    assert run("deliveries", *arguments).exit_code == 2


@pytest.mark.parametrize("verb", ["cancel", "requeue"])
def test_a_database_that_is_away_is_1(run: Run, verb: str) -> None:
    """It says where to look."""
    result = run("deliveries", verb, NOBODY, *WHY, "--yes")

    assert result.exit_code == 1
    assert "mailworkers doctor" in result.stderr
