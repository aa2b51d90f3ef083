"""The stores of this host's settings, opened when they are needed."""

import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Protocol, TypeVar

from mailworkers.adapters import db
from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.situation import Observer

Item = TypeVar("Item", covariant=True)
Place = TypeVar("Place", covariant=True)


class Page(Protocol[Item, Place]):
    """Part of a list, as the store gives it: maybe short, and *next* says where to go on."""

    @property
    def items(self) -> Sequence[Item]: ...
    @property
    def next(self) -> Place | None: ...


def all_pages(read: Callable[[Place | None, int], Page[Item, Place]], limit: int) -> list[Item]:
    """Return up to *limit* items of a list, however short its pages are."""
    found: list[Item] = []
    before: Place | None = None
    while len(found) < limit:
        page = read(before, limit - len(found))
        found += page.items
        before = page.next
        if before is None:
            break
    return found


class HostStores:
    """What operations on the host share: settings, a connection, whoever looks at both stores."""

    def __init__(self, command: str) -> None:
        self._application = f"mailworkers {command}"
        self._settings: Settings = load(os.environ)

    @cached_property
    def _conn(self) -> db.Connection:
        return db.connect(self._settings.postgres_dsn, application=self._application)

    @cached_property
    def _observer(self) -> Observer:
        return Observer(self._settings, self._application)

    def close(self) -> None:
        """Close what was opened."""
        for name in ("_conn", "_observer"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()
