"""Game days other than chaos, small; `mailworkers gameday run` does them at full size."""

import secrets
import shutil

import pytest
from click.testing import CliRunner

from mailworkers.bench.progress import Progress
from mailworkers.cli.main import main
from mailworkers.gameday.duplicates import Duplicates, duplicates
from mailworkers.gameday.plan import restarts as plan_of_restarts
from mailworkers.gameday.report import tell, tell_duplicates
from mailworkers.gameday.restarts import natural_seconds, restarts
from mailworkers.gameday.running import Run, new_directory


def test_every_game_day_is_listed_with_what_it_does() -> None:
    """An operator who wants to choose one sees all of them."""
    shown = CliRunner().invoke(main, ["gameday", "list"])

    assert shown.exit_code == 0
    assert {line.split()[0] for line in shown.output.splitlines() if line.strip()} >= {
        "chaos",
        "duplicates",
        "restarts",
    }


def test_a_plan_of_restarts_tells_roles_at_work_to_stop_and_does_nothing_else() -> None:
    """What is killed while it starts proves nothing about stopping."""
    faults = plan_of_restarts(7, seconds=60.0, terms=40, senders=3, lease=6.0)

    assert len(faults) == 40
    assert {fault.action for fault in faults} == {"term"}
    assert all(fault.about["is_at_work"] for fault in faults)


@pytest.mark.slow
@pytest.mark.timeout(800)  # past the load's own deadline: what is late is judged, not cut off
def test_restarting_roles_at_random_loses_doubles_and_doubts_nothing(
    request: pytest.FixtureRequest,
) -> None:
    """SIGTERM under load: no copy too many, no outcome unknown, every exit in time with code 0."""
    seed, source = secrets.randbelow(1_000_000), request.config.getoption("--servers")
    run = Run(2000, 0, 20, seed, natural_seconds(2000, 20), servers=source)
    directory = new_directory()

    verdict, report = restarts(run, directory, Progress(is_silent=True))

    print(f"{directory}\n{tell(report)}")
    assert verdict.is_good, f"{run} in {directory}: see the report above"
    shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_key_sent_64_times_at_once_is_one_mail_whatever_redis_does(
    request: pytest.FixtureRequest,
) -> None:
    """By stream and HTTP, over a restart of Redis; later the key with other content is refused."""
    source = request.config.getoption("--servers")
    asked = Duplicates(100, 64, secrets.randbelow(1_000_000), servers=source)
    directory = new_directory()

    verdict, report = duplicates(asked, directory, Progress(is_silent=True))

    print(f"{directory}\n{tell_duplicates(report)}")
    assert verdict.is_good, f"{asked} in {directory}: see the report above"
    shutil.rmtree(directory, ignore_errors=True)
