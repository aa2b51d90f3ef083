"""What commands print: a table for people, JSON for programs; nothing a terminal would obey."""

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

Command = TypeVar("Command", bound=Callable[..., Any])

WIDEST = 10_000  # columns when nobody looks: a pipe gets whole cells


def json_option(command: Command) -> Command:
    """Give *command* the option `--json`, argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(
        command
    )


def print_json(value: object) -> None:
    """Print *value* as indented JSON; anything msgspec does not know is printed as text."""
    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2)
    click.echo(encoded.decode())


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print *rows* under *columns*, wrapped to the terminal and whole in a pipe."""
    table = Table(*columns, box=box.SIMPLE, pad_edge=False)
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    _console().print(table)


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print one `name  value` line for each fact that has a value."""
    shown = [(name, value) for name, value in facts if value not in (None, "", (), [])]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        click.echo(f"{click.style(f'{name:<{width}}', dim=True)}  {printable(text)}")


def local_time(when: datetime | None) -> str:
    """Return *when* in the reader's zone, to the second; "" for never."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if when else ""


def printable(text: str) -> str:
    """Return *text* with whatever a terminal would obey written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def _cell(value: object) -> Text:
    return Text("" if value is None else printable(str(value)), overflow="fold")


def _console() -> Console:
    file = sys.stdout
    return Console(file=file, highlight=False, width=None if file.isatty() else WIDEST)
