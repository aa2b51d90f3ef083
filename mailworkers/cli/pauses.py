"""`mailworkers pause`, `resume`, `pauses`: holding mail back without stopping anything."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from mailworkers.cli.acting import dry_options, reason_option
from mailworkers.cli.completion import complete_source
from mailworkers.cli.composing import parse_when
from mailworkers.cli.output import json_option, local_time, print_json, short_time
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.tables import print_table
from mailworkers.core.states import Lane

if TYPE_CHECKING:
    from mailworkers.adapters.store.pauses import Pause

_LANES = {lane.label: lane for lane in Lane}


@click.command()
@click.option("--lane", type=click.Choice(list(_LANES)), help="Mail of this lane only.")
@click.option(
    "--source", metavar="NAME", shell_complete=complete_source, help="Mail of this source only."
)
@click.option("--all", "is_all", is_flag=True, help="All mail.")
@click.option("--until", metavar="WHEN", help="2027-01-31T08:00:00Z, or +2h from now.")
@reason_option
@api_option
@json_option
def pause(
    *,
    lane: str | None,
    source: str | None,
    is_all: bool,
    until: str | None,
    reason: str,
    as_json: bool,
) -> None:
    """Hold mail back: a lane, a source, both together, or everything.

    Mail is accepted as before and waits; what a sender has in hand still goes out. `resume` ends a
    pause, or its time does.
    """
    if is_all == bool(lane or source):
        raise click.UsageError("say what to hold back: --lane, --source or both, or --all")
    ends_at = parse_when(until, datetime.now(UTC)) if until else None
    with operations("pause") as reached:
        made = reached.add_pause(_LANES[lane] if lane else None, source, ends_at, reason)
    if as_json:
        print_json(made)
    else:
        end = f"until {local_time(made.ends_at)}" if made.ends_at else "until it is resumed"
        click.echo(f"pause {made.pause_id}: {_what(made)} waits {end}")


@click.command()
@click.argument("pause_ids", nargs=-1, type=int, metavar="[PAUSE_ID]...")
@click.option("--all", "is_all", is_flag=True, help="End every pause.")
@dry_options
@api_option
@json_option
def resume(
    *, pause_ids: tuple[int, ...], is_all: bool, reason: str, is_dry: bool, as_json: bool
) -> None:
    """End pauses by their numbers, or all of them; what waited goes out at once.

    `mailworkers pauses` shows the numbers. Exit code 1 when a number is none of them.
    """
    if is_all == bool(pause_ids):
        raise click.UsageError("say which: the numbers that `mailworkers pauses` shows, or --all")
    with operations("resume") as reached:
        held = reached.list_pauses() if is_all or is_dry else []
        numbers = [it.pause_id for it in held] if is_all else list(pause_ids)
        if is_dry:
            _tell_dry([found for found in held if found.pause_id in numbers], as_json=as_json)
            return
        ended = {number: reached.remove_pause(number, reason) for number in numbers}
    gone = [found for found in ended.values() if found is not None]
    if as_json:
        print_json({"ended": gone})
    else:
        for found in gone:
            click.echo(f"pause {found.pause_id} ended: {_what(found)} goes out again")
    missing = [number for number, found in ended.items() if found is None]
    if missing:
        raise click.ClickException(
            f"there is no pause {', '.join(map(str, missing))}; `mailworkers pauses` shows them all"
        )


def _tell_dry(ending: "list[Pause]", *, as_json: bool) -> None:
    if as_json:
        print_json({"would_end": ending})
        return
    for found in ending:
        click.echo(f"pause {found.pause_id} would end: {_what(found)}")


@click.command()
@api_option
@json_option
def pauses(*, as_json: bool) -> None:
    """Show what is held back now, since when, by whom, why and until when."""
    with operations("pauses") as reached:
        found = reached.list_pauses()
    if as_json:
        print_json(found)
    elif found:
        columns = ("pause", "holds back", "since", "until", "by", "reason")
        print_table(columns, map(_row, found), spare=("by",), wrapped=("reason",))
    else:
        click.echo("nothing is held back")


def _row(found: "Pause") -> tuple[object, ...]:
    since, until = short_time(found.created_at), short_time(found.ends_at)
    return found.pause_id, _what(found), since, until, found.created_by, found.reason


def _what(found: "Pause") -> str:
    """Return in words what a pause holds back."""
    if found.lane is None and found.source is None:
        return "all mail"
    lane = f"lane {found.lane}" if found.lane else ""
    source = f"source {found.source}" if found.source else ""
    return " of ".join(part for part in (lane, source) if part)
