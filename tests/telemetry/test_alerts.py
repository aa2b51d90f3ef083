"""Alarms: each fires when it must and is silent when it must be, judged by Prometheus' own tool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

from mailworkers.adapters.instruments import INSTRUMENTS, Kind
from tests.crash.stores.own import lack
from tests.telemetry.alert_cases import CASES, Case

HOUSE = Path(__file__).resolve().parents[2]
RULES = HOUSE / "ops" / "prometheus" / "alerts.yml"
RUNBOOK = HOUSE / "docs" / "runbook" / "alerts.md"


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def _promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        lack("promtool: install the package prometheus")
    return found


def test_the_rules_and_the_configuration_are_valid() -> None:
    """`promtool check`, as operators run it."""
    command = [_promtool(), "check", "config", str(RULES.with_name("prometheus.yml"))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alarm_fires_when_it_must_and_only_then(tmp_path: Path) -> None:
    """One case in which it fires, in its time, and one near it in which it does not."""
    tests = [_as_test(case, fires=fires) for case in CASES for fires in (True, False)]
    document = {"rule_files": [str(RULES)], "evaluation_interval": "10s", "tests": tests}
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump(document))

    done = subprocess.run(
        [_promtool(), "test", "rules", str(file)], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr


def _as_test(case: Case, *, fires: bool) -> dict[str, Any]:
    series = case.firing if fires else case.quiet
    expected = [{"labels": "{}", "value": 1}] if fires else []
    question = (
        f'count(count by (alertname) (ALERTS{{alertname="{case.alert}",alertstate="firing"}}))'
    )
    return {
        "name": f"{case.alert} {'fires' if fires else 'is silent'}",
        "interval": "10s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"expr": question, "eval_time": case.within, "exp_samples": expected},
        ],
    }


def test_every_alarm_has_its_cases_its_severity_and_its_page() -> None:
    """A rule that nobody tried is a rule that does not fire."""
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE)

    assert [rule["alert"] for rule in _alerts()] == headings
    assert {case.alert for case in CASES} == set(headings)
    for rule in _alerts():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        page = f"docs/runbook/alerts.md#{rule['alert'].lower()}"
        assert rule["annotations"]["runbook"] == page
        assert rule["annotations"]["summary"]


def test_the_rules_ask_only_for_numbers_there_are() -> None:
    """A renamed metric would silence its alarm for ever."""
    names = {"up", "mail:available"}
    for instrument in INSTRUMENTS:
        ending = "_bucket" if instrument.kind is Kind.HISTOGRAM else ""
        names.add(instrument.prometheus_name + ending)
    asked = set(re.findall(r"\b(?:mail_|retries_|retry_|service_)\w+", RULES.read_text()))

    assert asked <= names
