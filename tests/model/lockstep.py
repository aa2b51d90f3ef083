"""Both stores at once: every statement is done to both, and both must say and hold the same."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters import db
from mailworkers.adapters.store import Leased, LeasedRow
from tests.model.memory import MemoryStore
from tests.model.postgres import PostgresStore
from tests.model.rows import Row
from tests.model.violations import Violation

# Columns that say nothing about the protocol: written by the database's own clock, or empty here.
_UNCOMPARED = {"created_at", "mail_from", "mime", "traceparent"}


class LockstepStore:
    """The store in memory, with PostgreSQL beside it."""

    def __init__(self, conn: db.Connection, now: Callable[[], datetime]) -> None:
        self.memory = MemoryStore(now)
        self.postgres = PostgresStore(conn, now)

    @property
    def rows(self) -> Mapping[UUID, Row]:
        """Return what both hold."""
        return self.memory.rows

    @property
    def touched(self) -> set[UUID]:
        """Return what changed since somebody looked."""
        return self.memory.touched

    def __getattr__(self, name: str) -> Any:
        def both(*arguments: Any, **named: Any) -> Any:
            real = getattr(self.postgres, name)(*arguments, **named)
            model = getattr(self.memory, name)(*arguments, **named)
            _compare(f"the answer of {name}", _plain(real), _plain(model))
            _compare(f"what {name} left behind", dict(self.postgres.rows), self.memory.rows)
            return model

        return both


def _compare(what: str, real: object, model: object) -> None:
    if real != model:
        raise Violation(f"{what}: PostgreSQL has {real}, the model {model}")


def _plain(answer: object) -> object:
    """Return *answer* as plain values, in an order of its own where it has none."""
    if isinstance(answer, list) and answer and isinstance(answer[0], Leased):
        return [_columns(row) for row in answer]
    if isinstance(answer, list):
        return sorted((_columns(row) for row in answer), key=str)
    return answer


def _columns(row: object) -> object:
    if not isinstance(row, msgspec.Struct):
        return row
    columns = msgspec.structs.asdict(row)
    if isinstance(row, Leased | LeasedRow):
        columns = {name: value for name, value in columns.items() if name not in _UNCOMPARED}
    return {name: sorted(v) if name == "closed" else v for name, v in columns.items()}
