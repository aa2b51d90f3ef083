"""Seeded chaos: whatever is killed, frozen, cut or emptied, nothing is lost or doubled unsaid.

`mailworkers gameday run chaos` does the same at any size; docs/reliability.md says how to read it.
"""

import secrets
import shutil
from typing import Any

import pytest

from mailworkers.bench.progress import Progress
from mailworkers.gameday.chaos import chaos, natural_seconds
from mailworkers.gameday.plan import SHARE, plan
from mailworkers.gameday.report import tell
from mailworkers.gameday.running import Run, new_directory


def _assert_good(
    request: pytest.FixtureRequest, messages: int, kills: int, *, is_short_lived: bool = False
) -> dict[str, Any]:
    """Do one run of a new seed, which a failure prints with everything needed to repeat it."""
    run = Run(
        messages,
        kills,
        kills // 5,
        secrets.randbelow(1_000_000),
        natural_seconds(messages, kills),
        servers=request.config.getoption("--servers"),
        is_short_lived=is_short_lived,
    )
    directory = new_directory()
    verdict, report = chaos(run, directory, Progress(is_silent=True))
    print(f"{directory}\n{tell(report)}")
    assert verdict.is_good, f"{run} in {directory}: see the report above"
    shutil.rmtree(directory, ignore_errors=True)
    return report


def test_without_faults_nothing_is_lost_and_nothing_comes_twice(
    request: pytest.FixtureRequest,
) -> None:
    """The calm run proves the judge: no doubt, no duplicate, counters equal to the tables."""
    facts = _assert_good(request, messages=500, kills=0)["facts"]

    assert facts["duplicates"] == facts["attempts with outcome unknown"] == 0
    assert facts["lost with Redis before they were accepted"] == 0


@pytest.mark.slow
@pytest.mark.timeout(800)  # past the load's own deadline: what is late is judged, not cut off
def test_a_short_chaos_run_loses_nothing_and_explains_every_duplicate(
    request: pytest.FixtureRequest,
) -> None:
    """Every fault of the plan takes effect, every invariant holds after them."""
    _assert_good(request, messages=3000, kills=15)


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_a_longer_chaos_run_loses_nothing_and_explains_every_duplicate(
    request: pytest.FixtureRequest,
) -> None:
    """50,000 messages, 150 kills, some two hundred other faults."""
    _assert_good(request, messages=50_000, kills=150)


def test_a_plan_can_be_repeated_from_its_seed() -> None:
    """And another seed gives another plan."""
    asked: dict[str, Any] = {"seconds": 60.0, "kills": 40, "senders": 3, "lease": 6.0}

    assert plan(7, **asked) == plan(7, **asked)
    assert plan(7, **asked) != plan(8, **asked)
    kills = [fault for fault in plan(7, **asked) if fault.action == "kill"]
    assert sum(fault.target != "supervisord" for fault in kills) == 40


@pytest.mark.parametrize("seed", range(20))
def test_no_fault_is_planned_for_the_end_of_the_load(seed: int) -> None:
    """There the load waits for the last fault, which waits for the load: minutes of a short run."""
    kills, seconds = 15, natural_seconds(3000, 15)

    faults = plan(seed, seconds=seconds, kills=kills, senders=3, lease=6.0)

    times = [fault.at for fault in faults]
    assert times == sorted(times)
    assert times[-1] <= round(SHARE * seconds, 3)
