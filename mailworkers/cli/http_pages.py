"""Asking the internal API for what commands need: one thing, a list page by page, a change."""

from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Generic, TypeVar

import msgspec

from mailworkers.adapters.api_client import ApiClient, Parameters
from mailworkers.core.errors import ApiRefused, ConfigError

LARGEST_PAGE = 200

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Page(msgspec.Struct, Generic[Item]):
    """Part of a list; `next_cursor` leads to the rest."""

    items: list[Item]
    next_cursor: str | None = None


class HttpPages:
    """What operations through the API share; ConfigError when *url* is not that of one."""

    def __init__(self, url: str, token: str | None) -> None:
        try:
            self._client = ApiClient(url, token)
        except ValueError as error:
            raise ConfigError(f"--api or MAIL_API_URL: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def find(self, path: str, kind: type[Answer]) -> Answer | None:
        """Return what is at *path*, None when there is no such thing."""
        return or_none(lambda: self._client.get(path, kind))

    def pages(
        self, path: str, kind: type[Page[Item]], parameters: Parameters, limit: int | None
    ) -> Iterator[Item]:
        """Yield up to *limit* items of a list, or all of them."""
        given, left, cursor = list(parameters), limit, None
        while left is None or left > 0:
            size = LARGEST_PAGE if left is None else min(left, LARGEST_PAGE)
            page = self._client.get(path, kind, [*given, ("limit", size), ("cursor", cursor)])
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.items)


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
