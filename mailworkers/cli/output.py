"""What commands print: a table for people, JSON for programs; nothing a terminal would obey."""

import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
Item = TypeVar("Item")

WIDEST = 10_000  # columns when nobody looks: a pipe gets whole cells
NARROWEST = 20
ELLIPSIS = "…"


def json_option(command: Command) -> Command:
    """Give *command* the option `--json`, argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")(
        command
    )


def print_json(value: object) -> None:
    """Print *value* as indented JSON; anything msgspec does not know is printed as text."""
    import msgspec

    encoded = msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2)
    click.echo(encoded.decode())


def print_facts(facts: Iterable[tuple[str, object]]) -> None:
    """Print one `name  value` line for each fact that has a value."""
    shown = [(name, value) for name, value in facts if value not in (None, "", (), [])]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        click.echo(f"{click.style(f'{name:<{width}}', dim=True)}  {printable(text)}")


def progress(items: Sequence[Item], doing: str) -> Iterator[Item]:
    """Yield *items*; on a terminal a bar on standard error shows how far it is."""
    if not sys.stderr.isatty() or len(items) < 2:
        yield from items
        return
    with click.progressbar(items, label=doing, file=sys.stderr) as bar:
        yield from bar


def local_time(when: datetime | None) -> str:
    """Return *when* in the reader's zone, to the second; "" for never."""
    return when.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z") if when else ""


def short_time(when: datetime | None) -> str:
    """Return *when* in the reader's zone as a table has room for it; "" for never."""
    if when is None:
        return ""
    there, now = when.astimezone(), datetime.now().astimezone()
    if there.date() == now.date():
        return f"{there:%H:%M:%S}"
    return f"{there:%m-%d %H:%M}" if there.year == now.year else f"{there:%Y-%m-%d}"


def first_of(recipients: Sequence[str]) -> str:
    """Return the first of *recipients* and how many more there are: `ada@example.com +2`."""
    others = f" +{len(recipients) - 1}" if len(recipients) > 1 else ""
    return f"{recipients[0]}{others}" if recipients else ""


def printable(text: str) -> str:
    """Return *text* with whatever a terminal would obey written as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def terminal_width() -> int:
    """Return the columns of the terminal, or what COLUMNS says of it; `WIDEST` in a pipe."""
    if not sys.stdout.isatty():
        return WIDEST
    return max(NARROWEST, shutil.get_terminal_size().columns)


def width_of(text: str) -> int:
    """Return how many columns *text* takes: East Asian characters two, combining marks none."""
    if text.isascii():
        return len(text)
    return sum(_width(character) for character in text)


def cut(text: str, width: int) -> str:
    """Return *text* in at most *width* columns, ending in an ellipsis where it was cut."""
    if width_of(text) <= width:
        return text
    return head_of(text, width - 1) + ELLIPSIS if width > 0 else ""


def head_of(text: str, width: int) -> str:
    """Return as much of the beginning of *text* as *width* columns hold."""
    for at, character in enumerate(text):
        width -= _width(character)
        if width < 0:
            return text[:at]
    return text


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
