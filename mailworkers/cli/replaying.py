"""`mailworkers dead-letters replay` and its kin: sending many again, watching that, stopping it."""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import click

from mailworkers.cli.acting import dry_options, reason_option, yes_option
from mailworkers.cli.composing import parse_when
from mailworkers.cli.letter_options import filter_of, wanted_options
from mailworkers.cli.output import json_option, print_json, short_time
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.tables import print_table
from mailworkers.core.states import Status

if TYPE_CHECKING:
    from mailworkers.adapters.store.replays import Replay, ReplayPlan
    from mailworkers.cli.operations import Operations

_LOOK_EVERY = 0.5  # seconds
_PATIENCE = 15.0  # seconds without any progress, after which we say where to look
_FASTEST = 1000.0
_wait_option = click.option(
    "--wait/--no-wait",
    "is_watched",
    default=None,
    help="Show how it goes until all are sent on; by default on a terminal.",
)


@click.command()
@click.argument("numbers", nargs=-1, type=click.IntRange(1), metavar="[NUMBER]...")
@wanted_options
@click.option("--resolved/--unresolved", "is_resolved", default=False, show_default=True)
@click.option(
    "--rate",
    type=click.FloatRange(0.001, _FASTEST),
    default=10.0,
    show_default=True,
    help="How many a second.",
)
@click.option("--expires-at", metavar="WHEN", help="Instead of their own end; +2h, or a time.")
@dry_options
@yes_option
@_wait_option
@api_option
@json_option
def replay(
    *,
    numbers: tuple[int, ...],
    rate: float,
    expires_at: str | None,
    is_dry: bool,
    reason: str,
    is_sure: bool,
    is_watched: bool | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Send dead letters again: those of these numbers, or all that the options mean.

    They are spread over time at the rate; a scheduler does it, whatever becomes of this command.
    Auth mail, mail whose content was deleted and mail past its time are left (exit code 1 when that
    is all of them).
    """
    wanted = filter_of(numbers=numbers, **options)
    until = parse_when(expires_at, datetime.now(UTC)) if expires_at else None
    with operations("dead-letters replay") as reached:
        plan = reached.plan_replay(wanted, rate, until, reason)
        if is_dry and as_json:
            print_json({"replay_id": None, "plan": plan})
        elif is_dry or not is_sure:
            _print_plan(plan, rate)
        if is_dry:
            return
        if not plan.replayable:
            raise click.ClickException("nothing was changed: none of them can be sent again")
        if not is_sure:
            click.confirm(f"send {plan.replayable} again?", abort=True, err=True)
        ordered = reached.order_replay(wanted, rate, until, reason)
        if ordered is None:
            raise click.ClickException("nothing was changed: none can be sent again any more")
        _follow(reached, ordered, is_watched=is_watched, as_json=as_json)


def _print_plan(plan: "ReplayPlan", rate: float) -> None:
    """Show on standard error what a replay would do, for somebody to decide by."""
    for found in plan.counts:
        left = f": left, {found.hindrance}" if found.hindrance else ""
        click.echo(f"{found.count:>8}  {found.cause}, lane {found.lane}{left}", err=True)
    click.echo(
        f"{plan.replayable} of {plan.matched} can be sent again; at {rate:g} a second that takes "
        f"{timedelta(seconds=round(plan.duration_seconds))}",
        err=True,
    )


@click.command()
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@api_option
@json_option
def replays(*, limit: int, as_json: bool) -> None:
    """Show the replays that were ordered, newest first."""
    with operations("dead-letters replays") as reached:
        found = reached.list_replays(limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("replay", "ordered", "by", "status", "rate", "meant", "requeued", "left", "back")
        print_table(columns, map(_row, found), spare=("by", "rate"))
    else:
        click.echo("no replay was ordered")


def _row(found: "Replay") -> tuple[object, ...]:
    return (
        found.replay_id,
        short_time(found.created_at),
        found.actor,
        found.status,
        f"{found.rate:g}/s",
        found.matched,
        found.requeued,
        found.skipped,
        found.returned,
    )


@click.command()
@click.argument("replay_id", type=click.IntRange(1))
@api_option
@json_option
def watch(*, replay_id: int, as_json: bool) -> None:
    """Show how one replay goes, until all of it is sent on; with --json, how it stands now."""
    with operations("dead-letters watch") as reached:
        found = _find(reached, replay_id)
        _follow(reached, found, is_watched=not as_json, as_json=as_json)


@click.command("cancel-replay")
@click.argument("replay_id", type=click.IntRange(1))
@reason_option
@yes_option
@api_option
@json_option
def cancel_replay(*, replay_id: int, reason: str, is_sure: bool, as_json: bool) -> None:
    """Stop a replay: what it left scheduled is put back as it was, what has gone on is not."""
    with operations("dead-letters cancel-replay") as reached:
        found = _find(reached, replay_id)
        if not is_sure:
            waiting = found.outcomes.get(Status.SCHEDULED, 0)
            click.confirm(f"put {waiting} back that are scheduled still?", abort=True, err=True)
        stopped = reached.cancel_replay(replay_id, reason) or _unknown(replay_id)
    if as_json:
        print_json(stopped)
    else:
        click.echo(f"replay {replay_id} is being stopped: a scheduler puts the rest back")


def _find(reached: "Operations", replay_id: int) -> "Replay":
    return reached.find_replay(replay_id) or _unknown(replay_id)


def _unknown(replay_id: int) -> NoReturn:
    raise click.ClickException(
        f"there is no replay {replay_id}; `mailworkers dead-letters replays` shows them"
    )


def _follow(
    reached: "Operations", found: "Replay", *, is_watched: bool | None, as_json: bool
) -> None:
    """Watch a replay where that is wanted, and say how it stands."""
    if is_watched or (is_watched is None and sys.stderr.isatty()):
        found = _watch(reached, found)
    if as_json:
        print_json(found)
        return
    click.echo(f"replay {found.replay_id} is {found.status}: {_summary(found)}")
    if _is_going(found):
        click.echo(f"next: mailworkers dead-letters watch {found.replay_id}")


def _summary(found: "Replay") -> str:
    """Return in words how far a replay is."""
    outcomes = [f"{count} {status}" for status, count in sorted(found.outcomes.items())]
    left = [f"{found.skipped} left"] if found.skipped else []
    back = [f"{found.returned} put back"] if found.returned else []
    return ", ".join((f"{found.matched} meant", *outcomes, *left, *back))


def _watch(reached: "Operations", found: "Replay") -> "Replay":
    """Show a bar on standard error until nothing of *found* is to come; return how it stands then.

    Ctrl-C ends the watching, not the replay.
    """
    done, since = 0, time.monotonic()
    bar = click.progressbar(length=max(1, found.matched), label="sent on", file=sys.stderr)
    with bar:
        while _is_going(found):
            now = found.matched - _to_come(found)
            bar.update(now - done)
            if now != done:
                done, since = now, time.monotonic()
            elif time.monotonic() - since > max(_PATIENCE, 2 / found.rate):
                click.echo("\nno progress: `mailworkers status` shows who is alive", err=True)
                since = time.monotonic()
            time.sleep(_LOOK_EVERY)
            found = _find(reached, found.replay_id)
        bar.update(max(0, found.matched - done))
    return found


def _to_come(found: "Replay") -> int:
    """Return how many of a replay have not been sent on yet."""
    seen = found.requeued + found.skipped
    return max(0, found.matched - seen) + found.outcomes.get(Status.SCHEDULED, 0)


def _is_going(found: "Replay") -> bool:
    if found.status in ("requeueing", "cancelling"):
        return True
    return found.status == "requeued" and found.outcomes.get(Status.SCHEDULED, 0) > 0
