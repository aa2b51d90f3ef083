"""Retention at each of its points: killed, told to stop, cut off, or frozen. What is old goes, with
all that belongs to it, and nothing else.
"""

import signal
from uuid import UUID

import msgspec
import pytest

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Act, Order
from mailworkers.core.states import Status
from mailworkers.roles.retention import BATCH
from tests.crash.crash_points.cells import Cell, cells
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_cut,
    assert_nothing_leased,
    assert_stops,
    end_of,
    parametrized,
    start_armed,
    statement_held,
    thaw,
    wait_until_fired,
)
from tests.crash.processes import Process, Roles
from tests.deliveries import accept, new_delivery, put, status
from tests.eventually import eventually

OLD = BATCH + 200  # more than one batch
SETTINGS = {
    "MAIL_CLEANUP_INTERVAL": "1s",
    "MAIL_DELIVERY_RETENTION": "10m",
    "MAIL_PAYLOAD_RETENTION": "10m",
}
CUTS = (Act.CUT, Act.CUT_POSTGRES)
_FAIL = """
WITH failed AS (
    UPDATE deliveries SET status = 'failed', failure = 'rejected', ready_at = NULL, attempt_no = 1,
        cycle_attempt = 1, finished_at = clock_timestamp() - interval '1 hour'
    WHERE delivery_id = ANY (%s) RETURNING delivery_id
), tried AS (
    INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, lease_token, leased_by)
    SELECT delivery_id, 1, 1, gen_random_uuid(), gen_random_uuid() FROM failed
)
INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
SELECT delivery_id, 'permanent', 1, 1, 'refused' FROM failed
"""
_CHILDREN = ("delivery_recipients", "delivery_payloads", "attempts", "dead_letters")


class Scene(msgspec.Struct):
    """One rehearsal of retention."""

    roles: Roles
    conn: db.Connection

    def play(self, cell: Cell) -> tuple[Process, UUID, list[str]]:
        """Bring retention to its point, with old rows and others; return one of the old."""
        order = Order(cell.point, cell.act)
        subject = self.fail_long_ago(OLD)
        put(self.conn, Status.SENT)  # a minute ago
        put(self.conn, Status.QUEUED)
        with statement_held(self.conn, cell.point):
            actor = start_armed(self.roles, "retention", order, **SETTINGS)
            return actor, subject, wait_until_fired(actor, order)

    def fail_long_ago(self, count: int) -> UUID:
        """Put *count* deliveries that failed an hour ago, with all that belongs to such."""
        news = [new_delivery() for _ in range(count)]
        accept(self.conn, *news)
        self.conn.execute(_FAIL, [[new.delivery_id for new in news]])
        return news[-1].delivery_id

    def left(self) -> int:
        """Return how many deliveries there are."""
        rows = self.conn.execute("SELECT count(*) FROM deliveries").fetchone()
        return int(rows[0]) if rows else 0

    def assert_whole(self) -> None:
        """No delivery has lost its recipients, no child its delivery."""
        for child in _CHILDREN:
            rows = self.conn.execute(
                f"SELECT count(*) FROM {child} c WHERE NOT EXISTS"  # noqa: S608
                " (SELECT FROM deliveries d WHERE d.delivery_id = c.delivery_id)"
            ).fetchone()
            assert rows == (0,), child
        rows = self.conn.execute(
            "SELECT count(*) FROM deliveries d WHERE NOT EXISTS"
            " (SELECT FROM delivery_recipients r WHERE r.delivery_id = d.delivery_id)"
        ).fetchone()
        assert rows == (0,)

    def assert_ends(self, cell: Cell, subject: UUID) -> None:
        """Everything old is gone, and nothing else."""
        eventually(lambda: self.left() <= 2, within=PATIENCE)
        self.assert_whole()
        assert end_of(self.conn, subject) == cell.expected
        found = self.conn.execute("SELECT status FROM deliveries ORDER BY 1").fetchall()
        assert found == [(Status.QUEUED,), (Status.SENT,)]
        assert_nothing_leased(self.conn)


@pytest.fixture
def scene(roles: Roles, conn: db.Connection) -> Scene:
    """Return an empty scene."""
    return Scene(roles, conn)


@pytest.mark.parametrize("cell", parametrized(cells("retention", Act.KILL, Act.TERM)))
def test_retention_that_ends_at_a_point_has_deleted_whole_deliveries(
    scene: Scene, cell: Cell
) -> None:
    """What a batch deleted it deleted with all that belongs to it; the next run goes on."""
    actor, subject, _ = scene.play(cell)
    assert actor.wait(PATIENCE) == (-signal.SIGKILL if cell.act is Act.KILL else 0)
    scene.assert_whole()
    scene.roles.start("retention", **SETTINGS)

    scene.assert_ends(cell, subject)


@pytest.mark.parametrize("cell", parametrized(cells("retention", *CUTS)))
def test_retention_cut_off_at_a_point_goes_on(scene: Scene, cell: Cell) -> None:
    """It connects anew and repeats."""
    actor, subject, kinds = scene.play(cell)
    assert_cut(kinds, cell.act)

    scene.assert_ends(cell, subject)
    assert_stops(actor)


@pytest.mark.parametrize("cell", parametrized(cells("retention", Act.STOP)))
def test_frozen_retention_keeps_nothing_from_being_deleted(scene: Scene, cell: Cell) -> None:
    """Another one finishes; when it goes on there is nothing left for it."""
    actor, subject, _ = scene.play(cell)
    other = scene.roles.start("retention", **SETTINGS)
    scene.assert_ends(cell, subject)
    assert_stops(other)

    thaw(actor)
    later = scene.fail_long_ago(1)
    eventually(lambda: status(scene.conn, later) == "(deleted)", within=10)

    scene.assert_ends(cell, subject)
    assert_stops(actor)
