"""Each drill, short: by the conditions behind the alarms; one with a real Prometheus and its rules.

`mailworkers gameday run all` does them at full length; docs/gamedays.md tells how to read it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest

from mailworkers.gameday.drills.catalog import DRILLS, Drill, drill_named
from mailworkers.gameday.drills.needs import lacks
from tests.crash.stores.own import lack

_LONGEST = 400  # seconds, on a busy machine


def _run(request: pytest.FixtureRequest, directory: Path, drill: Drill, *more: str) -> Any:
    """Do *drill* as an operator does, in a process of its own; return its report."""
    servers = request.config.getoption("--servers")
    if missing := lacks(drill, servers):
        lack("; ".join(missing))
    log, report = directory / "session.log", directory / "report.json"
    place = Path(tempfile.mkdtemp(prefix="gd-"))  # short: sockets go below it
    place.chmod(0o711)
    command = [sys.executable, "-m", "mailworkers", "gameday", "run", drill.name]
    command += ["--servers", servers, "--log", str(log), "--report", str(report), *more]
    environ = {**os.environ, "TMPDIR": str(place)}
    done = subprocess.run(
        command, env=environ, capture_output=True, text=True, check=False, timeout=_LONGEST
    )

    print(done.stdout)
    assert done.returncode == 0, done.stderr
    assert log.read_text() in done.stdout
    place.rmdir()  # nothing is left in it
    return json.loads(report.read_text())


@pytest.mark.slow
@pytest.mark.timeout(_LONGEST + 60)
@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_a_short_drill_is_good(
    request: pytest.FixtureRequest, tmp_path: Path, drill: Drill
) -> None:
    """The condition behind each alarm holds meanwhile and no longer; nothing is lost."""
    report = _run(request, tmp_path, drill, "--no-prometheus", "--rate", "20", "--seconds", "20")

    assert report["is_good"]
    assert {alarm["name"] for alarm in report["alarms"]} == drill.must.keys()


@pytest.mark.slow
@pytest.mark.timeout(_LONGEST + 60)
def test_the_shipped_rules_tell_of_a_lost_store_in_time_and_of_nothing_else(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """A real Prometheus looks on: the alarm fires within a minute and ends by itself."""
    drill = drill_named("redis-outage")

    report = _run(request, tmp_path, drill, "--rate", "20", "--seconds", str(drill.least))

    (alarm,) = (a for a in report["alarms"] if a["name"] == "RedisUnreachable")
    assert report["is_alarm_real"]
    assert alarm["fired"] < 60
    assert alarm["resolved"] > report["lasted"]
