"""Lists of the command line: read page by page, and not for ever."""

from collections.abc import Callable, Iterator

import click
import pytest

from mailworkers.cli.http_pages import Page
from mailworkers.cli.main import Failure
from mailworkers.cli.paging import all_pages


def reader(*pages: list[int], is_endless: bool = False) -> Callable[[str | None, int], Page[int]]:
    """Return what reads *pages* one after the other, empty ones for ever after them if endless."""
    left: Iterator[list[int]] = iter(pages)

    def read(_cursor: str | None, limit: int) -> Page[int]:
        items = next(left, [])[:limit]
        return Page(items, "on" if is_endless or items != pages[-1] else None)

    return read


def test_short_pages_are_put_together() -> None:
    """A page with filters ends after so many that were looked at, be it empty."""
    assert all_pages(reader([1], [], [2, 3]), 50) == [1, 2, 3]


def test_no_more_is_read_than_wanted() -> None:
    """Of the last page as many as are left."""
    assert all_pages(reader([1, 2], [3, 4], [5]), 3) == [1, 2, 3]


def test_a_filter_that_fits_nothing_ends_with_what_helps() -> None:
    """Not after the whole table: after so many pages."""
    with pytest.raises(Failure, match=r"nothing fits among the newest.*\n.*--since"):
        all_pages(reader([], is_endless=True), 50, most=7)


def test_what_was_found_by_then_is_shown_and_said_to_be_not_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On standard error: what a program reads is a list still."""
    with click.Context(click.Command("list")):
        assert all_pages(reader([1], is_endless=True), 50, most=7) == [1]

    assert "older ones were not looked at" in capsys.readouterr().err
