"""What PostgreSQL's error codes mean for a role (SQLSTATE; PostgreSQL manual, appendix A).

Time or an operator cures most of them: the role waits and asks again. Some mean that two
transactions met: the same one may succeed when it is run again. Everything else is a surprise: an
assumption of ours is wrong, and whoever made it ends and is started anew.
"""

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from mailworkers.core.errors import StoreUnavailable, reason_of


class Meaning(enum.StrEnum):
    """What an error asks of us: to wait, to repeat the transaction, or to say it aloud."""

    AWAY = "away"
    REPEAT = "repeat"
    SURPRISE = "surprise"


# Connection, resources (disk, memory, connections), intervention (shutdown, crash, cancel, starting
# up), system (I/O), its own configuration, and damage: an operator must see to that, and until then
# no row is passed over as if it were not there.
_AWAY_CLASSES = ("08", "53", "57", "58", "F0", "XX")
_BY_STATE = {
    "25006": Meaning.AWAY,  # read-only: after a failover, or set so because the disk is filling up
    "25P03": Meaning.AWAY,  # idle in a transaction for too long: we were frozen
    "25P04": Meaning.AWAY,  # a transaction took too long, by a limit of the server
    "55P03": Meaning.AWAY,  # somebody holds the lock for longer than lock_timeout: a migration
    "28000": Meaning.AWAY,  # pg_hba.conf refuses us
    "28P01": Meaning.AWAY,  # wrong password: it is being changed
    "3D000": Meaning.AWAY,  # no such database: it is being restored
    "42501": Meaning.AWAY,  # a privilege is missing: somebody is granting
    "40001": Meaning.REPEAT,  # serialization failure
    "40P01": Meaning.REPEAT,  # deadlock
    "23505": Meaning.REPEAT,  # somebody was first with this key
}


def meaning(error: psycopg.Error) -> Meaning:
    """Return what *error* asks of us."""
    state = error.sqlstate
    if state is None:  # the driver's own: no connection, or it was lost
        is_lost = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return Meaning.AWAY if is_lost else Meaning.SURPRISE
    if state.startswith(_AWAY_CLASSES):
        return Meaning.AWAY
    return _BY_STATE.get(state, Meaning.SURPRISE)


def is_contention(error: psycopg.Error) -> bool:
    """Whether two transactions stood in each other's way: nobody's fault, and over by now."""
    return error.sqlstate in {"40001", "40P01"}


def is_for_room(error: StoreUnavailable) -> bool:
    """Whether the database is there and finds no room for what it is to write."""
    return isinstance(error.__cause__, psycopg.errors.DiskFull)


def is_over(conn: psycopg.Connection[Any]) -> bool:
    """Whether the transaction in which a statement failed has ended with it."""
    return conn.pgconn.transaction_status == TransactionStatus.IDLE


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors that mean "away for now" into StoreUnavailable; others pass."""
    try:
        yield
    except psycopg.Error as error:
        if meaning(error) is Meaning.AWAY:
            # It names the host, never the password.
            raise StoreUnavailable("postgres", reason_of(error)) from error
        raise
    except OSError as error:  # the driver lets some through: no descriptor left (F-V10)
        raise StoreUnavailable("postgres", error.strerror or type(error).__name__) from error
