"""A scheduler at each of its points: killed, told to stop, cut off, or frozen. What is due is made
ready once, leases that ended are taken back once.
"""

import signal
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec
import pytest
import redis

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Act, Order, Point
from mailworkers.adapters.stream import SCHEDULER_WAKE
from mailworkers.core.states import Status
from tests.crash.crash_points.cells import Cell, cells
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_cut,
    assert_ends,
    assert_nothing_leased,
    assert_stops,
    end_of,
    parametrized,
    start_armed,
    statement_held,
    thaw,
    wait_until_fired,
)
from tests.crash.crash_points.scenes import named_delivery
from tests.crash.processes import Process, Roles
from tests.deliveries import accept, put, status
from tests.eventually import eventually
from tests.relay import Relay

CUTS = (Act.CUT, Act.CUT_POSTGRES, Act.CUT_REDIS)
_ABOUT_LEASES = frozenset({Point.LEASES_READ, Point.RECLAIMING})
# No pass of its own accord while one is prepared.
_SLOW = {"MAIL_POLL_INTERVAL": "5s"}


class Scene(msgspec.Struct):
    """One rehearsal of a scheduler."""

    roles: Roles
    conn: db.Connection
    client: redis.Redis
    relay: Relay

    def owe(self, point: Point) -> UUID:
        """Put a row that brings a scheduler to *point* in its next pass."""
        if point in _ABOUT_LEASES:
            return put(self.conn, Status.SENDING)
        ago = datetime.now(UTC) - timedelta(minutes=1)
        new = named_delivery()
        changed = msgspec.structs.replace(new, status=Status.SCHEDULED, next_attempt_at=ago)
        accept(self.conn, changed)
        return new.delivery_id

    def play(self, cell: Cell) -> tuple[Process, UUID, list[str]]:
        """Bring a scheduler to its point, in its second pass: by then it is connected to all."""
        point, order = cell.point, Order(cell.point, cell.act, 2)
        first = self.owe(point)
        before = status(self.conn, first)
        actor = start_armed(self.roles, "scheduler", order, **_SLOW)
        eventually(lambda: status(self.conn, first) != before, within=PATIENCE)
        with statement_held(self.conn, point):
            subject = self.owe(point)
            self.ring()
            return actor, subject, wait_until_fired(actor, order)

    def ring(self) -> None:
        """Wake whichever scheduler waits."""
        self.client.lpush(SCHEDULER_WAKE, b"1")

    def assert_ends(self, cell: Cell, subject: UUID) -> None:
        """The row is where it belongs; what was made ready is sent, without a wake-up."""
        if cell.point not in _ABOUT_LEASES:
            self.roles.start("sender")
        assert_ends(self.conn, subject, cell.expected, self.relay)
        assert_nothing_leased(self.conn)


@pytest.fixture
def scene(roles: Roles, conn: db.Connection, redis_client: redis.Redis, relay: Relay) -> Scene:
    """Return an empty scene."""
    return Scene(roles, conn, redis_client, relay)


@pytest.mark.parametrize("cell", parametrized(cells("scheduler", Act.KILL, Act.TERM)))
def test_a_scheduler_that_ends_at_a_point_is_followed_by_another(scene: Scene, cell: Cell) -> None:
    """Each of its moves is one statement: done, or done by the next one."""
    actor, subject, _ = scene.play(cell)
    assert actor.wait(PATIENCE) == (-signal.SIGKILL if cell.act is Act.KILL else 0)
    scene.roles.start("scheduler")

    scene.assert_ends(cell, subject)


@pytest.mark.parametrize("cell", parametrized(cells("scheduler", *CUTS)))
def test_a_scheduler_cut_off_at_a_point_goes_on(scene: Scene, cell: Cell) -> None:
    """It connects anew; what was committed without its knowledge is not done again."""
    actor, subject, kinds = scene.play(cell)
    assert_cut(kinds, cell.act)

    scene.assert_ends(cell, subject)
    assert actor.exit_code is None


@pytest.mark.parametrize("cell", parametrized(cells("scheduler", Act.STOP)))
def test_a_frozen_scheduler_holds_nobody_up_and_does_nothing_late(scene: Scene, cell: Cell) -> None:
    """Another one does its work; when it goes on, the rows are no longer what it thought."""
    actor, subject, _ = scene.play(cell)
    other = scene.roles.start("scheduler")
    scene.assert_ends(cell, subject)
    assert_stops(other)

    thaw(actor)
    later = scene.owe(cell.point)
    before = status(scene.conn, later)
    scene.ring()
    eventually(lambda: status(scene.conn, later) != before, within=10)

    assert end_of(scene.conn, subject, scene.relay) == cell.expected
    assert_stops(actor)
