"""A process with an armed crash point, and what can be asked about it and about what it left."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Act, Order, Point
from mailworkers.adapters.stream import GROUP
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Status
from tests.crash.commands import STREAM
from tests.crash.crash_points.cells import Cell, Expected
from tests.crash.processes import Process, Roles
from tests.deliveries import attempts, row, status
from tests.eventually import eventually
from tests.relay import Relay

# How long a process may take to get where it must: it shares two cores with others.
PATIENCE = 30.0
# Points that lie inside of a statement, and which rows it is known by: it is held, all its work
# done, before it commits.
INSIDE = {
    Point.LEASING: "UPDATE ON deliveries FOR EACH ROW WHEN (NEW.status = 'sending')",
    Point.SETTLING: "UPDATE ON deliveries FOR EACH ROW WHEN (OLD.status = 'sending')",
    Point.PROMOTING: "UPDATE ON deliveries FOR EACH ROW WHEN (OLD.status = 'deferred')",
    Point.RECLAIMING: "UPDATE ON deliveries FOR EACH ROW WHEN (OLD.status = 'sending')",
    Point.DELETING: "DELETE ON deliveries FOR EACH ROW",
}
# One of each role, for whoever has no minutes.
QUICK = frozenset(
    {"K-C4-kill", "K-S3-cut", "K-D13b-kill-park", "K-D14-kill", "K-A3-cut-postgres", "K-T1-kill"}
)

_KEY = 20261122
_HOLD = f"""
CREATE FUNCTION hold_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN PERFORM pg_advisory_xact_lock_shared({_KEY}); RETURN NULL; END $$;
CREATE TRIGGER hold_statement AFTER {{rows}} EXECUTE FUNCTION hold_statement();
"""


def parametrized(cells: list[Cell]) -> list[object]:
    """Return *cells* as parameters of a test, all but a few marked slow."""
    return [
        pytest.param(cell, id=cell.name, marks=() if cell.name in QUICK else pytest.mark.slow)
        for cell in cells
    ]


@contextmanager
def statement_held(conn: db.Connection, point: Point) -> Iterator[None]:
    """Keep the statement that *point* lies in, if any, from committing while the block runs."""
    if point not in INSIDE:
        yield
        return
    conn.execute(_HOLD.format(rows=INSIDE[point]).encode())
    conn.execute("SELECT pg_advisory_lock(%s)", [_KEY])
    try:
        yield
    finally:
        conn.execute("SELECT pg_advisory_unlock(%s)", [_KEY])
        conn.execute("DROP FUNCTION hold_statement() CASCADE")


def start_armed(roles: Roles, role: str, order: Order, **environ: str) -> Process:
    """Start *role* with a crash point armed."""
    words = f"{order.point}:{order.act}:{order.turn}"
    return roles.start(role, MAIL_CRASH_POINT=words, **environ)


def wait_until_fired(process: Process, order: Order) -> list[str]:
    """Return, once the point has fired, which kinds of connections were cut; a stop has stopped.

    What took no effect is a failure, not a success.
    """
    head = f"crash point {order.point}: {order.act}"

    def lines() -> list[str]:
        found = process.output.read_text(errors="replace").splitlines()
        fired = [line for line in found if line.startswith(head)]
        assert fired or process.exit_code is None, f"ended before {order.point}"
        return fired

    (line,) = eventually(lines, within=PATIENCE)
    if order.act is Act.STOP:
        eventually(lambda: is_stopped(process.pid), within=PATIENCE)
    return line.removeprefix(head).split()


def is_stopped(pid: int) -> bool:
    """Whether all of a process stands still (state T in proc_pid_stat(5))."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks)


def assert_cut(kinds: list[str], act: Act) -> None:
    """A cut that found nothing to cut proves nothing."""
    wanted = act.removeprefix("cut").removeprefix("-")
    assert "nothing" not in kinds
    assert not wanted or wanted in kinds


def thaw(process: Process) -> None:
    """Let a stopped process go on."""
    os.kill(process.pid, signal.SIGCONT)


def assert_stops(process: Process) -> None:
    """It ends in order when it is told to, once it is there at all."""
    eventually(lambda: "role started" in process.output.read_text(), within=PATIENCE)
    process.signal(signal.SIGTERM)
    assert process.wait(PATIENCE) == 0


def end_of(conn: db.Connection, delivery_id: UUID, *relays: Relay) -> Expected:
    """Return how a delivery has ended; its attempts count from 1 and its copies are the same."""
    found = attempts(conn, delivery_id)
    assert [number for number, _, _ in found] == list(range(1, len(found) + 1))
    copies = [
        message
        for relay in relays
        for message in relay.accepted
        if str(delivery_id) in message.rcpt_to[0]
    ]
    assert len({message.raw for message in copies}) <= 1
    return Expected(
        status(conn, delivery_id),
        len(copies),
        tuple(
            (AttemptStatus(state), AttemptOutcome(outcome or "unknown"))
            for _, state, outcome in found
        ),
        row(conn, delivery_id).get("cycle_attempt", 0),
    )


def assert_ends(conn: db.Connection, delivery_id: UUID, expected: Expected, *relays: Relay) -> None:
    """Wait until a delivery is where it was predicted to end, in the predicted way."""
    eventually(lambda: status(conn, delivery_id) == expected.status, within=PATIENCE)

    assert end_of(conn, delivery_id, *relays) == expected


def assert_nothing_leased(conn: db.Connection) -> None:
    """No delivery is held, and nobody has left a transaction open."""
    held = conn.execute(
        "SELECT delivery_id FROM deliveries WHERE status = %s", [Status.SENDING]
    ).fetchall()
    assert held == []
    eventually(lambda: _open_transactions(conn) == [], within=PATIENCE)


def _open_transactions(conn: db.Connection) -> list[tuple[object, ...]]:
    return conn.execute(
        "SELECT pid, query FROM pg_stat_activity"
        " WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
    ).fetchall()


def pending_entries(client: redis.Redis) -> int:
    """Return how many entries of the stream are handed out and not acknowledged."""
    found: dict[str, int] = client.xpending(STREAM, GROUP)
    return int(found["pending"])


def journals(roles: Roles) -> list[Path]:
    """Return the journals that are there."""
    return list(Path(roles.environ["MAIL_STATE_DIR"]).glob("journals/*"))
