"""Asking the internal API for what commands need: one thing, a list page by page, a change."""

from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Generic, TypeVar

import msgspec

from mailworkers.adapters.api_client import ApiClient, Parameters
from mailworkers.cli.paging import all_pages
from mailworkers.core.errors import ApiRefused, ConfigError

LARGEST_PAGE = 200

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Page(msgspec.Struct, Generic[Item]):
    """Part of a list; `next_cursor` leads to the rest."""

    items: list[Item]
    next_cursor: str | None = None

    @property
    def next(self) -> str | None:
        """Return where to go on."""
        return self.next_cursor


def api_at(url: str, token: str | None) -> ApiClient:
    """Return a client of the API at *url*; ConfigError when that is not the URL of one."""
    try:
        return ApiClient(url, token)
    except ValueError as error:
        raise ConfigError(f"--api or MAIL_API_URL: {error}") from None


class HttpPages:
    """What operations through the API share; ConfigError when *url* is not that of one."""

    def __init__(self, url: str, token: str | None) -> None:
        self._client = api_at(url, token)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def find(self, path: str, kind: type[Answer]) -> Answer | None:
        """Return what is at *path*, None when there is no such thing."""
        return or_none(lambda: self._client.get(path, kind))

    def pages(
        self, path: str, kind: type[Page[Item]], parameters: Parameters, limit: int
    ) -> list[Item]:
        """Return up to *limit* items of a list; Failure where none turns up for too long."""
        given = list(parameters)

        def read(cursor: str | None, left: int) -> Page[Item]:
            size = min(left, LARGEST_PAGE)
            return self._client.get(path, kind, [*given, ("limit", size), ("cursor", cursor)])

        return all_pages(read, limit)

    def whole(self, path: str, kind: type[Page[Item]]) -> Iterator[Item]:
        """Yield all items of a list, however long it is."""
        cursor = None
        while True:
            page = self._client.get(path, kind, [("limit", LARGEST_PAGE), ("cursor", cursor)])
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return


def or_none(ask: Callable[[], Answer]) -> Answer | None:
    """Return the answer, None when it is that there is no such thing."""
    try:
        return ask()
    except ApiRefused as error:
        if error.status != HTTPStatus.NOT_FOUND or error.code != "not_found":
            raise
        return None


def milliseconds(at: datetime | None) -> int | None:
    """Return *at* as the API reads times."""
    return None if at is None else int(at.timestamp() * 1000)
