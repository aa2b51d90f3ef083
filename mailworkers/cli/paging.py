"""Lists that are read page by page, and where that has to end: a filter may fit nothing at all."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import click

from mailworkers.cli.main import Failure

Item = TypeVar("Item", covariant=True)
Place = TypeVar("Place", covariant=True)

# A page with filters looks at some thousand, ten milliseconds long: this many are seconds.
MOST_PAGES = 400


class Page(Protocol[Item, Place]):
    """Part of a list: maybe short, even empty, and *next* says where to go on."""

    @property
    def items(self) -> Sequence[Item]: ...
    @property
    def next(self) -> Place | None: ...


def all_pages(
    read: Callable[[Place | None, int], Page[Item, Place]], limit: int, *, most: int = MOST_PAGES
) -> list[Item]:
    """Return up to *limit* items of a list, however short its pages are, of its first *most* pages.

    What was found by then is returned, and said to be not all; Failure when that is nothing.
    """
    found: list[Item] = []
    before: Place | None = None
    for _ in range(most):
        page = read(before, limit - len(found))
        found += page.items
        before = page.next
        if before is None or len(found) >= limit:
            return found
    advice = "say more: --since and --until, or a recipient, make it short"
    if not found:
        raise Failure(f"nothing fits among the newest, and older ones were not looked at\n{advice}")
    click.echo(f"mailworkers: older ones were not looked at; {advice}", err=True)
    return found
