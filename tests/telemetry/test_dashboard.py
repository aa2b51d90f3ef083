"""The dashboard asks for what exists, its lines are the alarms' bounds, it shows what happened."""

import json
import math
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from mailworkers.adapters import db
from mailworkers.adapters.instruments import INSTRUMENTS, Kind
from mailworkers.adapters.supervisor_files import Slots
from mailworkers.core.states import Lane
from tests.crash.processes import Roles
from tests.crash.stores.own import lack
from tests.eventually import eventually
from tests.relay import Relay
from tests.telemetry import story
from tests.telemetry.dashboards import BOARD, FILE, HOUSE, filled, panels, questions
from tests.telemetry.prometheus import Prometheus, watching

_ALERTS = HOUSE / "ops" / "prometheus" / "alerts.yml"
_RUNBOOK = HOUSE / "docs" / "runbook" / "alerts.md"
_GRAFANA = HOUSE / "ops" / "grafana"
_SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
_MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
# What is not one of our instruments: the labels each of these has.
_OTHERS: dict[str, dict[str, tuple[str, ...]]] = {
    "up": {"job": (), "instance": ()},
    "ALERTS": {"alertname": (), "alertstate": ("firing", "pending"), "instance": (),
               "severity": ("critical", "warning", "info")},
    "mail:available": {},
}  # fmt: skip


def _known() -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the labels of every series there can be, and their values where these are closed."""
    known = dict(_OTHERS)
    for instrument in INSTRUMENTS:
        labels = {**instrument.labels, "instance": ()}
        is_sorted = instrument.kind is Kind.HISTOGRAM
        name = instrument.prometheus_name + ("_bucket" if is_sorted else "")
        known[name] = {**labels, "le": ()} if is_sorted else labels
    return known


def _alarms() -> dict[str, str]:
    """Return the expression of each alarm."""
    groups = yaml.safe_load(_ALERTS.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for g in groups for rule in g["rules"] if "alert" in rule}


def _bounds(panel: dict[str, Any]) -> list[float]:
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    return [step["value"] for step in steps if step["value"] is not None]


def _linked(panel: dict[str, Any]) -> list[str]:
    return [link["title"] for link in panel["links"]]


def test_the_file_is_what_its_declaration_makes() -> None:
    """After a change: `python ops/grafana/dashboard.py > ops/grafana/mailworkers.json`."""
    made = subprocess.run(
        [sys.executable, _GRAFANA / "dashboard.py"], capture_output=True, text=True, check=True
    )

    assert FILE.read_text(encoding="utf-8") == made.stdout


@pytest.mark.parametrize(
    ("title", "question"), questions(), ids=[title for title, _ in questions()]
)
def test_a_panel_asks_for_series_and_labels_there_are(title: str, question: str) -> None:
    """A renamed metric or label would leave its panel empty, and nobody would wonder."""
    known = _known()
    named = set(re.findall(r"\b(?:mail[_:]|retries_|retry_|service_)[\w:]+", question))
    assert named <= known.keys()
    labels = set[str]()
    for name, matchers in _SELECTOR.findall(question):
        for label, how, value in _MATCHER.findall(matchers):
            closed = known[name][label]
            values = value.split("|") if how == "=~" else [value]
            assert "$" in value or not value or not closed or set(values) <= set(closed), value
        labels |= known[name].keys()

    for by in re.findall(r"by \(([^)]*)\)", question):
        assert set(by.split(", ")) <= labels


def test_prometheus_can_read_every_question(tmp_path: Path) -> None:
    """`promtool` judges the language; each question is a rule of its own."""
    promtool = shutil.which("promtool")
    if promtool is None:
        lack("promtool: install the package prometheus")
    rules = [
        {"record": f"panel:{place}", "expr": filled(question)}
        for place, (_, question) in enumerate(questions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))

    done = subprocess.run([promtool, "check", "rules", file], capture_output=True, check=False)

    assert done.returncode == 0, done.stderr.decode()


def test_the_lines_drawn_are_the_bounds_of_the_alarms() -> None:
    """Who looks at a line must see what Prometheus will say; "above 0" of counted things is 1."""
    alarms = _alarms()
    for panel in filter(_linked, panels()):
        compared = " ".join(alarms[name] for name in _linked(panel))
        told = {float(n) or 1 for n in re.findall(r">=? *([\d.]+)", compared)}

        assert set(_bounds(panel)) <= told, panel["title"]
        for name, bound in re.findall(r"(\w+) above ([\d,.]+):", panel["description"]):
            assert re.search(rf">=? *{re.escape(bound.replace(',', ''))}\b", alarms[name]), name


def test_every_alarm_has_a_panel_that_links_to_its_page() -> None:
    """From the picture to what to do is one click."""
    headings = {
        heading.lower() for heading in re.findall(r"^## (\w+)$", _RUNBOOK.read_text(), re.M)
    }
    links = [link for panel in panels() for link in panel["links"]]

    assert {link["title"] for link in links} == _alarms().keys()
    for link in links:
        page, _, anchor = link["url"].removeprefix("${runbook}/").partition("#")
        assert (page, anchor) == ("alerts.md", link["title"].lower())
        assert anchor in headings
    for link in BOARD["links"]:
        assert (_RUNBOOK.parent / link["url"].removeprefix("${runbook}/")).is_file()


def test_panels_lie_beside_each_other_and_have_numbers_of_their_own() -> None:
    """Grafana draws what overlaps one above the other, and shows one of two equal ids."""
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for one, other in combinations([panel["gridPos"] for panel in BOARD["panels"]], 2):
        assert one["x"] + one["w"] <= 24
        is_beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        is_below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert is_beside or is_below, (one, other)


def test_the_variables_are_declared_and_lanes_are_all_of_ours() -> None:
    """One that nobody declares is asked for as a text."""
    declared = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?([a-z]\w*)", json.dumps(BOARD)))

    assert used == declared.keys()
    assert declared["lane"]["query"].split(",") == [lane.label for lane in Lane]
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}


# Settings of the data source Prometheus, which the types of a dashboard leave open.
_OF_THE_SOURCE = {"annotations.list.0.titleFormat", "annotations.list.0.step"}


def test_grafanas_own_types_know_every_field() -> None:
    """Read and written again by them nothing is missing: a field that Grafana does not know is."""
    register_default_plugins()

    read = Dashboard.from_json(BOARD)
    written = json.loads(JSONEncoder().encode(read))

    assert set(_lost(BOARD, written)) == _OF_THE_SOURCE
    assert set(_lost({**BOARD, "panles": [1]}, written)) - _OF_THE_SOURCE == {"panles"}


def _lost(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """Yield where *after* says something else than *before*; what is empty may be left out."""
    match before, after:
        case dict(), dict():
            for key, value in before.items():
                place = f"{path}.{key}".strip(".")
                if key in after:
                    yield from _lost(value, after[key], place)
                elif value:
                    yield place
        case list(), list() if len(before) == len(after):
            for number, pair in enumerate(zip(before, after, strict=True)):
                yield from _lost(*pair, f"{path}.{number}")
        case _ if before != after:
            yield path


def test_grafana_is_told_how_often_prometheus_asks() -> None:
    """A rate over a shorter span than two scrapes shows nothing."""
    prometheus = yaml.safe_load((_ALERTS.parent / "prometheus.yml").read_text())
    provisioned = _GRAFANA / "provisioning"
    (source,) = yaml.safe_load((provisioned / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    (provider,) = yaml.safe_load((provisioned / "dashboards" / "mailworkers.yml").read_text())[
        "providers"
    ]

    assert source["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]
    assert source["type"] == "prometheus"
    assert provider["options"]["path"].startswith("/")


@pytest.mark.slow
def test_every_panel_shows_what_happened(
    roles: Roles, conn: db.Connection, redis_client: redis.Redis, relay: Relay, tmp_path: Path
) -> None:
    """Each question, asked of a real Prometheus that watched it, gives numbers.

    `or vector(0)` is taken away first: it would answer for a series that does not exist.
    """
    roles.environ |= story.ENVIRON
    Slots(tmp_path).prepare(1)
    told = story.Story(conn, redis_client, relay)
    with watching(roles, tmp_path, every="1s") as prometheus:
        eventually(lambda: prometheus.number("mail:available") == 1, within=90)
        for _ in range(2):  # a rate is a difference, also of series that begin with an event
            told.tell()
            eventually(partial(_has_seen_all, prometheus, conn), within=60)
        told.break_the_relay()
        eventually(lambda: prometheus.number("max(mail_relay_breakers_open)"), within=90)
        told.mend_the_relay()
        told.lose_the_stream()
        eventually(lambda: "MailStreamLost" in prometheus.firing(), within=90)

        eventually(lambda: story.TRACE in str(_examples(prometheus)), within=30)
        for title, question in questions():
            bare = filled(question).removesuffix(" or vector(0)")
            eventually(partial(_has_numbers, prometheus, bare, title), within=30)


def _has_seen_all(prometheus: Prometheus, conn: db.Connection) -> bool:
    """Whether Prometheus has counted as many accepted as the table has."""
    row = conn.execute("SELECT count(*) FROM deliveries").fetchone()
    assert row is not None
    accepted: int = row[0]
    return prometheus.number("sum(mail_delivery_accepted_total)") == accepted


def _examples(prometheus: Prometheus) -> list[Any]:
    """Return what Prometheus keeps of the traces of mail that was sent."""
    now = time.time()
    return prometheus.exemplars("mail_delivery_end_to_end_ms_bucket", now - 600, now)


def _has_numbers(prometheus: Prometheus, question: str, title: str) -> bool:
    found = prometheus.ask(question)
    assert any(math.isfinite(float(series["value"][1])) for series in found), (title, question)
    return True
