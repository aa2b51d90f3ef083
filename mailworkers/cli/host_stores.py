"""The stores of this host's settings, opened when they are needed."""

import os
from functools import cached_property

from mailworkers.adapters import db
from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.situation import Observer


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
