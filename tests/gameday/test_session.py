"""What a drill tells: the log as it happens, and the tables in the end."""

import io
from pathlib import Path
from typing import Any

from mailworkers.gameday.drills.report import failed, overview, summary
from mailworkers.gameday.drills.session import Session

_REPORT: dict[str, Any] = {
    "drill": "redis-outage",
    "is_good": True,
    "is_alarm_real": True,
    "lasted": 90.0,
    "checks": {"nothing is lost": [], "the alarms fire in time": []},
    "alarms": [
        {"name": "RedisUnreachable", "fired": 31.2, "resolved": 98.0},
        {"name": "MailErrorBudgetBurnsFast", "fired": 16.0, "resolved": None},
    ],
    "most_waiting": 4623,
    "drained_after": 5.2,
    "violations": {},
    "facts": {
        "commands": 5750,
        "copies at the sink": 5839,
        "duplicates": 0,
        "bound of duplicates": 0,
        "attempts with outcome unknown": 0,
    },
}


def test_the_log_is_on_the_screen_and_in_the_file_the_same(tmp_path: Path) -> None:
    """With the time of day, and the seconds since it went wrong while it does."""
    screen, file = io.StringIO(), tmp_path / "session.log"

    with Session(screen, file) as session:
        session.head("redis-outage")
        session.say("mail flows")
        session.begin_fault()
        session.say("Redis is stopped")
        session.end_fault()
        session.say("judging")

    lines = screen.getvalue().splitlines()
    assert file.read_text() == screen.getvalue()
    assert lines[1].startswith("== redis-outage ===")
    assert [" +0 s  " in line for line in lines[2:]] == [False, True, False]


def test_the_summary_shows_every_check_and_when_each_alarm_fired_and_ended() -> None:
    """Seconds after it began, and after it was over."""
    told = summary(_REPORT)

    assert told.endswith("\nGOOD")
    assert "the alarms fire in time  ok" in told
    assert "RedisUnreachable          31 s         +8 s" in told
    assert "MailErrorBudgetBurnsFast  16 s         still fires" in told
    assert "5,750 commands, 5,839 mails at the relay, 0 duplicates" in told


def test_what_failed_is_told_with_what_was_found() -> None:
    """By name in the table of several drills, with its lines in the summary of one."""
    found = "RedisUnreachable did not fire"
    report = {**_REPORT, "is_good": False, "checks": {"the alarms fire in time": [found]}}

    assert "the alarms fire in time  FAILED" in summary(report)
    assert f"  the alarms fire in time: {found}" in summary(report)
    assert failed(report) == "the alarms fire in time"
    shown = overview([("redis-outage", "NOT GOOD", failed(report)), ("host-split", "NOT RUN", "x")])
    assert "redis-outage  NOT GOOD  the alarms fire in time" in shown


def test_without_a_prometheus_the_summary_says_that_the_rules_were_not_tried() -> None:
    """Nobody may take a condition for an alarm."""
    assert "the rules were not tried" in summary({**_REPORT, "is_alarm_real": False})
    assert "the rules were not tried" not in summary(_REPORT)
