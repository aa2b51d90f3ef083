"""What operators do by the command line through the API: words and codes as on the host."""

import json
from typing import Any
from uuid import UUID

import psycopg
import pytest

from mailworkers.adapters.store.replays import continue_replay
from mailworkers.core.states import Lane, Status
from tests.deliveries import put, status
from tests.store.situations import enter_letter
from tests.web.conftest import Row
from tests.web.test_command_line import NOBODY, WHY, Run, by_api, on_host, told
from tests.web.test_malformed import refuse

__all__ = ["by_api", "on_host"]

Connection = psycopg.Connection[Row]


def dead(conn: Connection, **columns: Any) -> UUID:
    """Put a delivery that failed, with its dead letter."""
    delivery_id = put(conn, Status.FAILED, failure="rejected", **columns)
    enter_letter(conn, delivery_id, None)
    return delivery_id


@pytest.mark.parametrize(
    ("verb", "before"),
    [
        ("cancel", Status.QUEUED),
        ("cancel", Status.SENDING),
        ("cancel", Status.CANCELLED),
        ("cancel", Status.SENT),
        ("requeue", Status.UNCERTAIN),
        ("requeue", Status.SENT),
        ("resend", Status.QUEUED),
    ],
)
def test_a_verb_comes_to_the_same_from_either_side(
    on_host: Run, by_api: Run, conn: Connection, verb: str, before: Status
) -> None:
    """Status, exit code and why not; the audit trail names who did it."""
    twins = put(conn, before), put(conn, before)

    answers = []
    for ask, delivery_id in zip((on_host, by_api), twins, strict=True):
        result = ask("deliveries", verb, str(delivery_id), "--yes", "--json", *WHY)
        answer = json.loads(result.stdout)
        for name in ("delivery_id", "resend_of"):
            answer.pop(name, None)
        answers.append((result.exit_code, answer, result.stderr.splitlines()[-1:]))

    assert answers[1] == answers[0]
    assert status(conn, twins[1]) == status(conn, twins[0])


@pytest.mark.parametrize("verb", ["cancel", "requeue", "resend"])
def test_a_verb_asks_first_and_knows_no_unknown_delivery(
    by_api: Run, conn: Connection, verb: str
) -> None:
    """A no changes nothing; an id that is none is 1."""
    delivery_id = put(conn, Status.DEAD_LETTER)

    refused = by_api("deliveries", verb, str(delivery_id), *WHY, input="n\n")
    unknown = by_api("deliveries", verb, NOBODY, "--yes", *WHY)

    assert (refused.exit_code, unknown.exit_code) == (1, 1)
    assert f"{delivery_id} is dead_letter: source" in refused.stderr
    assert "there is no delivery" in unknown.stderr
    assert status(conn, delivery_id) == Status.DEAD_LETTER


def test_a_resend_with_a_key_is_made_once(by_api: Run, conn: Connection) -> None:
    """The second time the first clone is named."""
    delivery_id = put(conn, Status.SENT)
    order = ("deliveries", "resend", str(delivery_id), "--key", "k-1", "--yes", *WHY)

    first, second = told(by_api(*order, "--json")), by_api(*order)

    assert f"{first['delivery_id']} was made of it before" in second.stdout
    shown = told(by_api("deliveries", "show", first["delivery_id"], "--json"))
    assert shown["delivery"]["resend_of"] == str(delivery_id)


@pytest.mark.parametrize(
    "arguments",
    [
        ("dead-letters", "list"),
        ("dead-letters", "list", "--unresolved", "--lane", "auth", "--cause", "permanent"),
        ("dead-letters", "list", "--since", "-1h", "--until", "+1h", "--limit", "1"),
        ("dead-letters", "show", "LETTER"),
        ("dead-letters", "replays"),
        ("malformed", "list"),
        ("malformed", "list", "--code", "unknown_template", "--unreplayed"),
        ("malformed", "show", "ENTRY"),
        ("malformed", "show", "ENTRY", "--content"),
    ],
    ids=" ".join,
)
def test_reviews_show_the_same_from_either_side(
    on_host: Run, by_api: Run, conn: Connection, arguments: tuple[str, ...]
) -> None:
    """Not a field differs."""
    dead(conn)
    dead(conn, lane=int(Lane.AUTH))
    entry = refuse(conn)
    letter = told(on_host("dead-letters", "list", "--json"))[0]["dead_letter_id"]
    named = {"LETTER": str(letter), "ENTRY": str(entry)}
    asked = [named.get(word, word) for word in arguments]

    here, there = told(on_host(*asked, "--json")), told(by_api(*asked, "--json"))

    assert there == here


def test_dead_letters_are_resolved_and_replayed_through_the_api(
    by_api: Run, conn: Connection
) -> None:
    """Counted, ordered, watched, stopped: what a scheduler does meanwhile is shown."""
    dead(conn)
    dead(conn)
    dead(conn, lane=int(Lane.AUTH))
    number = str(
        told(by_api("dead-letters", "list", "--lane", "auth", "--json"))[0]["dead_letter_id"]
    )

    plan = told(by_api("dead-letters", "replay", "--dry-run", "--json", *WHY))["plan"]
    resolved = by_api("dead-letters", "resolve", number, "999999", "--note", "told by phone")
    ordered = told(by_api("dead-letters", "replay", "--rate", "0.01", "--yes", "--json", *WHY))
    again = by_api("dead-letters", "replay", number, "--resolved", "--yes", *WHY)
    while continue_replay(conn, limit=100) is not None:
        pass
    watched = told(by_api("dead-letters", "watch", str(ordered["replay_id"]), "--json"))
    stopped = by_api("dead-letters", "cancel-replay", str(ordered["replay_id"]), "--yes", *WHY)

    assert (plan["matched"], plan["replayable"]) == (3, 2)
    assert resolved.exit_code == 1
    assert f"{number} resolved by local: told by phone" in resolved.stdout
    assert (again.exit_code, "none of them can be sent again" in again.stderr) == (1, True)
    assert watched["requeued"] == 2
    assert "is being stopped" in stopped.stdout
    assert by_api("dead-letters", "watch", "999999").exit_code == 1


def test_a_refused_entry_is_judged_again_through_the_api(
    on_host: Run, by_api: Run, conn: Connection
) -> None:
    """Accepted once; what is refused again says the same as on the host."""
    good, bad = refuse(conn, 1), refuse(conn, 2, payload_json="{")

    tried = by_api("malformed", "replay", str(good), "--dry-run")
    first = by_api("malformed", "replay", str(good), "--yes", *WHY)
    second = by_api("malformed", "replay", str(good), "--yes", *WHY)
    here, there = (ask("malformed", "replay", str(bad), "--yes", *WHY) for ask in (on_host, by_api))

    assert "would be delivery" in tried.stdout
    assert f"{good} is delivery" in first.stdout
    assert "as it was before" in second.stdout
    assert (there.exit_code, there.stderr) == (here.exit_code, here.stderr) == (1, here.stderr)
    assert by_api("malformed", "replay", "999999", "--yes", *WHY).exit_code == 1
