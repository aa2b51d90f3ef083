"""The scenarios of `mailworkers bench` about circumstances, each once at its smallest."""

import smtplib
import socket
import time
from email.message import EmailMessage
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from mailworkers.adapters import db
from mailworkers.bench.arrivals import Check
from mailworkers.bench.callers import Callers, Unanswered, post
from mailworkers.bench.cpu import Spent
from mailworkers.bench.delaying_proxy import delayed
from mailworkers.bench.filling import PREFIX, Rows, fill, filled_ids
from mailworkers.bench.flatness import Flatness
from mailworkers.bench.passing import Passage
from mailworkers.bench.report import Report
from mailworkers.bench.scenarios.reading import ASKED
from mailworkers.bench.scenarios.slow_relay import Distances
from mailworkers.bench.sinks import LeanSink
from mailworkers.cli.main import main

NONE = Check(0, 0, 0, 0, 0)


def _bench(request: pytest.FixtureRequest, command: str) -> dict[str, Any]:
    servers = request.config.getoption("--servers")

    done = CliRunner().invoke(main, f"bench {command} --json --servers {servers}".split(" "))

    assert done.exit_code == 0, done.output
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found


def _definitions(conn: db.Connection) -> list[str]:
    rows = conn.execute(
        "SELECT conrelid::regclass || conname || pg_get_constraintdef(oid) FROM pg_constraint"
        " UNION ALL SELECT indexdef FROM pg_indexes"
    )
    return sorted(row[0].removesuffix(" NOT VALID") for row in rows)


def test_keys_and_indexes_are_back_after_a_filling(database: str) -> None:
    """What is measured afterwards is the product's schema, whole."""
    with db.connect(database) as conn:
        before = _definitions(conn)

        fill(conn, Rows("a", 3, "sent"), Rows("b", 2, "deferred", first_in=60), rebuild_from=1)

        assert _definitions(conn) == before
        assert conn.execute("SHOW statement_timeout").fetchall() == [("1min",)]
        counts = conn.execute("SELECT status, count(*) FROM deliveries GROUP BY 1").fetchall()
        assert dict(counts) == {"sent": 3, "deferred": 2}
        attempts = conn.execute("SELECT count(*) FROM attempts").fetchall()
        assert attempts == [(5,)]
        ids = [row[0] for row in conn.execute("SELECT delivery_id FROM delivery_payloads")]
        assert sorted(filled_ids(conn, "b")) == sorted(f"<{PREFIX}{i}@example.org>" for i in ids)


@pytest.mark.parametrize(("delay", "least"), [(0.0, 0.0), (0.05, 0.05)])
def test_the_sink_answers_a_message_after_its_delay(delay: float, least: float) -> None:
    """It counts before it answers: whoever is killed in between has sent what nobody confirmed."""
    with LeanSink(delay) as sink:
        host, _, port = sink.address.partition(":")
        message = EmailMessage()
        message["Message-ID"] = "<1@example.org>"
        with smtplib.SMTP(host, int(port), timeout=5) as client:
            began = time.monotonic()
            client.send_message(message, "from@example.org", ["to@example.org"])
            took = time.monotonic() - began

        assert took >= least
        assert [arrival.message_id for arrival in sink.take()] == ["<1@example.org>"]


def test_a_delaying_proxy_makes_each_answer_a_round_trip_late() -> None:
    """The greeting takes half of one, each command after it a whole one."""
    with LeanSink() as sink, delayed(sink.address, 0.06) as address:
        host, _, port = address.partition(":")
        began = time.monotonic()
        with smtplib.SMTP(host, int(port), timeout=5) as client:
            greeted = time.monotonic()
            client.ehlo()
            heard = time.monotonic()

    assert greeted - began >= 0.03
    assert heard - greeted >= 0.06


def test_distances_measure_each_pair_once_and_at_length() -> None:
    distances = Distances((0, 100), (1, 2), ((50, 16), (100, 2)), seconds=10, at_most=1000)

    assert distances.pairs() == [(0, 1), (0, 2), (100, 1), (100, 2), (50, 16)]
    assert distances.messages(0, 1) == 1000
    assert distances.messages(100, 1) == 200
    assert distances.messages(50, 16) == 1000


def test_flatness_is_told_as_ratios_to_the_first_circumstance() -> None:
    def passages(rate: float, cost: float) -> list[Passage]:
        return [Passage(rate, Spent({"sender": cost}, cost, 1.0), NONE)] * 3

    found = Flatness({"small": passages(200, 1), "large": passages(100, 2)}, "small").figures(1000)

    medians = {name: figure.median for name, figure in found.items() if figure is not None}
    assert medians["ratio_large"] == 0.5
    assert medians["cpu_ratio_large"] == 2.0
    assert "ratio_small" not in medians


def test_copies_are_forgiven_only_where_processes_are_killed() -> None:
    doubled = Check(expected=5, arrived=6, missing=0, doubled=1, foreign=0)
    lost = Check(expected=5, arrived=4, missing=1, doubled=0, foreign=0)

    assert not Report("throughput", {}, doubled, {}, {}).is_sound
    assert Report("kill", {}, doubled, {}, {}, copies_allowed=1).is_sound
    assert not Report("kill", {}, lost, {}, {}, copies_allowed=1).is_sound


def test_a_list_that_cannot_be_read_is_a_mistake_of_the_command_line() -> None:
    for option, value in (("--by", "1,x"), ("--also", "50-16"), ("--round-trips", "a")):
        done = CliRunner().invoke(main, ["bench", "slow-relay", option, value])

        assert done.exit_code == 2
        assert "comma separated" in done.output


def test_a_setting_of_postgres_is_an_assignment() -> None:
    done = CliRunner().invoke(main, ["bench", "start", "--postgres", "shared_buffers"])

    assert done.exit_code == 2
    assert "give NAME=VALUE, not 'shared_buffers'" in done.output


@pytest.mark.slow
def test_auth_mail_is_timed_before_a_backlog(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "auth --bulk 20000 --rate 20 --seconds 1 --repeat 1")

    assert found["exactly_once"] is True
    assert 0 < found["auth_accepted_to_sink_p99_ms"] < found["auth_xadd_to_sink_max_ms"]
    assert found["bulk_per_second"] > 0


@pytest.mark.slow
def test_lateness_is_that_of_every_retry(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "lateness --seconds 1 --burst-seconds 1 --repeat 1")

    assert found["messages"]["expected"] == found["messages"]["arrived"] == 250
    for part in ("sustained", "burst"):
        assert 0 < found[f"{part}_late_p50_ms"] <= found[f"{part}_late_max_ms"]


@pytest.mark.slow
def test_a_slow_relay_costs_two_round_trips_a_message(request: pytest.FixtureRequest) -> None:
    """One sender at 50 ms cannot do more than ten a second."""
    command = "slow-relay --round-trips 50 --by 1,2 --also  --seconds 1 --messages 20 --repeat 1"
    found = _bench(request, command)

    assert found["exactly_once"] is True
    assert 0 < found["at_50_ms_by_1_senders_per_second"] < 11
    assert found["at_50_ms_by_2_senders_per_second"] < 21


@pytest.mark.slow
@pytest.mark.parametrize("ids", ["random", "time"])
def test_history_compares_a_small_database_with_a_large_one(
    request: pytest.FixtureRequest, ids: str
) -> None:
    command = "history --finished 500 --future 100 --before 10 --messages 100 --repeat 1"
    found = _bench(request, f"{command} --ids {ids}")

    assert found["exactly_once"] is True
    assert found["settings"]["ids"] == ids
    assert found["ratio_large"] > 0
    assert found["cpu_ratio_large"] > 0


@pytest.mark.slow
def test_throughput_goes_on_while_a_snapshot_is_held(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "snapshot --seconds 1 --messages 100 --repeat 1")

    assert found["exactly_once"] is True
    assert found["ratio_held"] > 0
    assert found["ratio_after"] > 0


@pytest.mark.slow
def test_retention_deletes_while_mail_passes(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "retention --rows 20000 --messages 50 --repeat 1")

    assert found["exactly_once"] is True
    assert found["ratio_deleting"] > 0
    assert found["deleted_per_second"] > 0


@pytest.mark.slow
def test_the_soak_tells_what_grew(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "memory --messages 200 --batch 50")

    assert found["exactly_once"] is True
    for role in ("sender", "consumer"):
        assert 10 < found[f"{role}_rss_mib_most"] < 200
        assert found[f"{role}_open_files_most"] > 3
    assert found["connections"] >= 5
    assert found["ratio_last_to_first"] > 0


@pytest.mark.slow
def test_killed_senders_cost_at_most_a_copy_each(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "kill --messages 200 --repeat 1")

    assert (found["lost"], found["stuck"]) == (0, 0)
    assert found["copies_per_session"] <= 1
    assert found["going_on_after_ms"] > 0


@pytest.mark.slow
def test_every_role_is_timed_from_its_start(request: pytest.FixtureRequest) -> None:
    found = _bench(request, "start --repeat 1")

    roles = ("consumer", "scheduler", "sender", "retention", "api", "monitor")
    times = [found[f"{role}_start_to_work_ms"] for role in roles]
    assert min(times) > 0
    assert found["slowest_start_to_work_ms"] == max(times)
    assert all(found[f"{role}_connections"] >= 1 for role in roles)


@pytest.mark.slow
def test_deliveries_by_http_are_counted_one_by_one_and_in_batches(
    request: pytest.FixtureRequest,
) -> None:
    found = _bench(request, "http --messages 60 --callers 4 --batch 25 --repeat 1")

    assert found["exactly_once"] is True
    assert found["messages"]["expected"] == 2 * (200 + 60)
    assert found["single_per_second"] > 0
    assert found["batch_per_second"] > 0


@pytest.mark.slow
def test_every_list_search_and_page_is_read(request: pytest.FixtureRequest) -> None:
    command = "reading --finished 300 --deferred 20 --times 5 --messages 60 --repeat 1"
    found = _bench(request, command)

    assert found["exactly_once"] is True
    times = {name: found[f"{name}_p95_ms"] for name in ASKED}
    assert found["slowest_p95_ms"] == max(times.values()) > 0
    assert found["ratio_watched"] > 0


def test_an_answer_that_is_no_acceptance_ends_the_measurement() -> None:
    """A rate of refusals would say nothing."""
    refusal = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        callers = Callers(server.getsockname()[1], 1)
        connection, _ = server.accept()
        with connection:
            connection.sendall(refusal)

            with pytest.raises(Unanswered, match="503"):
                callers.call([post("/", {})])
        callers.close()
