"""A sender is killed, or told to stop, at each of its points: lost? twice? stuck?"""

import signal
from collections.abc import Callable

import pytest

from mailworkers.adapters.crash_points import Act, Point
from tests.crash.crash_points.cells import Cell, cells
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_nothing_leased,
    journals,
    parametrized,
)
from tests.crash.crash_points.scenes import Scene

MakeScene = Callable[[Point], Scene]


@pytest.mark.parametrize("cell", parametrized(cells("sender", Act.KILL)))
def test_a_sender_killed_at_a_point_leaves_what_is_predicted(scene: MakeScene, cell: Cell) -> None:
    """The next sender of the host finds the journal and knows, or knows that nobody can."""
    stage = scene(cell.point)

    victim, subject, _ = stage.play(cell)
    assert victim.wait(PATIENCE) == -signal.SIGKILL
    stage.bury()
    stage.go_on("sender", "scheduler")

    stage.assert_ends(cell, subject)


@pytest.mark.parametrize("cell", parametrized(cells("sender", Act.TERM)))
def test_a_sender_told_to_stop_at_a_point_leaves_nothing_in_doubt(
    scene: MakeScene, cell: Cell
) -> None:
    """Before its dot it gives up, after it it waits for the reply; exit 0, nothing leased."""
    stage = scene(cell.point)

    told, subject, _ = stage.play(cell)
    assert told.wait(PATIENCE) == 0
    assert_nothing_leased(stage.conn)
    assert journals(stage.roles) == []
    stage.go_on("sender", "scheduler")

    stage.assert_ends(cell, subject)
