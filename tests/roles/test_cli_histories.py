"""`mailworkers deliveries list`, `timeline`, `explain`: what people see."""

import json
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from mailworkers.core.states import Status
from tests.deliveries import accept, new_delivery, put
from tests.roles.test_cli import Run, environ, here, run

__all__ = ["environ", "here", "run"]

Connection = psycopg.Connection[tuple[Any, ...]]
NOBODY = "01900000-0000-7000-8000-000000000001"
LATER = datetime(2099, 1, 1, 12, 30, tzinfo=UTC)


def listed(run: Run, *arguments: str) -> list[str]:
    """Return the ids that `deliveries list --json` shows."""
    result = run("deliveries", "list", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [found["delivery_id"] for found in json.loads(result.stdout)]


@pytest.mark.usefixtures("here")
def test_mail_is_found_by_its_recipient_in_whatever_form(run: Run, conn: Connection) -> None:
    """Did she get it? That begins with an address somebody reads out."""
    hers, his = new_delivery("Ada@Example.com"), new_delivery("bob@example.com")
    accept(conn, hers, his)

    assert listed(run, "Ada Lovelace <ADA@EXAMPLE.COM>") == [str(hers.delivery_id)]
    table = run("deliveries", "list", "ada@example.com").stdout
    assert str(hers.delivery_id) in table
    assert "queued" in table
    assert run("deliveries", "list", "nobody").exit_code == 1
    assert run("deliveries", "list", "nobody@example.com").stdout == "nothing found\n"


@pytest.mark.usefixtures("here")
def test_the_list_is_narrowed_by_status_source_lane_and_time(run: Run, conn: Connection) -> None:
    """Filters add up; trouble is what wants an operator."""
    failed, sent = put(conn, Status.FAILED), put(conn, Status.SENT)

    assert listed(run, "--trouble") == [str(failed)]
    assert listed(run, "--status", "sent", "--source", "notification") == [str(sent)]
    assert listed(run, "--lane", "auth") == []
    assert len(listed(run, "--since", "-1h", "--until", "+1h")) == 2
    assert listed(run, "--since", "+1h") == []
    assert len(listed(run, "--limit", "1")) == 1
    assert run("deliveries", "list", "--since", "yesterday").exit_code == 2


@pytest.mark.usefixtures("here")
def test_explain_says_why_what_next_and_what_can_be_done(run: Run, conn: Connection) -> None:
    """The command it advises carries the id."""
    delivery_id = put(conn, Status.DEFERRED, next_attempt_at=LATER, cycle_attempt=1, attempt_no=1)

    told = run("deliveries", "explain", str(delivery_id)).stdout
    as_json = json.loads(run("deliveries", "explain", str(delivery_id), "--json").stdout)

    assert told.startswith("attempt 1 of at most 9 did not succeed\n")
    assert "no sender has given a sign of life lately" in told
    assert "next: it becomes ready, and the next free sender takes it, at 2099-01-01" in told
    assert f"mailworkers deliveries cancel {delivery_id} --reason" in told
    assert as_json["blockers"] == ["not_due", "no_sender"]


@pytest.mark.usefixtures("here")
def test_the_timeline_tells_what_happened(run: Run, conn: Connection) -> None:
    """Accepted, then whatever followed."""
    delivery_id = put(conn, Status.SENDING)

    told = run("deliveries", "timeline", str(delivery_id)).stdout
    as_json = json.loads(run("deliveries", "timeline", str(delivery_id), "--json").stdout)

    assert told.index("accepted from notification in lane normal") < told.index("attempt 1 began")
    assert [event["kind"] for event in as_json] == ["accepted", "attempt_began"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("command", ["explain", "timeline"])
def test_about_what_does_not_exist_it_says_where_to_look(run: Run, command: str) -> None:
    """Exit code 1."""
    result = run("deliveries", command, NOBODY)

    assert result.exit_code == 1
    assert f"there is no delivery {NOBODY}" in result.stderr
