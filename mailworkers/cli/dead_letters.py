"""`mailworkers dead-letters`: what could not be sent, for somebody to look after."""

from typing import TYPE_CHECKING, Any, NoReturn

import click

from mailworkers.cli.acting import LONGEST_REASON
from mailworkers.cli.letter_options import filter_of, wanted_options
from mailworkers.cli.output import (
    first_of,
    json_option,
    local_time,
    print_facts,
    print_json,
    short_time,
)
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.replaying import cancel_replay, replay, replays, watch
from mailworkers.cli.tables import print_table

if TYPE_CHECKING:
    from mailworkers.adapters.store.dead_letters import DeadLetter

_HINDRANCES = {
    "auth": "auth mail is not sent again",
    "content_deleted": "its content was deleted",
    "expired": "past its time: needs --expires-at",
}


@click.group()
def dead_letters() -> None:
    """See what could not be sent, note what was done about it, send it again."""


for command in (replay, replays, watch, cancel_replay):
    dead_letters.add_command(command)


@dead_letters.command("list")
@wanted_options
@click.option("--resolved/--unresolved", "is_resolved", default=None, help="Without: both.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@api_option
@json_option
def list_(*, limit: int, as_json: bool, **options: Any) -> None:
    """Find dead letters, newest first."""
    with operations("dead-letters list") as reached:
        found = reached.list_dead_letters(filter_of(**options), limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("number", "ended", "cause", "lane", "source", "to", "reason", "seen to")
        spare = ("seen to", "source", "lane", "cause")
        print_table(columns, map(_row, found), whole=("number",), spare=spare)
    else:
        click.echo("nothing found")


def _row(found: "DeadLetter") -> tuple[object, ...]:
    return (
        found.dead_letter_id,
        short_time(found.created_at),
        found.cause,
        found.lane,
        found.source,
        first_of(found.recipients),
        found.reason,
        found.resolved_by,
    )


@dead_letters.command()
@click.argument("number", type=click.IntRange(1))
@api_option
@json_option
def show(*, number: int, as_json: bool) -> None:
    """Show one dead letter, also one whose delivery was sent again since."""
    with operations("dead-letters show") as reached:
        found = reached.find_dead_letter(number) or _unknown(number)
    if as_json:
        print_json(found)
        return
    hindrance = found.hindrance and _HINDRANCES[found.hindrance]
    resolved = f"{local_time(found.resolved_at)} by {found.resolved_by}: {found.note}"
    print_facts(
        [
            ("dead letter", found.dead_letter_id),
            ("delivery", f"{found.delivery_id}, {found.status} now"),
            ("cause", f"{found.cause}: {found.reason}"),
            ("ended", f"{local_time(found.created_at)}, attempt {found.attempt_no}"),
            ("source", f"{found.source}, lane {found.lane}"),
            ("template", found.template_id),
            ("to", found.recipients),
            ("expires", local_time(found.expires_at)),
            ("seen to", resolved if found.resolved_at else None),
            ("sent again", local_time(found.closed_at)),
            ("by replay", found.replay_id),
            ("not again", hindrance if found.closed_at is None else None),
        ]
    )
    click.echo(f"next: mailworkers deliveries timeline {found.delivery_id}")


@dead_letters.command()
@click.argument("numbers", nargs=-1, required=True, type=click.IntRange(1), metavar="NUMBER...")
@click.option("--note", required=True, metavar="TEXT", help="What was done; stands in the trail.")
@api_option
@json_option
def resolve(*, numbers: tuple[int, ...], note: str, as_json: bool) -> None:
    """Note that dead letters were seen to; their deliveries stay as they ended.

    Those resolved before keep their note. Exit code 1 when a number is no dead letter any more.
    """
    if not 0 < len(note) <= LONGEST_REASON or not note.isprintable():
        raise click.UsageError(f"--note: write one line of 1 to {LONGEST_REASON} characters")
    with operations("dead-letters resolve") as reached:
        done = {number: reached.resolve_dead_letter(number, note) for number in numbers}
    resolved = [found for found in done.values() if found is not None]
    if as_json:
        print_json(resolved)
    else:
        for found in resolved:
            click.echo(f"{found.dead_letter_id} resolved by {found.resolved_by}: {found.note}")
    if missing := [number for number, found in done.items() if found is None]:
        raise click.ClickException(
            f"no dead letter, or none any more: {', '.join(map(str, missing))}; "
            "`mailworkers dead-letters list` shows them"
        )


def _unknown(number: int) -> NoReturn:
    raise click.ClickException(
        f"there is no dead letter {number}; `mailworkers dead-letters list` shows them"
    )
