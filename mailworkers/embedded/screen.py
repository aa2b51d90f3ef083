"""What `mailworkers up` shows: a line for each step, a table of what runs, a live status."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from mailworkers.adapters.supervisor import Program

_WIDEST = 200  # columns when nobody looks: a log gets whole lines
_STATES = {"RUNNING": "green", "STARTING": "yellow", "STOPPING": "yellow"}


class Screen:
    """Prints for people; without a terminal the same text, line by line."""

    def __init__(self) -> None:
        is_terminal = sys.stdout.isatty()
        self._console = Console(
            highlight=False, soft_wrap=True, width=None if is_terminal else _WIDEST
        )
        self._live: Live | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks."""
        return self._console.is_terminal

    def say(self, text: str = "", style: str = "") -> None:
        """Print one line."""
        self._console.print(escape(text), style=style)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Show that *text* is being done, and how long it took."""
        began = time.monotonic()
        if self.is_terminal:
            with self._console.status(escape(text)):
                yield
        else:
            self.say(f"  {text} ...")
            yield
        took = time.monotonic() - began
        self._console.print(f"[green]✓[/green] {escape(text)} [dim]({took:.1f} s)[/dim]")

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        """Print *rows* under *columns*."""
        table = Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)
        for row in rows:
            table.add_row(*(Text(cell, overflow="fold") for cell in row))
        self._console.print(table)

    def __enter__(self) -> Self:
        """Begin the live status; without a terminal there is none."""
        if self.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
            self._live = None

    def show(self, programs: list[Program], summary: str) -> None:
        """Replace the live status; without a terminal print *summary*."""
        if self._live is None:
            self.say(f"{datetime.now(UTC):%H:%M:%S} {summary}")
            return
        table = Table("process", "state", "pid", "up", box=box.SIMPLE_HEAD, pad_edge=False)
        for program in programs:
            style = _STATES.get(program.state, "red")
            pid = str(program.pid or "")
            table.add_row(program.name, Text(program.state.lower(), style), pid, _age(program))
        last = Text("Ctrl-C stops everything; the data stays.", style="dim")
        self._live.update(Group(table, Text(summary), last), refresh=True)


def _age(program: Program) -> str:
    if program.started_at is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - program.started_at).total_seconds()))
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
