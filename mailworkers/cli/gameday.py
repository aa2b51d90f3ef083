"""`mailworkers gameday`: what goes wrong in production, done on purpose and judged."""

import shutil
import sys
from typing import Any

import click

from mailworkers.cli.gameday_drills import drill_commands, run_all
from mailworkers.cli.gameday_options import keep_report, run_options, seed_of
from mailworkers.cli.output import json_option, print_json
from mailworkers.cli.server_option import servers_option
from mailworkers.cli.tables import print_table
from mailworkers.gameday.drills.catalog import DRILLS


@click.group()
def gameday() -> None:
    """Break things on purpose and judge what became of the mail.

    Stores, relay and roles are started here and removed at the end, whatever MAIL_* or DATABASE_URL
    say. The verdict is read from ledgers and tables by code that shares nothing with the service.
    A drill lets one thing go wrong and looks at the alarms, too; chaos, duplicates and restarts do
    many at once.
    """


@gameday.group()
def run() -> None:
    """Do one game day; the exit code is 0 only when nothing was violated."""


@gameday.command("list")
@servers_option
@json_option
def list_(*, servers: str, as_json: bool) -> None:
    """Show every game day, and whether it can be done on this machine."""
    from mailworkers.gameday.drills.needs import has_prometheus, lacks, lacks_stores

    missing = {drill.name: "; ".join(lacks(drill, servers)) for drill in DRILLS}
    stores = lacks_stores(servers)
    rows = [
        (name, missing.get(name, stores) or "yes", day.get_short_help_str(limit=200))
        for name, day in sorted(run.commands.items())
    ]
    if as_json:
        print_json(
            [{"name": n, "can_run": can == "yes", "here": can, "does": d} for n, can, d in rows]
        )
        return
    print_table(("name", "here", "does"), rows, whole=("name",), wrapped=("here", "does"))
    if not has_prometheus():
        click.echo(
            "There is no Prometheus here (apt-get install prometheus): the rules of the alarms are "
            "not tried, only the conditions behind them."
        )


@run.command()
@click.option("--messages", type=click.IntRange(1), default=6000, show_default=True)
@click.option(
    "--kills",
    type=click.IntRange(0),
    default=40,
    show_default=True,
    help="SIGKILLs of roles; other faults in proportion. 0: no fault at all.",
)
@click.option("--seconds", type=float, help="Length of the load.  [default: by the two above]")
@click.option(
    "--short-lived", is_flag=True, help="Let retention delete what is a minute old meanwhile."
)
@run_options
def chaos(*, messages: int, kills: int, seconds: float | None, **shared: Any) -> None:
    """Kill, freeze, cut and empty everything at random while mail flows; nothing may be lost."""
    from mailworkers.gameday.chaos import chaos as scenario
    from mailworkers.gameday.chaos import natural_seconds
    from mailworkers.gameday.report import tell
    from mailworkers.gameday.running import Run

    asked = Run(
        messages=messages,
        kills=kills,
        terms=kills // 5,
        seed=seed_of(shared),
        seconds=seconds or natural_seconds(messages, kills),
        senders=shared["senders"],
        servers=shared["servers"],
        is_short_lived=shared["short_lived"],
    )
    _do(asked, scenario, tell, shared)


@run.command()
@click.option("--messages", type=click.IntRange(1), default=20_000, show_default=True)
@click.option(
    "--restarts",
    "terms",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="SIGTERMs of single roles at work.",
)
@click.option("--seconds", type=float, help="Length of the load.  [default: by the two above]")
@run_options
def restarts(*, messages: int, terms: int, seconds: float | None, **shared: Any) -> None:
    """Restart single roles at random while mail flows; nothing may be lost, doubled or in doubt."""
    from mailworkers.gameday.report import tell
    from mailworkers.gameday.restarts import natural_seconds
    from mailworkers.gameday.restarts import restarts as scenario
    from mailworkers.gameday.running import Run

    asked = Run(
        messages=messages,
        kills=0,
        terms=terms,
        seed=seed_of(shared),
        seconds=seconds or natural_seconds(messages, terms),
        senders=shared["senders"],
        servers=shared["servers"],
    )
    _do(asked, scenario, tell, shared)


@run.command()
@click.option("--keys", type=click.IntRange(1), default=10_000, show_default=True)
@click.option("--copies", type=click.IntRange(2, 1000), default=64, show_default=True)
@run_options
def duplicates(*, keys: int, copies: int, **shared: Any) -> None:
    """Send each key many times at once, by stream and HTTP, over a restart of Redis."""
    from mailworkers.gameday.duplicates import Duplicates
    from mailworkers.gameday.duplicates import duplicates as scenario
    from mailworkers.gameday.report import tell_duplicates

    asked = Duplicates(keys, copies, seed_of(shared), shared["senders"], shared["servers"])
    _do(asked, scenario, tell_duplicates, shared)


for _command in (*drill_commands(), run_all):
    run.add_command(_command)


def _do(asked: Any, scenario: Any, tell: Any, shared: dict[str, Any]) -> None:
    """Run *scenario* in a directory of its own, show the report, exit 1 when it is not good."""
    from mailworkers.bench.progress import Progress
    from mailworkers.gameday.running import new_directory

    directory = new_directory()
    progress = Progress()
    progress.say(f"{asked} in {directory}")
    verdict, report = scenario(asked, directory, progress)
    if shared["as_json"]:
        print_json(report)
    else:
        click.echo(tell(report))
    keep_report(report, shared)
    if verdict.is_good and not shared["keep"]:
        shutil.rmtree(directory, ignore_errors=True)
    elif not verdict.is_good:
        click.echo(f"mailworkers: not good; everything is kept in {directory}", err=True)
        sys.exit(1)
