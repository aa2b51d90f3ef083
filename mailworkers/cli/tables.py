"""Tables that fit the terminal: what is too wide is left out, cut or wrapped, by the columns' kind.

In a pipe nothing is: programs get whole cells, on one line each.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

import click

from mailworkers.cli.output import WIDEST, cut, head_of, printable, terminal_width, width_of

_GAP = "  "
_LEAST = 6  # columns that a cell keeps when others need room
_READABLE = 16  # columns that a cell wants before others are left out for it
_LEGIBLE = 32  # and one that is wrapped


# Keyword arguments name kinds of columns, so that a call reads like the table.
def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    whole: Sequence[str] = (),
    wrapped: Sequence[str] = (),
    spare: Sequence[str] = (),
) -> None:
    """Print *rows* under *columns*; on a terminal as narrow as that is.

    Columns of *spare* are left out where there is no room, empty ones first, then the first. The
    widest others are cut with an ellipsis, those of *wrapped* go on in the next line. Columns of
    *whole*, such as ids that somebody will copy, are cut last.
    """
    width = terminal_width()
    table = [list(columns), *([_cell(value) for value in row] for row in rows)]
    for name in sorted(spare, key=lambda name: not _is_empty(table, name)):
        if _wanted(table, whole, wrapped) > width:
            at = table[0].index(name)
            table = [[*row[:at], *row[at + 1 :]] for row in table]
    kept = {at for at, name in enumerate(table[0]) if name in whole}
    folded = {at for at, name in enumerate(table[0]) if name in wrapped and width < WIDEST}
    widths = fit(_widths(table), width, kept)
    for number, row in enumerate(table):
        for line in _lines(row, widths, folded):
            click.echo(line if number else click.style(line, bold=True))


def fit(widths: Sequence[int], width: int, kept: set[int]) -> list[int]:
    """Return *widths* narrowed, the widest first, until the columns fit into *width*.

    Those in *kept* are narrowed last, and none below six: what does not fit then stays wider.
    """
    fitted = list(widths)
    room = width - len(_GAP) * (len(fitted) - 1)
    others = {at for at in range(len(fitted)) if at not in kept}
    for group in (others, kept):
        while sum(fitted) > room:
            wide = [at for at in group if fitted[at] > _LEAST]
            if not wide:
                break
            fitted[max(wide, key=lambda at: fitted[at])] -= 1
    return fitted


def wrap(text: str, width: int) -> Iterator[str]:
    """Yield *text* in lines of at most *width* columns, broken at spaces where there are any."""
    while width_of(text) > width:
        head = head_of(text, width) or text[:1]
        at = head.rfind(" ") if text[len(head) : len(head) + 1] != " " else len(head)
        if at <= 0:
            at = len(head)
        yield text[:at].rstrip(" ")
        text = text[at:].lstrip(" ")
    yield text


def _widths(table: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(width_of, column)) for column in zip(*table, strict=True)]


def _wanted(table: Sequence[Sequence[str]], whole: Sequence[str], wrapped: Sequence[str]) -> int:
    """Return how wide a table must be to be read: *whole* columns as they are, others a part."""
    most = dict.fromkeys(table[0], _READABLE) | dict.fromkeys(wrapped, _LEGIBLE)
    widths = zip(table[0], _widths(table), strict=True)
    needed = [width if name in whole else min(width, most[name]) for name, width in widths]
    return sum(needed) + len(_GAP) * (len(needed) - 1)


def _is_empty(table: Sequence[Sequence[str]], name: str) -> bool:
    at = table[0].index(name)
    return not any(row[at] for row in table[1:])


def _lines(row: Sequence[str], widths: Sequence[int], folded: set[int]) -> Iterator[str]:
    """Yield the lines of one row: one, but for columns that are wrapped."""
    parts = [
        list(wrap(cell, widths[at])) if at in folded else [cell] for at, cell in enumerate(row)
    ]
    for cells in zip_longest(*parts, fillvalue=""):
        padded = (_padded(cell, size) for cell, size in zip(cells, widths, strict=True))
        yield _GAP.join(padded).rstrip()


def _cell(value: object) -> str:
    return "" if value is None else printable(str(value))


def _padded(cell: str, width: int) -> str:
    shown = cut(cell, width)
    return shown + " " * (width - width_of(shown))
