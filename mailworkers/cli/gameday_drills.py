"""The drills of `mailworkers gameday run`: one command each, and `all`."""

import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mailworkers.cli.gameday_options import drill_options, keep_report, seed_of
from mailworkers.cli.main import Failure
from mailworkers.cli.output import print_json
from mailworkers.gameday.drills.catalog import DRILLS, Drill

if TYPE_CHECKING:
    from mailworkers.gameday.drills.session import Session

Command = TypeVar("Command", bound=Callable[..., Any])
Report = dict[str, Any]

ON_AN_INSTALLATION = "role-deaths"
_SHORTEST = 10  # seconds
_MARGIN = 1200  # seconds beside the load until a drill is given up


def drill_commands() -> Iterator[click.Command]:
    """Yield the command of each drill."""
    for drill in DRILLS:
        yield _here_command(drill) if drill.name == ON_AN_INSTALLATION else _command(drill)


def _seconds_option(drill: Drill) -> Callable[[Command], Command]:
    return click.option(
        "--seconds",
        type=click.IntRange(_SHORTEST, 86_400),
        default=drill.seconds,
        show_default=True,
        help="How long it lasts.",
    )


def _command(drill: Drill) -> click.Command:
    @click.command(drill.name, help=f"{drill.does}\n\n{drill.why}")
    @_seconds_option(drill)
    @drill_options
    def run_drill(**shared: Any) -> None:
        _run_alone(drill, shared)

    return run_drill


def _here_command(drill: Drill) -> click.Command:
    """Return the command of the drill that can be done to an installation, too."""

    @click.command(drill.name, help=f"{drill.does}\n\n{drill.why}")
    @_seconds_option(drill)
    @click.option(
        "--here",
        "is_here",
        is_flag=True,
        help="In the installation that the environment describes, without any load of ours; what "
        "looks like production has to be confirmed by typing a phrase.",
    )
    @drill_options
    def run_drill(*, is_here: bool, **shared: Any) -> None:
        if is_here:
            _run_here(shared)
        else:
            _run_alone(drill, shared)

    return run_drill


@click.command("all")
@click.option(
    "--seconds",
    type=click.IntRange(_SHORTEST, 86_400),
    help="How long each lasts.  [default: its own]",
)
@click.option(
    "--skip",
    multiple=True,
    type=click.Choice([drill.name for drill in DRILLS]),
    help="Leave this one out; may be repeated.",
)
@drill_options
def run_all(*, skip: tuple[str, ...], seconds: int | None, **shared: Any) -> None:
    """Do every drill, one after the other, and show a table in the end.

    One that cannot be done here counts as not good, unless it is left out by --skip.
    """
    from mailworkers.gameday.drills.report import failed, overview

    rows, reports = [], []
    with _session(shared) as session:
        for drill in (drill for drill in DRILLS if drill.name not in skip):
            asked = {**shared, "seconds": max(drill.least, seconds or drill.seconds)}
            report, reason = _try(drill, asked, session)
            reports.append(report or {"drill": drill.name, "is_good": False, "reason": reason})
            verdict = "GOOD" if report and report["is_good"] else "NOT GOOD"
            rows.append(
                (drill.name, verdict if report else "NOT RUN", reason or failed(report or {}))
            )
        session.tell(overview(rows))
    _show({"is_good": all(r["is_good"] for r in reports), "drills": reports}, shared)


def _try(drill: Drill, shared: Report, session: "Session") -> tuple[Report | None, str]:
    """Return the report of *drill*; None and the reason where it could not be done."""
    from mailworkers.core.errors import MailworkersError

    try:
        return _play(drill, shared, session), ""
    except MailworkersError as error:
        session.say(str(error))
        return None, str(error).split("\n", 1)[0]


def _run_alone(drill: Drill, shared: Report) -> None:
    with _session(shared) as session:
        report = _play(drill, shared, session)
    _show(report, shared)


def _run_here(shared: Report) -> None:
    from mailworkers.adapters.settings import load
    from mailworkers.gameday.drills.guard import doubt_of
    from mailworkers.gameday.drills.here import play_here
    from mailworkers.gameday.drills.report import summary

    settings = load(os.environ)
    if doubt := doubt_of(settings):
        for reason in doubt.reasons:
            click.echo(f"{reason}", err=True)
        typed = click.prompt(
            f"This looks like production. To go on, type `{doubt.phrase}`", err=True
        )
        if typed.strip() != doubt.phrase:
            raise Failure("not confirmed: nothing was done")
    with _session(shared) as session, _limited(shared["seconds"], session):
        report = play_here(settings, shared["seconds"], session)
        session.tell(summary(report))
    _show(report, shared)


@contextlib.contextmanager
def _session(shared: Report) -> Iterator["Session"]:
    from mailworkers.gameday.drills.session import Session

    screen = sys.stderr if shared["as_json"] else sys.stdout
    with Session(screen, shared["log"]) as session:
        yield session


def _play(drill: Drill, shared: Report, session: "Session") -> Report:
    """Do *drill* in a directory of its own; what is not good is kept there."""
    from mailworkers.gameday.drills.asking import Asked
    from mailworkers.gameday.drills.playing import play
    from mailworkers.gameday.drills.report import summary
    from mailworkers.gameday.running import new_directory

    asked = Asked(
        shared["rate"],
        shared["seconds"],
        seed_of(shared),
        shared["senders"],
        str(shared["servers"]),
        shared["is_observed"],
    )
    if asked.has_prometheus and asked.seconds < drill.least:
        raise Failure(f"{drill.name}: its alarms can be judged from --seconds {drill.least} on")
    directory = new_directory()
    is_good = False
    try:
        with _limited(asked.seconds, session):
            report = play(drill, asked, directory, session)
        is_good = bool(report["is_good"])
        session.tell(summary(report))
    finally:
        if is_good and not shared["keep"]:
            shutil.rmtree(directory, ignore_errors=True)
        elif directory.exists() and any(directory.iterdir()):
            session.say(f"everything is kept in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return report


@contextlib.contextmanager
def _limited(seconds: float, session: "Session") -> Iterator[None]:
    """End the block by an exception at Ctrl-C, SIGTERM and after too long: so all is undone."""

    def give_up(number: int, _frame: object) -> None:
        reason = "it takes too long" if number == signal.SIGALRM else "it was told to stop"
        session.say(f"{reason}: everything that was started is ended")
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = {number: signal.signal(number, give_up) for number in numbers}
    signal.setitimer(signal.ITIMER_REAL, seconds + _MARGIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _show(report: Report, shared: Report) -> None:
    """Print and write the report; exit 1 when it is not good."""
    if shared["as_json"]:
        print_json(report)
    keep_report(report, shared)
    if not report["is_good"]:
        sys.exit(1)
