"""A sender as a real process against a relay, or a host, that is no good: it lives, and goes on.

The grid (`tests/roles/test_smtp_grid.py`) has every cell, within one process; here one behaviour at
every point of a plain session, one after the other, and the limits of the process itself.
"""

import resource
import signal
from random import Random

import pytest

from mailworkers.adapters import db
from mailworkers.core.states import Status
from tests.crash.processes import Roles
from tests.deliveries import accept, new_delivery, row, status
from tests.eventually import eventually
from tests.relay import Relay
from tests.roles.smtp_grid.places import CASES, Case
from tests.roles.smtp_grid.rules import expected

SEED = 20


def _cases() -> list[Case]:
    """Return one behaviour at each place of a plain session, drawn from a seed."""
    rng = Random(SEED)
    places = sorted({case.place.words for case in CASES if case.place.kind == "plain"} - {"P0"})
    rng.shuffle(places)
    quick = [case for case in CASES if not case.behaviour.waits]
    return [rng.choice([c for c in quick if c.place.words == words]) for words in places]


@pytest.mark.slow
def test_one_sender_lives_through_every_point_of_a_session_going_wrong(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """F-S01..F-S12: what can be sent is sent, what is refused fails, the process is the same."""
    sender, scheduler = roles.start("sender"), roles.start("scheduler")
    accept(conn, warm := new_delivery())
    eventually(lambda: status(conn, warm.delivery_id) == Status.SENT, within=20)

    for case in _cases():
        relay.hangs_up()
        case.place.prepare(relay, case.behaviour)
        new = new_delivery(*(f"r{number}@example.com" for number in range(case.place.recipients)))
        accept(conn, new)
        wanted = expected(case).status
        end = Status.SENT if wanted in ("queued", "deferred") else wanted
        eventually(lambda end=end, new=new: status(conn, new.delivery_id) == end, within=20)  # type: ignore[misc]

    assert (sender.exit_code, scheduler.exit_code) == (None, None)
    sender.signal(signal.SIGTERM)
    assert sender.wait() == 0


@pytest.mark.slow
def test_a_sender_without_file_descriptors_waits_and_goes_on_when_it_has_some(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """F-S23: no socket to be had is the fault of no delivery, and no reason to try without end."""
    sender = roles.start("sender")
    accept(conn, first := new_delivery())
    eventually(lambda: status(conn, first.delivery_id) == Status.SENT, within=20)
    _, hard = resource.prlimit(sender.pid, resource.RLIMIT_NOFILE)

    resource.prlimit(sender.pid, resource.RLIMIT_NOFILE, (3, hard))  # what is open stays so
    relay.hangs_up()
    news = [new_delivery() for _ in range(5)]
    accept(conn, *news)

    def breaker() -> object:
        found = conn.execute("SELECT detail->>'breaker' FROM processes WHERE role = 'sender'")
        return found.fetchall()

    # Long enough for the journals of the dead to be looked for, and for a few probes.
    eventually(lambda: breaker() == [("open",)] and _attempts(conn) >= 5, within=20)
    assert sender.exit_code is None
    assert _attempts(conn) < 12
    assert {(row(conn, new.delivery_id)["status"], row(conn, new.delivery_id)["cycle_attempt"])
            for new in news} == {("queued", 0)}  # fmt: skip

    resource.prlimit(sender.pid, resource.RLIMIT_NOFILE, (hard, hard))
    eventually(lambda: all(status(conn, n.delivery_id) == Status.SENT for n in news), within=60)
    assert sender.exit_code is None
    assert len(relay.accepted) == 6


def _attempts(conn: db.Connection) -> int:
    """Return how many attempts have failed."""
    (count,) = conn.execute(
        "SELECT count(*) FROM attempts WHERE status = 'transport_failed'"
    ).fetchone() or (0,)
    assert isinstance(count, int)
    return count
