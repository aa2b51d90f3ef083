"""`mailworkers bench throughput --peers`: others on the same work, in the same run."""

from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from mailworkers.bench.arrivals import Arrival, Check
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import Figure
from mailworkers.bench.peers.all_peers import find_peers
from mailworkers.bench.peers.comparison import Comparison, figures_of
from mailworkers.bench.peers.measuring import PeerRun
from mailworkers.bench.peers.peer import PeerMissing, Work
from mailworkers.bench.peers.postfix import RunningPostfix
from mailworkers.bench.peers.python_peers import PYTHON_PEERS, PythonPeer
from mailworkers.bench.peers.venvs import cache_folder, install
from mailworkers.bench.postfix_tools import PostfixTools
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import PeerFacts, Report, as_object, peer_rows
from mailworkers.cli.main import main
from mailworkers.core.errors import ConfigError

EVERY = ["postfix", "pgqueuer", "post_office", "celery", "procrastinate"]
ONCE = Check(expected=1, arrived=1, missing=0, doubled=0, foreign=0)


def _absent(**changes: object) -> PythonPeer:
    return msgspec.structs.replace(PYTHON_PEERS[0], **{"name": "absent", **changes})


def test_peers_are_named_in_the_order_they_take_turns() -> None:
    assert [peer.name for peer in find_peers("all")] == EVERY
    assert [peer.name for peer in find_peers("celery, postfix,celery")] == ["celery", "postfix"]
    assert find_peers("") == []


def test_an_unknown_peer_is_refused_before_anything_starts() -> None:
    with pytest.raises(ConfigError, match="no peer 'sendmail': choose of postfix, pgqueuer"):
        find_peers("postfix,sendmail")

    done = CliRunner().invoke(main, ["bench", "throughput", "--peers", "sendmail"])
    assert done.exit_code == 2
    assert "there is no peer 'sendmail'" in done.output


def test_peers_are_not_compared_with_templates() -> None:
    """They send text that is ready; a ratio to a rendered page would be one of two works."""
    done = CliRunner().invoke(
        main, ["bench", "throughput", "--peers", "postfix", "--mode", "template"]
    )

    assert done.exit_code == 2
    assert "peers send finished text" in done.output


def test_a_peer_that_cannot_be_installed_is_named_and_the_report_goes_on() -> None:
    """Somebody without the network still gets the other figures."""
    peer = _absent(program="absent.py")

    comparison = Comparison([peer], Progress(is_silent=True))

    facts = comparison.facts()["absent"]
    assert facts.missing == "programs of peers are in a checkout only (bench/peers)"
    figures = comparison.figures({"messages_per_second": Figure.of([1.0], 0)}, messages=1)
    assert figures.keys() == {
        "absent_per_second",
        "ratio_to_absent",
        "absent_cpu_seconds_per_1000",
        "cpu_ratio_to_absent",
    }
    assert set(figures.values()) == {None}


def test_what_pip_says_is_the_reason(tmp_path: Path) -> None:
    """A requirement that pip cannot read fails without the network."""
    with pytest.raises(PeerMissing, match=r"could not be installed: .*Invalid requirement"):
        install("broken", ["not a requirement"], tmp_path)

    assert not (tmp_path / "broken" / "requirements").exists()


def test_an_environment_is_made_once_and_anew_for_other_requirements(tmp_path: Path) -> None:
    python = install("empty", [], tmp_path)
    (tmp_path / "empty" / "mark").touch()

    assert install("empty", [], tmp_path) == python
    assert (tmp_path / "empty" / "mark").exists()
    with pytest.raises(PeerMissing):
        install("empty", ["not a requirement"], tmp_path)
    assert not (tmp_path / "empty" / "mark").exists()


def test_the_cache_follows_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert cache_folder() == tmp_path / "mailworkers" / "peers"


def test_ratios_are_ours_divided_by_theirs_run_by_run() -> None:
    """Each run of ours stands beside one of theirs, so that a drift of the machine favours none."""
    ours = {
        "messages_per_second": Figure.of([300.0, 100.0], 0),
        "cpu_seconds_per_1000": Figure.of([0.5, 0.5], 3),
    }
    theirs = [PeerRun(rate, rate, Spent({"peer": 1.0}, 1.0, 1.0), ONCE) for rate in (150.0, 50.0)]

    found = figures_of("other", theirs, ours, messages=1000)

    ratio, cost = found["ratio_to_other"], found["cpu_ratio_to_other"]
    assert ratio is not None
    assert ratio.runs == (2.0, 2.0)
    assert cost is not None
    assert cost.runs == (0.5, 0.5)


def test_copies_of_postfix_are_found(tmp_path: Path) -> None:
    """Its producer makes the Message-IDs, so one that came twice shows as one that is missing."""
    tools = PostfixTools(tmp_path, tmp_path)
    arrivals = [Arrival("<1>", 1), Arrival("<2>", 2), Arrival("<2>", 3)]

    found = RunningPostfix(tmp_path, tools, 0).check(Work("", 3, ""), arrivals)

    assert (found.expected, found.missing, found.doubled, found.foreign) == (3, 1, 1, 0)


def test_what_a_peer_promises_stands_beside_its_figures() -> None:
    peers = {
        "one": PeerFacts("1.0", "COMMIT", "fast", ONCE),
        "two": PeerFacts(missing="it was\nnot found"),
    }
    report = Report("throughput", {}, ONCE, {}, {}, peers)

    assert list(peer_rows(report)) == [
        ("one", "COMMIT", "all 1 messages arrived exactly once", "fast", "1.0"),
        ("two", "not measured: not found", "", "", ""),
    ]
    assert as_object(report)["peers"] == peers


@pytest.mark.slow
def test_every_peer_sends_the_same_in_the_same_run(request: pytest.FixtureRequest) -> None:
    """Needs root for Postfix, and what Debian and PyPI have: fetched once into the user's cache."""
    command = ["bench", "throughput", "--messages", "200", "--repeat", "1", "--no-wire", "--json"]
    command += ["--peers", "all", "--servers", request.config.getoption("--servers")]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout)
    for name in EVERY:
        facts = found["peers"][name]
        assert facts["missing"] == ""
        assert facts["check"] == {**msgspec.to_builtins(ONCE), "expected": 200, "arrived": 200}
        assert found[f"ratio_to_{name}"] > 0
        assert found[f"{name}_cpu_seconds_per_1000"] > 0
        assert found[f"cpu_ratio_to_{name}"] > 0
