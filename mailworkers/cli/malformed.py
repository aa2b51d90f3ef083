"""`mailworkers malformed`: entries of the stream that were refused, and their second chance."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn

import click

from mailworkers.cli.acting import dry_options, yes_option
from mailworkers.cli.completion import complete_source
from mailworkers.cli.composing import parse_when
from mailworkers.cli.output import (
    json_option,
    local_time,
    print_facts,
    print_json,
    printable,
    short_time,
)
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.tables import print_table
from mailworkers.core.refusals import FailureCode

if TYPE_CHECKING:
    from mailworkers.adapters.store.malformed import MalformedCommand


@click.group()
def malformed() -> None:
    """See the entries of the stream that were refused, and have one judged again."""


@malformed.command("list")
@click.option("--code", "codes", multiple=True, type=click.Choice([str(c) for c in FailureCode]))
@click.option("--source", "sources", multiple=True, metavar="NAME", shell_complete=complete_source)
@click.option("--replayed/--unreplayed", "is_replayed", default=None, help="Without: both.")
@click.option("--since", metavar="WHEN", help="Refused then or later: -2h, or a time.")
@click.option("--until", metavar="WHEN", help="Refused before then.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@api_option
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
    from mailworkers.adapters.store.malformed import MalformedFilter

    now = datetime.now(UTC)
    wanted = MalformedFilter(
        failure_codes=tuple(map(FailureCode, codes)),
        sources=sources,
        is_replayed=is_replayed,
        received_from=parse_when(since, now) if since else None,
        received_to=parse_when(until, now) if until else None,
    )
    with operations("malformed list") as reached:
        found = reached.list_malformed(wanted, limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("number", "refused", "code", "source", "detail", "became")
        whole, spare = ("number", "code"), ("became", "source")
        print_table(columns, map(_row, found), whole=whole, spare=spare)
    else:
        click.echo("nothing found")


def _row(found: "MalformedCommand") -> tuple[object, ...]:
    return (
        found.malformed_id,
        short_time(found.received_at),
        found.failure_code,
        found.source,
        found.detail,
        found.replayed_as,
    )


@malformed.command()
@click.argument("number", type=click.IntRange(1))
@click.option("--content", "has_content", is_flag=True, help="What stood in it, too.")
@api_option
@json_option
def show(*, number: int, has_content: bool, as_json: bool) -> None:
    """Show why one entry was refused.

    Looking at the content of auth mail stands in the audit trail.
    """
    with operations("malformed show") as reached:
        found = reached.find_malformed(number) or _unknown(number)
        fields = reached.read_malformed(number) if has_content else None
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


@malformed.command()
@click.argument("number", type=click.IntRange(1))
@dry_options
@yes_option
@api_option
@json_option
def replay(*, number: int, reason: str, is_dry: bool, is_sure: bool, as_json: bool) -> None:
    """Judge one refused entry again, and accept it if nothing speaks against it any more.

    Replaying it twice sends it once. Exit code 1 when it is refused again, was too large to be
    kept, or is of auth mail.
    """
    with operations("malformed replay") as reached:
        if not is_sure and not is_dry:
            found = reached.find_malformed(number) or _unknown(number)
            click.echo(f"{found.failure_code}: {printable(found.detail)}", err=True)
            click.confirm("have it judged again?", abort=True, err=True)
        done = reached.replay_malformed(number, reason, is_dry=is_dry) or _unknown(number)
    if as_json:
        outcome = ("accepted" if done.is_new else "repeated") if done.delivery_id else None
        print_json(
            {
                "malformed_id": number,
                "delivery_id": done.delivery_id,
                "outcome": outcome,
                "reason": done.reason,
                "dry_run": is_dry,
            }
        )
    if done.delivery_id is None:
        raise click.ClickException(f"nothing was changed: {done.words}")
    if not as_json:
        before = "" if done.is_new else ", as it was before"
        verb = "would be" if is_dry and done.is_new else "is"
        click.echo(f"{number} {verb} delivery {done.delivery_id}{before}")


def _unknown(number: int) -> NoReturn:
    raise click.ClickException(
        f"there is no refused entry {number}; `mailworkers malformed list` shows them"
    )
