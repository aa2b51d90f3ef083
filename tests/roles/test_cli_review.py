"""`mailworkers dead-letters`, `malformed` and `deliveries resend`: what is done and said."""

import json
import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest
import redis

from mailworkers.adapters import db, store
from mailworkers.adapters.store.replays import continue_replay, find_replay
from mailworkers.adapters.stream import SCHEDULER_WAKE, SENDER_WAKE
from mailworkers.core.states import Lane, Status
from mailworkers.embedded.servers import Servers
from tests.deliveries import put, row, status
from tests.roles.test_cli import Run, environ, here, run
from tests.store.situations import enter_letter
from tests.web.test_malformed import fields, refuse

__all__ = ["environ", "here", "run"]

pytestmark = pytest.mark.usefixtures("here")

Connection = psycopg.Connection[tuple[Any, ...]]
WHY = ("--reason", "the relay is well again")
NOBODY = "01900000-0000-7000-8000-000000000001"


def dead(conn: Connection, **columns: Any) -> UUID:
    """Put a delivery that failed, with its dead letter."""
    delivery_id = put(conn, Status.FAILED, failure="rejected", **columns)
    enter_letter(conn, delivery_id, None)
    return delivery_id


def listed(run: Run, *options: str) -> list[dict[str, Any]]:
    """Return what `dead-letters list --json` shows."""
    found: list[dict[str, Any]] = json.loads(run("dead-letters", "list", *options, "--json").stdout)
    return found


def actions(conn: Connection) -> list[tuple[Any, ...]]:
    """Return the audit trail, oldest first."""
    return conn.execute(
        "SELECT action, subject, reason FROM operator_actions ORDER BY action_id"
    ).fetchall()


def test_dead_letters_are_listed_and_shown(run: Run, conn: Connection) -> None:
    """Newest first, narrowed by options; one with what keeps it from being sent again."""
    first, second = dead(conn), dead(conn, lane=int(Lane.AUTH))

    assert [found["delivery_id"] for found in listed(run)] == [str(second), str(first)]
    assert [found["delivery_id"] for found in listed(run, "--lane", "auth")] == [str(second)]
    assert len(listed(run, "--limit", "1")) == 1
    assert "no such user" in run("dead-letters", "list").stdout
    assert run("dead-letters", "list", "--cause", "poison").stdout == "nothing found\n"
    shown = run("dead-letters", "show", str(listed(run)[0]["dead_letter_id"]))
    assert "auth mail is not sent again" in shown.stdout
    assert f"deliveries timeline {second}" in shown.stdout
    assert run("dead-letters", "show", "999999").exit_code == 1


def test_resolving_says_who_and_what(run: Run, conn: Connection) -> None:
    """Several at once; one that is none is 1, and the others are done."""
    dead(conn)
    number = str(listed(run)[0]["dead_letter_id"])

    done = run("dead-letters", "resolve", number, "999999", "--note", "told by phone")

    assert done.exit_code == 1
    assert f"{number} resolved by cli:" in done.stdout
    assert "no dead letter, or none any more: 999999" in done.stderr
    assert listed(run, "--unresolved") == []
    assert actions(conn) == [("resolve", f"dead letter {number}", "told by phone")]
    assert run("dead-letters", "resolve", number, "--note", "").exit_code == 2


def test_a_replay_asks_first_and_shows_what_it_would_do(run: Run, conn: Connection) -> None:
    """A no, or nobody to ask, changes nothing; neither does a dry run."""
    delivery_id = dead(conn)
    dead(conn, lane=int(Lane.AUTH))

    refused = run("dead-letters", "replay", *WHY, input=b"n\n")
    dry = run("dead-letters", "replay", "--dry-run", *WHY)
    as_json = run("dead-letters", "replay", "--dry-run", "--json", *WHY)

    assert (refused.exit_code, dry.exit_code) == (1, 0)
    for result in (refused, dry):
        assert "1  permanent, lane auth: left, auth" in result.stderr
        assert "1 of 2 can be sent again; at 10 a second that takes 0:00:00" in result.stderr
    assert json.loads(as_json.stdout)["plan"]["replayable"] == 1
    assert status(conn, delivery_id) == Status.FAILED
    assert actions(conn) == []


def test_a_replay_is_ordered_and_can_be_stopped(
    run: Run, conn: Connection, redis_client: redis.Redis
) -> None:
    """The scheduler is woken; what it has made scheduled is put back."""
    delivery_id = dead(conn)

    ordered = run("dead-letters", "replay", "--rate", "1", "--yes", "--json", *WHY)
    number = json.loads(ordered.stdout)["replay_id"]
    woken = redis_client.llen(SCHEDULER_WAKE)
    continue_replay(conn, limit=9)
    listing = run("dead-letters", "replays")
    waiting = json.loads(run("dead-letters", "watch", str(number), "--json").stdout)
    stopped = run("dead-letters", "cancel-replay", str(number), "--yes", *WHY)
    continue_replay(conn, limit=9)

    assert (ordered.exit_code, woken) == (0, 1)
    assert f"{number} " in listing.stdout
    assert waiting["outcomes"] == {"scheduled": 1}
    assert "is being stopped" in stopped.stdout
    assert status(conn, delivery_id) == Status.FAILED
    assert [line[:2] for line in actions(conn)] == [
        ("replay", f"replay {number}"),
        ("cancel_replay", f"replay {number}"),
    ]
    assert run("dead-letters", "cancel-replay", "999999", "--yes", *WHY).exit_code == 1


def test_waiting_shows_how_it_goes_to_the_end(run: Run, conn: Connection, servers: Servers) -> None:
    """Until nothing is scheduled any more; here a scheduler makes them ready meanwhile."""
    for _ in range(3):
        dead(conn)
    is_over = threading.Event()

    def schedule() -> None:
        with db.connect(servers.postgres_dsn) as own:
            while not is_over.is_set():
                continue_replay(own, limit=2)
                store.promote_due(own, limit=9)
                is_over.wait(0.02)

    scheduler = threading.Thread(target=schedule)
    scheduler.start()
    try:
        done = run("dead-letters", "replay", "--rate", "100", "--yes", "--wait", *WHY)
    finally:
        is_over.set()
        scheduler.join(30)

    assert done.exit_code == 0, done.output
    assert "is requeued: 3 meant, 3 queued" in done.stdout


def test_only_the_named_are_sent_again(run: Run, conn: Connection) -> None:
    """By number; nothing to send is 1 and leaves no order."""
    first, second = dead(conn), dead(conn)
    number = str(listed(run)[0]["dead_letter_id"])

    done = run("dead-letters", "replay", number, "--yes", "--no-wait", *WHY)
    continue_replay(conn, limit=9)
    nothing = run("dead-letters", "replay", "--source", "nobody", "--yes", *WHY)

    assert "dead-letters watch" in done.stdout
    assert (status(conn, first), status(conn, second)) == (Status.FAILED, Status.SCHEDULED)
    assert nothing.exit_code == 1
    assert "none of them can be sent again" in nothing.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("replay",),
        ("replay", "0", *WHY),
        ("replay", "--rate", "0", *WHY),
        ("replay", "--cause", "sunspots", *WHY),
        ("replay", "--since", "yesterday", *WHY),
        ("replay", "--dry-run", "--reason", ""),
        ("resolve", "1"),
        ("cancel-replay", "1"),
    ],
)
def test_an_order_without_reason_or_sense_is_2(run: Run, arguments: tuple[str, ...]) -> None:
    """Usage errors, before any store is asked."""
    assert run("dead-letters", *arguments).exit_code == 2


def test_refused_entries_are_listed_shown_and_replayed_once(
    run: Run, conn: Connection, redis_client: redis.Redis
) -> None:
    """By the way of the stream; the second time says what the first did."""
    number = str(refuse(conn))

    assert "unknown_template" in run("malformed", "list").stdout
    assert json.loads(run("malformed", "list", "--code", "poison", "--json").stdout) == []
    shown = run("malformed", "show", number, "--content")
    assert "ada@example.com" in shown.stdout
    first = run("malformed", "replay", number, "--yes", *WHY)
    second = run("malformed", "replay", number, "--yes", "--json", *WHY)

    delivery_id = fields()["delivery_id"]
    assert (first.exit_code, first.stdout) == (0, f"{number} is delivery {delivery_id}\n")
    assert json.loads(second.stdout)["outcome"] == "repeated"
    assert status(conn, UUID(delivery_id)) == Status.QUEUED
    assert redis_client.llen(SENDER_WAKE) == 1
    assert actions(conn) == [("replay", f"malformed command {number}", WHY[1])]


def test_a_dry_run_wants_no_reason_and_changes_nothing(run: Run, conn: Connection) -> None:
    """Nobody is asked, nothing is recorded; the exit code is that of the real one."""
    good, bad = str(refuse(conn, 1)), str(refuse(conn, 2, source="authsession"))
    dead(conn)

    tried = run("malformed", "replay", good, "--dry-run")
    as_json = run("malformed", "replay", good, "--dry-run", "--json")
    refused = run("malformed", "replay", bad, "--dry-run")
    counted = run("dead-letters", "replay", "--dry-run")

    assert tried.stdout == f"{good} would be delivery {fields()['delivery_id']}\n"
    assert (tried.stderr, json.loads(as_json.stdout)["dry_run"]) == ("", True)
    assert (refused.exit_code, "auth mail is not sent again" in refused.stderr) == (1, True)
    assert (counted.exit_code, "1 of 1 can be sent again" in counted.stderr) == (0, True)
    assert actions(conn) == []
    assert conn.execute("SELECT count(*) FROM deliveries").fetchone() == (1,)


def test_what_is_refused_again_is_1_with_the_reason(run: Run, conn: Connection) -> None:
    """In words, and as a word for programs; asked first, and shown what it was refused for."""
    number = str(refuse(conn, source="authsession"))

    asked = run("malformed", "replay", number, *WHY, input=b"n\n")
    told = run("malformed", "replay", number, "--yes", *WHY)
    as_json = run("malformed", "replay", number, "--yes", "--json", *WHY)

    assert "there is no such template" in asked.stderr
    assert [r.exit_code for r in (asked, told, as_json)] == [1, 1, 1]
    assert "auth mail is not sent again" in told.stderr
    assert json.loads(as_json.stdout)["reason"] == "auth"
    assert run("malformed", "replay", "999999", "--yes", *WHY).exit_code == 1
    assert run("malformed", "show", "999999").exit_code == 1
    assert actions(conn) == []


def test_looking_into_an_entry_of_auth_mail_is_recorded(run: Run, conn: Connection) -> None:
    """As with the content of deliveries."""
    number = str(refuse(conn, source="authsession"))

    assert run("malformed", "show", number, "--content", "--json").exit_code == 0

    assert actions(conn) == [("read_content", f"malformed command {number}", "")]


def test_a_delivery_is_sent_anew(run: Run, conn: Connection, redis_client: redis.Redis) -> None:
    """Asked first, with which is meant; the same key makes one."""
    delivery_id = put(conn, Status.SENT)
    conn.execute(
        "UPDATE delivery_payloads SET mime = %s",
        [b"Date: x\r\nMessage-ID: <a@b>\r\nSubject: s\r\n\r\nhi\r\n"],
    )
    command = ("deliveries", "resend", str(delivery_id), "--key", "again", *WHY)

    refused = run(*command, input=b"n\n")
    done = run(*command, "--yes", "--json")
    again = run(*command, "--yes")

    assert refused.exit_code == 1
    assert f"{delivery_id} is sent" in refused.stderr
    answer = json.loads(done.stdout)
    assert answer["resend_of"] == str(delivery_id)
    assert row(conn, UUID(answer["delivery_id"]))["resend_of"] == delivery_id
    assert f"{answer['delivery_id']} was made of it before" in again.stdout
    assert redis_client.llen(SENDER_WAKE) == 1


def test_what_cannot_be_sent_anew_is_1_with_the_reason(run: Run, conn: Connection) -> None:
    """And an end in the future helps where its own has passed."""
    past = datetime(2026, 1, 1, tzinfo=UTC)
    late = str(put(conn, Status.FAILED, expires_at=past))

    told = run("deliveries", "resend", str(put(conn, Status.QUEUED)), "--yes", *WHY)
    as_json = run("deliveries", "resend", late, "--yes", "--json", *WHY)

    assert "nothing was changed: it is queued" in told.stderr
    assert (told.exit_code, as_json.exit_code) == (1, 1)
    assert json.loads(as_json.stdout)["refusal"] == "expired"
    assert run("deliveries", "resend", late, "--yes", "--expires-at", "+2h", *WHY).exit_code == 0
    assert run("deliveries", "resend", NOBODY, "--yes", *WHY).exit_code == 1


def test_an_order_stays_when_its_command_has_gone(run: Run, conn: Connection) -> None:
    """The row is the order; the command only watched."""
    dead(conn)

    ordered = run("dead-letters", "replay", "--yes", "--json", *WHY)

    found = find_replay(conn, json.loads(ordered.stdout)["replay_id"])
    assert found is not None
    assert (found.status, found.actor[:4]) == ("requeueing", "cli:")
