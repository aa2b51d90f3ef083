"""`mailworkers status` and `top`: how the whole service stands, once or live."""

import sys
import threading
import time
from typing import TYPE_CHECKING

import click

from mailworkers.cli.output import json_option, print_json, terminal_width
from mailworkers.cli.reaching import api_option, operations
from mailworkers.core.errors import ApiUnavailable

if TYPE_CHECKING:
    from mailworkers.cli.live import LiveScreen
    from mailworkers.cli.operations import Operations
    from mailworkers.core.situations import Situation

_WIDE_ENOUGH = 120  # columns of one frame in a pipe
_MOST_OFTEN, _MOST_SELDOM = 0.5, 60.0  # seconds
# Looking takes a tenth of the time at most: counting a large queue must not become a load.
_REST = 9.0


@click.command()
@api_option
@json_option
def status(*, as_json: bool) -> None:
    """Show on one screen how it stands: stores, roles, queue, rates, relay, pauses, last errors.

    A store that is away is named, and the rest is shown. Exit code 0 when all is well, 1 when
    something under "wrong" is not: a store away, a role without a living process or with a silent
    one, a breaker that is not closed, mail overdue though nobody paused it, commands unread. Pauses
    and what waits for review are not wrong.
    """
    with operations("status") as reached:
        situation = reached.look()
    if as_json:
        print_json(situation)
    else:
        _print(situation)
    sys.exit(1 if situation.problems else 0)


def _print(situation: "Situation") -> None:
    from mailworkers.cli.screens import draw

    for line in draw(situation, min(terminal_width(), _WIDE_ENOUGH)):
        click.echo(line)


@click.command()
@click.option(
    "--every",
    type=click.FloatRange(_MOST_OFTEN, _MOST_SELDOM),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Between two looks; more where looking takes long.",
)
@click.option("--count", type=click.IntRange(1), help="End after so many looks.")
@api_option
@json_option
def top(*, every: float, count: int | None, as_json: bool) -> None:
    """Show what `status` shows, live. q ends it, r looks at once, + and - change the interval.

    Without a terminal one frame is printed; with --json one line of JSON for each look.
    """
    with operations("top") as reached:
        if as_json:
            _stream(reached, every, count)
        elif sys.stdout.isatty() and sys.stdin.isatty():
            _watch(reached, every, count)
        else:
            click.echo("mailworkers: not a terminal, so this is one frame", err=True)
            _print(reached.look())


def _stream(reached: "Operations", every: float, count: int | None) -> None:
    import msgspec

    looks = 0
    while count is None or looks < count:
        if looks:
            time.sleep(every)
        click.echo(msgspec.json.encode(reached.look()).decode())
        looks += 1


def _watch(reached: "Operations", every: float, count: int | None) -> None:
    from mailworkers.cli.live import Interrupted, LiveScreen

    looker = Looker(reached, every)
    try:
        with LiveScreen() as screen:
            _show(screen, looker, count)
    except (Interrupted, KeyboardInterrupt):
        pass
    finally:
        looker.stop()
    if looker.error is not None:
        raise looker.error


def _show(screen: "LiveScreen", looker: "Looker", count: int | None) -> None:
    """Draw what the looker sees, and do what the keys say, until told to end."""
    while looker.error is None and (count is None or looker.looks < count):
        screen.draw(_frame(looker, screen.size[0]))
        match screen.key(0.25):
            case "q" | "Q" | "\x03" | "\x04":
                return
            case "r" | " ":
                looker.look_now()
            case "+":
                looker.every = min(looker.every * 2, _MOST_SELDOM)
            case "-":
                looker.every = max(looker.every / 2, _MOST_OFTEN)


def _frame(looker: "Looker", width: int) -> list[str]:
    from mailworkers.cli.output import cut
    from mailworkers.cli.screens import draw

    keys = f"q quit  r look now  + - every {looker.every:g} s"
    seen = looker.seen
    if seen is None:
        words = looker.trouble or "looking ..."
        return [cut(f"mailworkers: {words}", width), "", cut(keys, width)]
    age = time.monotonic() - looker.seen_at
    if looker.trouble:
        keys += f"  ({age:.0f} s old: {looker.trouble})"
    elif age > 2 * looker.every + 1:
        keys += f"  ({age:.0f} s old: waiting for an answer)"
    return [*draw(seen, width), "", click.style(cut(keys, width), dim=True)]


class Looker:
    """Looks again and again in a thread, so that keys are heard while a store keeps us waiting."""

    def __init__(self, reached: "Operations", every: float) -> None:
        self.every = every
        self.seen: Situation | None = None
        self.seen_at = 0.0
        self.looks = 0
        self.trouble = ""
        self.error: Exception | None = None
        self._reached = reached
        self._wanted = threading.Event()
        self._is_stopped = False
        threading.Thread(target=self._run, name="look", daemon=True).start()

    def look_now(self) -> None:
        """Look at once, unless that is being done."""
        self._wanted.set()

    def stop(self) -> None:
        """Look no more; a look under way is not waited for."""
        self._is_stopped = True
        self._wanted.set()

    def _run(self) -> None:
        while not self._is_stopped:
            self._wanted.clear()
            began = time.monotonic()
            try:
                self._look()
            except Exception as error:
                if not self._is_stopped:
                    self.error = error
                return
            took = min(time.monotonic() - began, _MOST_SELDOM / _REST)
            self._wanted.wait(max(self.every, 0.0 if self.trouble else _REST * took))

    def _look(self) -> None:
        """Look once; an API that is away may come back, and is told of until then."""
        try:
            self.seen = self._reached.look()
        except ApiUnavailable as error:
            self.trouble = str(error)
        else:
            self.seen_at, self.trouble = time.monotonic(), ""
            self.looks += 1
