"""`mailworkers suppressions`, `pause`, `resume`, `pauses`, `tokens`: what is done and said."""

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from mailworkers.adapters.store.reads import list_tokens
from mailworkers.adapters.stream import SENDER_WAKE
from tests.deliveries import put
from tests.roles.test_cli import Run, environ, here, run

__all__ = ["environ", "here", "run"]

Connection = psycopg.Connection[tuple[Any, ...]]
WHY = ("--reason", "they asked for it")


def listed(run: Run, *arguments: str) -> list[dict[str, Any]]:
    """Return what `suppressions list --json` shows."""
    found: list[dict[str, Any]] = json.loads(
        run("suppressions", "list", *arguments, "--json").stdout
    )
    return found


def actions(conn: Connection) -> list[tuple[Any, ...]]:
    """Return the audit trail: action and subject, oldest first."""
    return conn.execute(
        "SELECT action, subject, reason FROM operator_actions ORDER BY action_id"
    ).fetchall()


@pytest.mark.usefixtures("here")
def test_an_address_is_listed_in_whatever_form_it_is_written(run: Run, conn: Connection) -> None:
    """The list knows canonical addresses; so do its questions."""
    added = run("suppressions", "add", "Bob <BOB@Bücher.example>", "eve@example.com", *WHY)

    assert (added.exit_code, added.stdout) == (0, "2 put on the list\n")
    (bob,) = listed(run, "bob@xn--bcher-kva.EXAMPLE")
    assert (bob["canonical"], bob["scope"]) == ("bob@xn--bcher-kva.example", "*")
    assert len(actions(conn)) == 2
    assert "they asked for it" in run("suppressions", "list").stdout
    assert (
        run("suppressions", "list", "x@example.com").stdout == "x@example.com is not on the list\n"
    )


@pytest.mark.usefixtures("here")
def test_removing_needs_the_scope_in_which_an_address_stands(run: Run) -> None:
    """Exit code 1 says that nothing was there, and how to find where it is."""
    run("suppressions", "add", "bob@example.com", "--scope", "newsletter", *WHY)

    missed = run("suppressions", "remove", "bob@example.com", "--yes", *WHY)
    removed = run(
        "suppressions", "remove", "bob@example.com", "--scope", "newsletter", "--yes", *WHY
    )

    assert missed.exit_code == 1
    assert "`mailworkers suppressions list ADDRESS`" in missed.stderr
    assert (removed.exit_code, removed.stdout) == (0, "1 taken off the list\n")
    assert listed(run) == []


@pytest.mark.usefixtures("here")
def test_what_export_writes_import_reads_back(run: Run, tmp_path: Path, conn: Connection) -> None:
    """Address, scope, reason and end, all of them."""
    run("suppressions", "add", "bob@example.com", "--until", "2099-01-31T08:00:00Z", *WHY)
    run("suppressions", "add", "eve@example.com", "--scope", "newsletter", *WHY)
    before = listed(run)
    file = tmp_path / "list.csv"
    assert run("suppressions", "export", str(file)).exit_code == 0
    conn.execute("DELETE FROM suppressed_addresses")

    result = run("suppressions", "import", str(file), "--yes", "--reason", "moved here")

    assert (result.exit_code, result.stdout) == (0, "2 put on the list\n")
    kept = ("canonical", "scope", "reason", "expires_at")
    assert [[line[k] for k in kept] for line in listed(run)] == [
        [line[k] for k in kept] for line in before
    ]
    again = run("suppressions", "import", str(file), "--yes", *WHY)
    assert again.stdout == "0 put on the list, 2 were there\n"


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("address\nbob@example.com\nnobody\n", ":3: "),
        ("address,until\nbob@example.com,2099\n", "the first line names the columns"),
        ("address,expires_at\nbob@example.com,soon\n", ":2: 'soon' is not a time"),
        ("", "the first line names the columns"),
    ],
)
def test_an_import_with_one_bad_line_changes_nothing_and_names_it(
    run: Run, tmp_path: Path, content: str, complaint: str
) -> None:
    """File, line, reason."""
    file = tmp_path / "list.csv"
    file.write_text(content)

    result = run("suppressions", "import", str(file), "--yes", *WHY)

    assert result.exit_code == 1
    assert f"{file}{complaint}" in result.stderr or complaint in result.stderr
    assert listed(run) == []


@pytest.mark.usefixtures("here")
def test_a_pause_is_made_shown_and_ended(run: Run, redis_client: redis.Redis) -> None:
    """Ending it wakes the senders: what waited goes out at once."""
    made = run("pause", "--lane", "bulk", "--source", "newsletter", "--until", "+2h", *WHY)
    everything = run("pause", "--all", *WHY)
    shown = json.loads(run("pauses", "--json").stdout)

    assert "lane bulk of source newsletter waits until 2" in made.stdout
    assert "all mail waits until it is resumed" in everything.stdout
    assert [(p["lane"], p["source"]) for p in shown] == [("bulk", "newsletter"), (None, None)]
    assert "they asked for it" in run("pauses").stdout

    one = run("resume", str(shown[0]["pause_id"]), *WHY)
    rest = run("resume", "--all", *WHY)

    assert (one.exit_code, rest.exit_code) == (0, 0)
    assert "all mail goes out again" in rest.stdout
    assert run("pauses").stdout == "nothing is held back\n"
    assert redis_client.llen(SENDER_WAKE)


@pytest.mark.usefixtures("here")
def test_a_pause_that_is_not_there_is_1_and_an_unclear_order_is_2(run: Run) -> None:
    """Nothing is guessed: everything is held back only when asked for."""
    assert run("resume", "7", *WHY).exit_code == 1
    assert run("pause", *WHY).exit_code == 2
    assert run("pause", "--all", "--lane", "bulk", *WHY).exit_code == 2
    assert run("resume", *WHY).exit_code == 2
    assert run("pause", "--all").exit_code == 2


@pytest.mark.usefixtures("here")
def test_a_token_is_printed_once_and_can_be_revoked(run: Run, conn: Connection) -> None:
    """Only its text is on standard output, so that it can go straight into a file."""
    made = run("tokens", "create", "shop", "--scope", "intake", "--scope", "read", *WHY)
    text = made.stdout.strip()

    assert made.exit_code == 0
    assert text.startswith("mw_")
    assert text not in run("tokens", "list").stdout
    assert "intake, read" in run("tokens", "list").stdout
    assert run("tokens", "create", "shop", "--scope", "read", *WHY).exit_code == 1

    assert run("tokens", "revoke", "shop", *WHY, input=b"n\n").exit_code == 1
    assert run("tokens", "revoke", "shop", "--yes", *WHY).exit_code == 0
    assert run("tokens", "revoke", "shop", "--yes", *WHY).exit_code == 1
    assert [row.is_valid for row in list_tokens(conn)] == [False]
    assert [line[0] for line in actions(conn)] == ["create_token", "revoke_token"]


@pytest.mark.usefixtures("here")
def test_what_is_tried_dry_is_shown_and_not_done(
    run: Run, conn: Connection, tmp_path: Path
) -> None:
    """Each command that cannot be taken back; as text and as JSON, without asking."""
    run("suppressions", "add", "bob@example.com", *WHY)
    run("pause", "--lane", "bulk", *WHY)
    run("tokens", "create", "shop", "--scope", "read", *WHY)
    file = tmp_path / "list.csv"
    file.write_text("address\neve@example.com\n")
    done = actions(conn)
    delivery_id = str(put(conn, "queued"))

    for command in (
        ("suppressions", "remove", "bob@example.com"),
        ("suppressions", "import", str(file)),
        ("resume", "--all"),
        ("tokens", "revoke", "shop"),
        ("deliveries", "cancel", delivery_id),
        ("deliveries", "requeue", delivery_id),
        ("deliveries", "resend", delivery_id),
    ):
        shown = run(*command, "--dry-run", *WHY)
        as_json = run(*command, "--dry-run", "--json", *WHY)

        assert (shown.exit_code, as_json.exit_code) == (0, 0), shown.output
        assert shown.stdout, command
        assert json.loads(as_json.stdout), command
    assert actions(conn) == done


@pytest.mark.usefixtures("here")
def test_taking_an_address_off_asks_first(run: Run) -> None:
    """It may stand there because somebody complained: who and why is shown."""
    run("suppressions", "add", "bob@example.com", *WHY)

    refused = run("suppressions", "remove", "bob@example.com", *WHY, input=b"n\n")

    assert refused.exit_code == 1
    assert "bob@example.com: they asked for it, by cli:" in refused.stderr
    assert len(listed(run)) == 1
