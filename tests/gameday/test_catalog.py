"""Drills are what they say: acts, alarms and pages belong together."""

import re
from pathlib import Path

import pytest
import yaml

from mailworkers.gameday.drills.acts import Act
from mailworkers.gameday.drills.catalog import DRILLS, Drill, drill_named
from mailworkers.gameday.drills.conditions import CONDITIONS, read_series
from mailworkers.gameday.drills.registry import ACTS, act_of
from mailworkers.gameday.prometheus import find_rules

HOUSE = Path(__file__).resolve().parents[2]
PAGE = (HOUSE / "docs" / "gamedays.md").read_text(encoding="utf-8")
TABLE = PAGE.split("\n## The drills\n", 1)[1].split("\n## ", 1)[0]


def _alarms() -> dict[str, str]:
    """Return each shipped alarm, and for how long its condition must hold."""
    groups = yaml.safe_load((find_rules() / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    return {rule["alert"]: rule.get("for", "0s") for rule in rules}


def test_every_drill_has_an_act_and_every_act_a_drill() -> None:
    """What is listed can be done."""
    assert {drill.name for drill in DRILLS} == set(ACTS)
    assert all(isinstance(act_of(drill), Act) for drill in DRILLS)
    assert all(act_of(drill) is not act_of(drill) for drill in DRILLS), "one a run"


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_a_drill_names_alarms_that_are_shipped(drill: Drill) -> None:
    """A renamed alarm would never fire, and one that may fire would be called false."""
    assert drill.must.keys() | drill.may <= _alarms().keys()
    assert drill.must.keys() <= CONDITIONS.keys(), "without a Prometheus nothing would be looked at"
    assert all(drill.least >= within for within in drill.must.values()), "its alarm comes too late"
    assert drill.seconds >= drill.least


@pytest.mark.parametrize("drill", DRILLS, ids=lambda drill: drill.name)
def test_a_drill_is_on_the_page_with_its_alarms(drill: Drill) -> None:
    """docs/gamedays.md tells of each what it does and what must be told."""
    (row,) = re.findall(rf"^\| `{drill.name}` \|(.*)$", TABLE, re.MULTILINE)

    assert set(re.findall(r"`(Mail\w+|\w+Unreachable)`", row)) == drill.must.keys()


def test_an_unknown_drill_is_an_error() -> None:
    """And not the first one."""
    with pytest.raises(LookupError, match="no drill"):
        drill_named("earthquake")


@pytest.mark.parametrize(
    ("alarm", "holds", "holds_not"),
    [
        (
            "RedisUnreachable",
            'mail_store_up{store="redis"} 0.0',
            'mail_store_up{store="redis"} 1.0',
        ),
        (
            "PostgresUnreachable",
            'mail_store_up{store="postgres"} 0.0',
            'mail_store_up{store="redis"} 0.0',
        ),
        ("MailIntakeStalled", "mail_stream_commands_lag 500.0", "mail_stream_commands_lag 3.0"),
        ("MailBreakerOpen", "mail_relay_breakers_open 2.0", "mail_relay_breakers_open 0.0"),
    ],
)
def test_a_condition_holds_when_its_alarm_would(alarm: str, holds: str, holds_not: str) -> None:
    """Read from an exposition, comments and all."""
    around = '# HELP something\n{}\nmail_delivery_sent_total{{source="api"}} 3.0\n'

    assert CONDITIONS[alarm](read_series(around.format(holds)))
    assert not CONDITIONS[alarm](read_series(around.format(holds_not)))
