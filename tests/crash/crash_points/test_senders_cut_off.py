"""The connections of a sender are cut at each of its points: all of them, or those of one kind."""

from collections.abc import Callable

import pytest

from mailworkers.adapters.crash_points import Act, Point
from tests.crash.crash_points.cells import Cell, cells
from tests.crash.crash_points.rehearsal import assert_cut, parametrized
from tests.crash.crash_points.scenes import Scene

CUTS = (Act.CUT, Act.CUT_POSTGRES, Act.CUT_REDIS, Act.CUT_RELAY)


@pytest.mark.parametrize("cell", parametrized(cells("sender", *CUTS)))
def test_a_sender_cut_off_at_a_point_lives_on_and_does_what_is_predicted(
    scene: Callable[[Point], Scene], cell: Cell
) -> None:
    """It connects anew and finishes; a second copy only where the reply to the dot was lost."""
    stage = scene(cell.point)
    stage.go_on("scheduler")

    actor, subject, kinds = stage.play(cell)
    assert_cut(kinds, cell.act)
    stage.running.append(actor)

    stage.assert_ends(cell, subject)
