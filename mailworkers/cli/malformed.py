"""`mailworkers malformed`: entries of the stream that were refused, and their second chance."""

import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import click

from mailworkers.cli.acting import (
    actor,
    connected,
    reason_option,
    wake_scheduler,
    wake_senders,
    yes_option,
)
from mailworkers.cli.composing import parse_when
from mailworkers.cli.output import json_option, local_time, print_facts, print_json, print_table
from mailworkers.core.refusals import FailureCode
from mailworkers.core.states import READY, Status

if TYPE_CHECKING:
    from mailworkers.adapters.db import Connection
    from mailworkers.adapters.reinjection import Reinjection
    from mailworkers.adapters.store.malformed import MalformedCommand
    from mailworkers.adapters.store.reads import NumberedPosition


@click.group()
def malformed() -> None:
    """See the entries of the stream that were refused, and have one judged again."""


@malformed.command("list")
@click.option("--code", "codes", multiple=True, type=click.Choice([str(c) for c in FailureCode]))
@click.option("--source", "sources", multiple=True, metavar="NAME")
@click.option("--replayed/--unreplayed", "is_replayed", default=None, help="Without: both.")
@click.option("--since", metavar="WHEN", help="Refused then or later: -2h, or a time.")
@click.option("--until", metavar="WHEN", help="Refused before then.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_(
    *,
    codes: tuple[str, ...],
    sources: tuple[str, ...],
    is_replayed: bool | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Find refused entries, newest first."""
    from mailworkers.adapters.store.malformed import MalformedFilter, list_malformed

    now = datetime.now(UTC)
    wanted = MalformedFilter(
        failure_codes=tuple(map(FailureCode, codes)),
        sources=sources,
        is_replayed=is_replayed,
        received_from=parse_when(since, now) if since else None,
        received_to=parse_when(until, now) if until else None,
    )
    found: list[MalformedCommand] = []
    with connected("malformed list") as conn:
        before: NumberedPosition | None = None
        while len(found) < limit:
            page = list_malformed(conn, wanted, before=before, limit=limit - len(found))
            found += page.items
            before = page.next
            if before is None:
                break
    if as_json:
        print_json(found)
    elif found:
        columns = ("number", "refused", "code", "source", "detail", "became")
        print_table(columns, map(_row, found))
    else:
        click.echo("nothing found")


def _row(found: "MalformedCommand") -> tuple[object, ...]:
    return (
        found.malformed_id,
        local_time(found.received_at),
        found.failure_code,
        found.source,
        found.detail,
        found.replayed_as,
    )


@malformed.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--content", "has_content", is_flag=True, help="What stood in it, too.")
@json_option
def show(*, number: int, has_content: bool, as_json: bool) -> None:
    """Show why one entry was refused.

    Looking at the content of auth mail stands in the audit trail.
    """
    from mailworkers.adapters.store.malformed import find_malformed

    with connected("malformed show") as conn:
        found = find_malformed(conn, number) or _unknown(number)
        fields = _content(conn, number) if has_content else None
    if as_json:
        print_json({"command": found, "fields": fields})
        return
    became = f"{found.replayed_as}, {local_time(found.replayed_at)}" if found.replayed_as else None
    whole = "" if found.is_complete else ", more than is kept: it cannot be replayed"
    print_facts(
        [
            ("refused entry", found.malformed_id),
            ("code", found.failure_code),
            ("detail", found.detail),
            ("refused", local_time(found.received_at)),
            ("stream", f"{found.stream}, entry {found.stream_entry_id}"),
            ("source", found.source),
            ("delivery", found.delivery_id),
            ("size", f"{found.raw_size} bytes{whole}"),
            ("became", became),
            *(fields or {}).items(),
        ]
    )


def _content(conn: "Connection", number: int) -> dict[str, str] | None:
    """Return the fields of an entry as text; who looks at a secret is recorded."""
    from mailworkers.adapters.reinjection import is_secret
    from mailworkers.adapters.settings import load
    from mailworkers.adapters.store.malformed import read_entry
    from mailworkers.adapters.store.operator_actions import record_action

    fields = read_entry(conn, number)
    if fields is None:
        return None
    if is_secret(fields, load(os.environ).sources):
        subject = f"malformed command {number}"
        record_action(conn, actor=actor(), action="read_content", subject=subject)
    return {n.decode("utf-8", "replace"): v.decode("utf-8", "replace") for n, v in fields.items()}


@malformed.command()
@click.argument("number", type=click.IntRange(1))
@reason_option
@yes_option
@json_option
def replay(*, number: int, reason: str, is_sure: bool, as_json: bool) -> None:
    """Judge one refused entry again, and accept it if nothing speaks against it any more.

    Replaying it twice sends it once. Exit code 1 when it is refused again, was too large to be
    kept, or is of auth mail.
    """
    from mailworkers.adapters.store.malformed import find_malformed

    if not is_sure:
        with connected("malformed replay") as conn:
            found = find_malformed(conn, number) or _unknown(number)
        click.echo(f"{found.failure_code}: {found.detail}", err=True)
        click.confirm("have it judged again?", abort=True, err=True)
    with connected("malformed replay") as conn:
        done = _reinject(conn, number, reason) or _unknown(number)
    if done.status in READY:
        wake_senders()
    elif done.status == Status.SCHEDULED:
        wake_scheduler()
    if as_json:
        why = done.obstacle or (done.refusal and done.refusal.code)
        outcome = ("accepted" if done.status else "repeated") if done.delivery_id else None
        print_json(
            {
                "malformed_id": number,
                "delivery_id": done.delivery_id,
                "outcome": outcome,
                "reason": why and str(why),
            }
        )
    if done.delivery_id is None:
        raise click.ClickException(f"nothing was changed: {_why_not(done)}")
    if not as_json:
        before = "" if done.status else ", as it was before"
        click.echo(f"{number} is delivery {done.delivery_id}{before}")


def _reinject(conn: "Connection", number: int, reason: str) -> "Reinjection | None":
    from mailworkers.adapters.reinjection import reinject
    from mailworkers.adapters.settings import load
    from mailworkers.cli.taking_in import count_accepted, intake_of

    settings = load(os.environ)
    intake = intake_of(conn, settings)
    done = reinject(conn, intake, settings.sources, number, actor=actor(), reason=reason)
    if done is not None and done.status:
        count_accepted(settings, done.source, done.status)
    return done


def _why_not(done: "Reinjection") -> str:
    if done.obstacle is not None:
        return done.obstacle.words
    return f"{done.refusal.code}: {done.refusal.detail}" if done.refusal else ""


def _unknown(number: int) -> NoReturn:
    raise click.ClickException(
        f"there is no refused entry {number}; `mailworkers malformed list` shows them"
    )
