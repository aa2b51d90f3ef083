"""What cannot or must not be done is said, with the next step, before anything is touched."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mailworkers.adapters.settings import load
from mailworkers.cli.main import main
from mailworkers.gameday.drills.catalog import DRILLS
from mailworkers.gameday.drills.guard import doubt_of
from mailworkers.gameday.drills.needs import has_prometheus
from tests.crash.stores.own import lack

TRYING = {
    "MAIL_POSTGRES_PRIMARY_DSN": "postgresql://mail@/mail?host=/run/postgresql",
    "MAIL_REDIS_MASTER_ADDR": "127.0.0.1:6379",
    "MAIL_SMTP_MODE": "stub",
}
# What a process that is root lacks in many containers.
_WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-sys_admin", "--")


def _list_without_rights() -> list[dict[str, Any]]:
    """Return what `gameday list` shows to whoever may not mount anything."""
    before = _WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*before, sys.executable, "-m", "mailworkers", "gameday", "list", "--json"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def test_the_list_says_what_can_be_done_here_and_what_is_missing() -> None:
    """An operator without the right to mount sees which drills are left, and what others take."""
    rows = {row["name"]: row for row in _list_without_rights()}

    assert rows.keys() >= {"all", "chaos", *(drill.name for drill in DRILLS)}
    for drill in DRILLS:
        if "root" in drill.needs:
            assert not rows[drill.name]["can_run"]
            assert re.search(
                "needs (root: run it with sudo|.*CAP_SYS_ADMIN)", rows[drill.name]["here"]
            )
    assert rows["redis-outage"]["can_run"], rows["redis-outage"]["here"]


def test_a_drill_that_cannot_be_done_starts_nothing_and_says_the_next_step() -> None:
    """One line, exit code 1."""
    before = _WITHOUT_RIGHTS if os.geteuid() == 0 else ()
    done = subprocess.run(
        [*before, sys.executable, "-m", "mailworkers", "gameday", "run", "journal-disk-full"],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("mailworkers: journal-disk-full cannot be run here: needs ")
    assert "starting" not in done.stdout


def test_a_drill_that_is_too_short_for_its_alarm_is_refused() -> None:
    """It would be red for nothing; without a Prometheus there is no alarm to wait for."""
    if not has_prometheus():
        lack("prometheus: install the package prometheus")
    done = CliRunner().invoke(main, ["gameday", "run", "redis-outage", "--seconds", "20"])

    assert done.exit_code == 1
    assert "can be judged from --seconds 65 on" in done.output


@pytest.mark.parametrize("option", ["--log", "--report"])
@pytest.mark.parametrize("day", ["redis-outage", "all", "role-deaths"])
def test_a_file_that_cannot_be_written_is_found_out_at_once(
    tmp_path: Path, option: str, day: str
) -> None:
    """Not after ten minutes, when there is something to write."""
    place = tmp_path / "missing" / "file"

    done = CliRunner().invoke(main, ["gameday", "run", day, option, str(place)])

    assert done.exit_code == 2
    assert "cannot be written" in done.output


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"MAIL_ENVIRONMENT": "production"}, "MAIL_ENVIRONMENT is production"),
        ({"MAIL_ENVIRONMENT": "Live-EU"}, "MAIL_ENVIRONMENT is Live-EU"),
        (
            {
                "MAIL_SMTP_MODE": "smtp",
                "MAIL_SMTP_ADDR": "relay.example.com:587",
                "MAIL_SMTP_FROM_EMAIL": "shop@example.com",
            },
            "mail leaves this machine",
        ),
        (
            {"MAIL_POSTGRES_PRIMARY_DSN": "host=/run/postgresql,db2.example.com dbname=mail"},
            "PostgreSQL is on another machine: db2.example.com",
        ),
        ({"MAIL_REDIS_MASTER_ADDR": "redis.example.com:6379"}, "Redis is on another machine"),
        ({"MAIL_REDIS_SENTINELS": "10.0.0.5:26379"}, "Redis is on another machine"),
    ],
)
def test_what_looks_like_production_is_not_touched_unasked(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str], told: str
) -> None:
    """Each sign alone is enough; anything but the phrase, and nothing at all, ends it."""
    for name, value in {**TRYING, **more}.items():
        monkeypatch.setenv(name, value)
    command = ["gameday", "run", "role-deaths", "--here"]

    for typed in ("yes\n", "\n" * 3, ""):
        done = CliRunner().invoke(main, command, input=typed)

        assert done.exit_code == 1
        assert told in done.output
        assert "kill" not in done.output


def test_the_phrase_names_what_is_about_to_be_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Typed, it goes on: here only to find that nothing runs."""
    for name, value in {**TRYING, "MAIL_ENVIRONMENT": "production"}.items():
        monkeypatch.setenv(name, value)

    done = CliRunner().invoke(
        main, ["gameday", "run", "role-deaths", "--here"], input="break production\n"
    )

    assert done.exit_code == 1
    assert "supervisord does not answer" in done.output


@pytest.mark.parametrize("name", ["", "staging", "TEST", "ci"])
def test_an_installation_for_trying_is_not_asked_about(name: str) -> None:
    """All of it is on this machine, and nothing leaves it."""
    assert doubt_of(load({**TRYING, "MAIL_ENVIRONMENT": name})) is None
