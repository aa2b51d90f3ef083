"""`mailworkers bench`: it counts what really arrived, and it runs."""

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import msgspec
import pytest
from click.testing import CliRunner

from mailworkers.adapters.journal import SenderJournal
from mailworkers.bench.arrivals import Arrival, check
from mailworkers.bench.bold_sender import BoldSender, NoJournal
from mailworkers.bench.figures import Figure, percentile, spread_of_times
from mailworkers.bench.producer import xadd
from mailworkers.bench.sink import Conversation
from mailworkers.bench.sinks import LeanSink
from mailworkers.cli.main import main
from mailworkers.roles.sender import Sender
from tests.eventually import eventually


@pytest.fixture
def sink() -> Iterator[LeanSink]:
    """Return the sink of the measurements, as a process of its own."""
    with LeanSink() as running:
        yield running


def _send(sink: LeanSink, *names: str) -> None:
    host, _, port = sink.address.partition(":")
    with smtplib.SMTP(host, int(port), timeout=5) as client:
        for name in names:
            message = EmailMessage()
            message["Message-ID"] = f"<{name}@example.org>"
            message.set_content(".a line with a dot in front\n.\n")
            client.send_message(message, "from@example.org", ["to@example.org"])


def _ids(*names: str) -> list[str]:
    return [f"<{name}@example.org>" for name in names]


def test_messages_that_all_came_once_pass(sink: LeanSink) -> None:
    _send(sink, "one", "two", "three")

    found = check(_ids("one", "two", "three"), sink.take())
    assert found.is_exactly_once
    assert (found.expected, found.arrived) == (3, 3)


def test_a_doubled_message_is_found(sink: LeanSink) -> None:
    """The number of messages alone would not show it: another one is missing."""
    _send(sink, "one", "two", "two")

    found = check(_ids("one", "two", "three"), sink.take())
    assert not found.is_exactly_once
    assert (found.missing, found.doubled, found.foreign) == (1, 1, 0)


def test_a_missing_message_is_found(sink: LeanSink) -> None:
    _send(sink, "one", "three")

    found = check(_ids("one", "two", "three"), sink.take())
    assert not found.is_exactly_once
    assert (found.missing, found.doubled, found.foreign) == (1, 0, 0)


def test_a_message_that_nobody_put_in_is_found(sink: LeanSink) -> None:
    """Also what an earlier run left behind would change a figure."""
    _send(sink, "one", "stray")

    found = check(_ids("one"), sink.take())
    assert not found.is_exactly_once
    assert found.foreign == 1


def test_the_sink_counts_on_and_gives_each_arrival_once(sink: LeanSink) -> None:
    _send(sink, "one", "two")
    first = sink.take()
    _send(sink, "three")

    assert [arrival.message_id for arrival in first] == _ids("one", "two")
    assert eventually(lambda: sink.count() == 3)
    assert [arrival.message_id for arrival in sink.take()] == _ids("three")
    assert first[0].at_ns <= first[1].at_ns


@pytest.mark.parametrize("size", [1, 7, 64, 4096])
def test_the_sink_reads_a_pipelining_client_in_pieces_of_any_size(size: int) -> None:
    """Groups and messages may be divided anywhere on their way (RFC 2920 section 3.2)."""
    group = b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
    message = b"Subject: x\r\nmessage-id: <1@example.org>\r\n\r\n..\r\n.x\r\n.\r\n"
    wire = b"EHLO me\r\n" + (group + message) * 2 + group + b".\r\nQUIT\r\n"
    kept: list[bytes] = []
    conversation = Conversation(kept.append)
    pieces = [wire[start : start + size] for start in range(0, len(wire), size)]

    replies = b"".join(conversation.hear(piece) for piece in pieces)

    codes = [line[:3] for line in replies.splitlines() if line[3:4] == b" "]
    transaction = [b"250", b"250", b"354", b"250"]
    assert codes == [b"250", *transaction * 3, b"221"]
    assert kept == [b"<1@example.org>", b"<1@example.org>", b""]
    assert conversation.is_over


def test_a_command_is_written_as_redis_reads_it() -> None:
    """Lengths count bytes, not characters."""
    assert xadd("s", {"n": "é"}) == (
        b"*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nn\r\n$2\r\n\xc3\xa9\r\n"
    )


def test_figures_tell_the_median_and_how_far_runs_lie_apart() -> None:
    figure = Figure.of([3.04, 1.0, 2.0], digits=1)

    assert (figure.median, figure.least, figure.most) == (2.0, 1.0, 3.0)
    assert figure.runs == (3.0, 1.0, 2.0)


def test_percentiles_are_values_that_were_measured() -> None:
    """Nearest rank: of ten tries the worst is the 99th percentile."""
    assert percentile([5.0, 1.0, 2.0, 3.0], 0.5) == 2.0
    assert percentile([float(n) for n in range(1, 11)], 0.99) == 10.0


def test_times_of_a_run_in_which_nothing_came_are_not_told() -> None:
    """A zero would look like the best there is."""
    assert set(spread_of_times("late", [[1.0], []]).values()) == {None}

    told = spread_of_times("late", [[1.0, 3.0, 2.0]])
    assert {name: figure.median for name, figure in told.items() if figure} == {
        "late_p50_ms": 2.0,
        "late_p99_ms": 3.0,
        "late_max_ms": 3.0,
    }


def test_checks_of_several_phases_add_up() -> None:
    once = check(["<1>"], [Arrival("<1>", 1)])
    never = check(["<2>"], [])

    total = once.plus(never)
    assert (total.expected, total.arrived, total.missing) == (2, 1, 1)


def test_throughput_runs_all_roles_and_answers_in_one_json_object(
    request: pytest.FixtureRequest,
) -> None:
    """The smallest run of the real thing: stores, sink and roles of its own."""
    command = ["bench", "throughput", "--messages", "200", "--repeat", "1", "--no-wire", "--json"]
    command += ["--servers", request.config.getoption("--servers")]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout)
    assert found["exactly_once"] is True
    assert found["messages"]["expected"] == found["messages"]["arrived"] == 400
    assert found["messages_per_second"] > 0
    assert found["cpu_seconds_per_1000"] > 0
    assert found["ratio_to_wire"] is None
    assert found["stores"]["fsync"] == found["stores"]["synchronous_commit"] == "on"


def test_latency_tells_percentiles_from_both_moments(request: pytest.FixtureRequest) -> None:
    command = ["bench", "latency", "--rate", "100", "--seconds", "1", "--idle-tries", "1"]
    command += ["--repeat", "1", "--json", "--servers", request.config.getoption("--servers")]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout)
    assert found["exactly_once"] is True
    assert found["messages"]["expected"] == 101
    accepted, added = (f"offered_{moment}_to_sink_p99_ms" for moment in ("accepted", "xadd"))
    assert 0 < found[accepted] < found[added]
    assert found["idle_accepted_to_sink_p99_ms"] > 0


def test_the_journal_is_compared_with_a_sender_that_keeps_none(
    request: pytest.FixtureRequest,
) -> None:
    """One pair, the same stores: both come through, and the cost is told."""
    command = ["bench", "journal", "--messages", "100", "--repeat", "1", "--json"]
    command += ["--servers", request.config.getoption("--servers")]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 0, done.output
    found = msgspec.json.decode(done.stdout)
    assert found["exactly_once"] is True
    assert found["messages"]["expected"] == 200
    assert found["with_journal_per_second"] > 0
    assert found["without_journal_per_second"] > 0
    assert found["cost_percent"] < 100


def test_the_sender_without_a_journal_replaces_what_is_there() -> None:
    """A method renamed in the product would quietly be measured as well."""
    for bold, product in ((BoldSender, Sender), (NoJournal, SenderJournal)):
        replaced = {name for name in vars(bold) if not name.startswith("__")}
        assert replaced <= vars(product).keys()
