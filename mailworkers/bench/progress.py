"""What a measurement shows while it runs: on standard error, so that results can be piped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

Advance = Callable[[int], None]


class Progress:
    """A line, or for countable work a bar, for each step; without a terminal one line at its begin.

    *is_silent*: nothing at all.
    """

    def __init__(self, *, is_silent: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, soft_wrap=True, quiet=is_silent)

    def say(self, text: str) -> None:
        """Print one line."""
        self._console.print(escape(text))

    @contextmanager
    def step(self, text: str, total: int | None = None) -> Iterator[Advance]:
        """Show that *text* is being done; what is yielded takes how much more of *total* is."""
        if not self._console.is_terminal:
            self.say(f"{text} ...")
            yield lambda _: None
            return
        columns = [TextColumn("{task.description}"), TimeElapsedColumn()]
        if total is not None:
            columns[1:1] = [BarColumn(), MofNCompleteColumn()]
        # Four looks a second: the display must not take part in the measurement.
        with Bars(*columns, console=self._console, refresh_per_second=4, transient=True) as bars:
            task = bars.add_task(escape(text), total=total)
            yield lambda more: bars.advance(task, more)
