"""`mailworkers bench all` and `bench report`: targets, verdicts, table and plot."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest
from click.testing import CliRunner

from mailworkers.bench.arrivals import Check
from mailworkers.bench.budgets import BUDGETS, Bound, Budget, Line, judge
from mailworkers.bench.collection import Collection
from mailworkers.bench.everything import TENTH, Sizes, measurements
from mailworkers.bench.figures import Figure
from mailworkers.bench.plot import draw
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup
from mailworkers.cli.main import main

ONCE = Check(expected=1, arrived=1, missing=0, doubled=0, foreign=0)


def _every(sizes: Sizes = TENTH) -> list[str]:
    silent = Progress(is_silent=True)
    return list(measurements(sizes, Setup(), repeat=1, peers=[], progress=silent))


def _report(**figures: float) -> Report:
    return Report("any", {n: Figure.of([v], 3) for n, v in figures.items()}, ONCE, {}, {})


@pytest.mark.parametrize(
    ("bound", "below", "equal", "above"),
    [
        (Bound.AT_LEAST, False, True, True),
        (Bound.AT_MOST, True, True, False),
        (Bound.BELOW, True, False, False),
    ],
)
def test_a_bound_is_meant_as_it_is_written(
    bound: Bound, below: bool, equal: bool, above: bool
) -> None:
    budget = Budget("what", "any", "figure", bound, 2.0)

    assert [budget.is_reached(value) for value in (1.9, 2.0, 2.1)] == [below, equal, above]


def test_every_target_is_of_a_measurement_that_is_made() -> None:
    assert {budget.measurement for budget in BUDGETS} == set(_every())


def test_what_was_not_measured_is_said_to_be_so() -> None:
    """Neither reached nor missed: the reader must know."""
    line = Line(BUDGETS[0], None)

    assert line.is_reached is None
    assert line.texts() == ("2 KB: stream to relay", "≥ 4,700 msg/s", "not measured", "")


def test_figures_of_a_measurement_that_lost_mail_do_not_count(tmp_path: Path) -> None:
    lost = msgspec.structs.replace(ONCE, arrived=0, missing=1)
    collection = Collection(tmp_path)

    collection.keep(
        "throughput", msgspec.structs.replace(_report(messages_per_second=9000), check=lost)
    )

    assert all(line.value is None for line in collection.lines())


def test_a_folder_holds_what_was_measured_at_any_time(tmp_path: Path) -> None:
    """One measurement replaces its own, and leaves the others."""
    Collection(tmp_path).keep("throughput", _report(messages_per_second=1.0))
    Collection(tmp_path).keep("latency", _report(idle_accepted_to_sink_p99_ms=30.0))
    Collection(tmp_path).keep("throughput", _report(messages_per_second=5000.0))

    done = CliRunner().invoke(main, ["bench", "report", str(tmp_path)])

    assert done.exit_code == 0, done.output
    lines = {line.budget.what: line for line in Collection(tmp_path).lines()}
    assert lines["2 KB: stream to relay"].is_reached is True
    assert lines["idle: accepted to relay, p99"].is_reached is False
    assert "5,000 msg/s" in done.stdout
    assert "| 2 KB: stream to relay | ≥ 4,700 msg/s | 5,000 msg/s | yes |" in (
        tmp_path / "report.md"
    ).read_text("utf-8")
    written = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert len(written["budgets"]) == len(BUDGETS)


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"throughput": {"messages_per_second": 0.0}},
        {"slow-relay": {"settings": {"senders": [2], "round_trips": [0]}}},
        {
            "slow-relay": {
                "settings": {"senders": [1, 2, 2], "round_trips": [0, 20]},
                "at_0_ms_by_1_senders_per_second": 5.0,
            }
        },
    ],
)
def test_a_plot_of_little_is_still_a_plot(found: dict[str, dict[str, Any]]) -> None:
    ET.fromstring(draw(found, list(judge(found))))  # noqa: S314  our own


def test_the_plot_shows_peers_and_senders() -> None:
    found = {
        "throughput": {
            "as_promised": True,
            "messages_per_second": 4000.0,
            "celery_per_second": 1000.0,
            "spread": {"celery_per_second": {"least": 900.0, "most": 1100.0}},
            "machine": {"cores": 2, "processor": "<fast & cheap>"},
        },
        "slow-relay": {
            "as_promised": True,
            "settings": {"senders": [1, 2], "round_trips": [0, 20]},
            **{f"at_{t}_ms_by_{n}_senders_per_second": 10.0 * n for t in (0, 20) for n in (1, 2)},
        },
    }

    source = draw(found, list(judge(found)))

    texts = {node.text for node in ET.fromstring(source).iter() if node.text}  # noqa: S314
    assert {"Celery", "1,000", "4,000", "20 ms round trip"} <= texts
    assert "pgqueuer" not in texts


def test_the_sizes_of_the_targets_are_the_defaults() -> None:
    assert (Sizes().bulk, Sizes().finished, Sizes().future) == (1_000_000, 5_000_000, 1_000_000)
    assert (Sizes().held, Sizes().old, Sizes().soak) == (600, 1_000_000, 1_000_000)


def test_an_unknown_measurement_is_refused() -> None:
    done = CliRunner().invoke(main, ["bench", "all", "--only", "kill,speed"])

    assert done.exit_code == 2
    assert "no measurement 'speed': choose of" in done.output


@pytest.mark.slow
def test_all_measures_what_was_chosen_into_a_folder(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    command = ["bench", "all", "--into", str(tmp_path), "--only", "throughput,kill", "--json"]
    command += ["--messages", "100", "--repeat", "1", "--peers", "none"]
    command += ["--servers", request.config.getoption("--servers")]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    assert "1 of 2: throughput" in done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {
        "throughput.json",
        "kill.json",
        "report.json",
        "report.md",
        "report.svg",
    }
    found = msgspec.json.decode(done.stdout)
    assert found["2 KB: stream to relay"] > 0
    assert found["senders killed: lost"] == 0
    assert found["auth lane before bulk, p99"] is None
