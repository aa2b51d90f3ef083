"""Telemetry: one JSON object a line, nothing secret in it, numbers right across processes."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from mailworkers.adapters import events
from mailworkers.adapters.exposition import exposition
from mailworkers.adapters.instruments import INSTRUMENTS, Kind
from mailworkers.adapters.logs import Level, Log
from mailworkers.adapters.metrics import MOST_SERIES, SPACE, Metrics
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.core.refusals import FailureCode
from mailworkers.core.states import AttemptStatus, Stage, Status

CANARY = "c4n4ry-s3cret"
DELIVERY = UUID("01900000-0000-7000-8000-000000000001")
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
WHEN = datetime(2027, 1, 31, 8, tzinfo=UTC)


class Listener:
    """A telemetry whose lines go to a file, and what was written there."""

    def __init__(self, directory: Path, level: str = "debug") -> None:
        self._path = directory / "log"
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.directory = directory / "metrics"
        self.telemetry = Telemetry(
            "sender", "sender-01", state_dir=directory, level=level, secrets=[CANARY], fd=self._fd
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.telemetry.close()
        os.close(self._fd)

    @property
    def text(self) -> str:
        return self._path.read_text()

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]

    def last(self) -> dict[str, Any]:
        return self.lines()[-1]

    def numbers(self) -> dict[str, float]:
        return numbers(self.directory)


def numbers(directory: Path, **readings: Any) -> dict[str, float]:
    """Return each series on `/metrics`, as `name{label=value}`."""
    found = {}
    text = exposition(directory, readings.get("readings")).decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    """Return telemetry at level debug, and its lines."""
    with Listener(tmp_path) as listening:
        yield listening


Act = Callable[[Telemetry], None]
# fmt: off
EVENTS: list[tuple[Act, str, str, dict[str, Any], dict[str, float]]] = [
    (lambda t: t.delivery_sent(DELIVERY, "api", 1, 2, 12.5, 40.0, TRACEPARENT),
     "INFO", "mail delivery sent", {"cycle_attempt": 1, "attempt_no": 2, "duration_ms": 12.5},
     {"mail_delivery_sent_total{source=api}": 1, "mail_delivery_end_to_end_ms_sum": 40}),
    (lambda t: t.retry_scheduled(DELIVERY, "api", 1, 3, WHEN, "451 later", TRACEPARENT),
     "INFO", "mail delivery retry scheduled",
     {"cycle_attempt": 1, "attempt_no": 3, "next_attempt_at": "2027-01-31T08:00:00Z"},
     {"retries_scheduled_total": 1}),
    (lambda t: t.dead_lettered(DELIVERY, "api", 9, 9, 9, False, "451 later", TRACEPARENT),  # noqa: FBT003
     "WARN", "mail delivery dead-lettered",
     {"cycle_attempt": 9, "attempt_no": 9, "max_attempts": 9, "permanent": False,
      "reason": "451 later"},
     {"retries_exhausted_total": 1, "mail_delivery_dead_letters_total{source=api}": 1}),
    (lambda t: t.dead_lettered(DELIVERY, "api", 1, 1, 9, True, "550 no", TRACEPARENT),  # noqa: FBT003
     "WARN", "mail delivery dead-lettered", {"permanent": True},
     {"mail_delivery_failed_total{source=api}": 1, "retries_exhausted_total": 0,
      "mail_delivery_dead_letters_total{source=api}": 1}),
    (lambda t: t.delivery_ended(DELIVERY, "api", Status.UNCERTAIN, "no answer", 1, TRACEPARENT),
     "INFO", "mail delivery ended", {"status": "uncertain", "reason": "no answer"},
     {"mail_delivery_uncertain_total{source=api}": 1}),
    (lambda t: t.delivery_ended(DELIVERY, "api", Status.CANCELLED, "by ada", 1, TRACEPARENT),
     "INFO", "mail delivery ended", {"status": "cancelled"}, {}),
    (lambda t: t.command_rejected(FailureCode.INVALID_JSON, None, "", "17-0", "payload: no JSON"),
     "WARN", "stream command rejected",
     {"failure_code": "invalid_json", "delivery_id": "", "source": "", "stream_entry_id": "17-0"},
     {"mail_stream_commands_malformed_total{failure_code=invalid_json}": 1}),
    (lambda t: t.command_accepted("api", "suppressed", 7),
     "DEBUG", "deliveries accepted", {"count": 7},
     {"mail_delivery_accepted_total{source=api}": 7,
      "mail_delivery_suppressed_total{source=api}": 7}),
    (lambda t: t.entry_vanished("17-0"),
     "ERROR", "stream entry vanished", {"stream_entry_id": "17-0"},
     {"mail_stream_commands_vanished_total": 1}),
    (lambda t: t.group_made_anew(), "ERROR", "consumer group made anew", {},
     {"mail_stream_commands_group_lost_total": 1}),
    (lambda t: t.store_lost("redis", "Connection refused"),
     "ERROR", "store lost", {"dependency": "redis"}, {"mail_store_lost_total{store=redis}": 1}),
    (lambda t: t.store_returned("redis", 3.25),
     "INFO", "store returned", {"dependency": "redis", "away_seconds": 3.25}, {}),
    (lambda t: t.relay_fault(Stage.AUTH, "535 5.7.8 no"),
     "ERROR", "relay fault", {"stage": "auth"}, {"mail_relay_faults_total{stage=auth}": 1}),
    (lambda t: t.relay_recovered(), "INFO", "relay recovered", {}, {}),
    (lambda t: t.lease_lost(DELIVERY), "WARN", "lease lost", {}, {"mail_lease_lost_total": 1}),
    (lambda t: t.outcome_corrected(DELIVERY, "sent"),
     "WARN", "outcome corrected", {"status": "sent"}, {"mail_lease_late_total": 1}),
    (lambda t: t.journal_adopted(unknown=1),
     "WARN", "journal adopted", {"unknown": 1}, {"mail_journal_adopted_total": 1}),
    (lambda t: t.role_started(version="1"), "INFO", "role started", {"version": "1"}, {}),
    (lambda t: t.role_stopped("signal"), "INFO", "role stopped", {"reason": "signal"}, {}),
    (lambda t: t.setting_doubted("X is odd"),
     "WARN", "setting is doubtful", {"detail": "X is odd"}, {}),
    (lambda t: t.export_failed("no answer"),
     "WARN", "telemetry not exported", {"dependency": "collector", "reason": "no answer"}, {}),
    (lambda t: t.export_returned(2.5),
     "INFO", "telemetry exported again", {"dependency": "collector", "away_seconds": 2.5}, {}),
    (lambda t: t.clock_is_off(timedelta(hours=-1)),
     "ERROR", "host clock is off", {"skew_seconds": -3600}, {}),
    (lambda t: t.delivery_requeued(DELIVERY, "api", "failed", "queued", TRACEPARENT),
     "INFO", "mail delivery requeued", {"before": "failed", "status": "queued"}, {}),
    (lambda t: t.cancel_requested(DELIVERY, "api", 2, TRACEPARENT),
     "INFO", "mail delivery cancel requested", {"attempt_no": 2}, {}),
]
# fmt: on


@pytest.mark.parametrize(("act", "level", "event", "facts", "counted"), EVENTS)
def test_each_event_has_its_text_its_level_its_facts_and_its_numbers(
    listener: Listener,
    act: Act,
    level: str,
    event: str,
    facts: dict[str, Any],
    counted: dict[str, float],
) -> None:
    """Contract section 6: dashboards and runbooks rely on these."""
    act(listener.telemetry)

    line = listener.last()
    assert list(line)[:5] == ["time", "level", "event", "role", "process"]
    assert (line["level"], line["event"]) == (level, event)
    assert (line["role"], line["process"]) == ("sender", "sender-01")
    assert line.items() >= facts.items()
    assert listener.numbers().items() >= counted.items()


def test_every_event_text_is_described(listener: Listener) -> None:
    """The runbook lists them all."""
    elsewhere = {events.LEVEL_CHANGED, events.LINES_LOST, events.UNCOUNTED}
    written = {event for _, _, event, _, _ in EVENTS} | elsewhere

    assert written == set(events.EVENTS)


def test_a_delivery_line_carries_the_ids_of_its_trace(listener: Listener) -> None:
    """`otel_trace_id` and `otel_span_id` come from the command's traceparent."""
    listener.telemetry.delivery_sent(DELIVERY, "api", 1, 1, 1.0, 1.0, TRACEPARENT)
    with_trace = listener.last()
    listener.telemetry.delivery_sent(DELIVERY, "api", 1, 1, 1.0, 1.0, None)
    without = listener.last()

    assert with_trace["delivery_id"] == str(DELIVERY)
    assert with_trace["otel_trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert with_trace["otel_span_id"] == "b7ad6b7169203331"
    assert (without["otel_trace_id"], without["otel_span_id"]) == ("", "")


def test_numbers_without_a_line_are_counted(listener: Listener) -> None:
    """One observation per attempt and per retry."""
    listener.telemetry.attempt_closed(AttemptStatus.TIMED_OUT, 15_000)
    listener.telemetry.retry_executed("success", 12)
    listener.telemetry.retry_executed(AttemptStatus.PROVIDER_ACCEPTED, 12)
    listener.telemetry.retry_executed(AttemptStatus.TIMED_OUT, 12)

    found = listener.numbers()
    assert found["mail_attempt_outcomes_total{status=timed_out}"] == 1
    assert found["mail_provider_send_duration_ms_bucket{le=10000.0}"] == 0
    assert found["mail_provider_send_duration_ms_bucket{le=30000.0}"] == 1
    assert found["mail_retry_lateness_ms_count"] == 3
    assert found["retries_executed_total{status=success}"] == 2
    assert found["retries_executed_total{status=failed}"] == 1
    assert listener.text == ""


def test_addresses_are_masked_and_secrets_hidden_in_every_text(listener: Listener) -> None:
    """G-28, X-31: what a relay or a driver says may hold both."""
    said = f"550 no such user <ada.lovelace@example.com>, password {CANARY}"
    listener.telemetry.dead_lettered(DELIVERY, "api", 1, 1, 9, True, said, None)  # noqa: FBT003
    listener.telemetry.store_lost("redis", "redis://:hunter2@h:1 failed, password=hunter3")

    assert "a***@example.com" in listener.text
    for secret in (CANARY, "lovelace", "hunter2", "hunter3"):
        assert secret not in listener.text


def test_an_unexpected_exception_is_told_without_the_data_it_quotes(listener: Listener) -> None:
    """A database error's DETAIL repeats the row; source lines and locals are not shown either."""

    def fall_over() -> None:
        secret_local = "hunter2"
        try:
            dict[str, str]()[secret_local]
        except KeyError as error:
            raise ValueError(f"bad {CANARY} for a@b.example\nDETAIL: Failing row (x)") from error

    try:
        fall_over()
    except ValueError as error:
        listener.telemetry.failed("sender failed", error)

    line = listener.last()
    assert line["error"] == "ValueError: bad *** for a***@b.example"
    assert line["caused_by"] == ["KeyError"]
    assert line["traceback"][0].startswith(__file__)
    assert line["traceback"][0].endswith(" fall_over")
    for secret in (CANARY, "hunter2", "Failing row"):
        assert secret not in listener.text


@given(st.text() | st.text(alphabet=st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"])))
def test_a_line_stays_one_line_and_obeys_nobody(tmp_path_factory: Any, text: str) -> None:
    """X-30: no text from outside breaks a line, hides or turns what follows."""
    path = tmp_path_factory.mktemp("log") / "log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        Log("sender", "sender-01", fd=fd).write_cleaned(Level.INFO, "event", {"detail": text})
    finally:
        os.close(fd)

    written = path.read_bytes()
    assert written.count(b"\n") == 1
    assert isinstance(json.loads(written)["detail"], str)
    assert not {"\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2028", "\u2066"} & set(
        written.decode()
    )


def test_a_text_is_cut_at_its_longest(listener: Listener) -> None:
    """A hostile megabyte does not fill the disk."""
    listener.telemetry.store_lost("postgres", "x" * 1_000_000)

    assert len(listener.text) < 3000


def test_a_line_that_cannot_be_written_is_dropped_and_counted(tmp_path: Path) -> None:
    """F-V06: the service goes on when the log's disk is full or its reader is gone."""
    reader, writer = os.pipe()
    os.close(reader)
    telemetry = Telemetry("sender", "sender-01", state_dir=tmp_path, fd=writer)

    telemetry.relay_recovered()

    assert numbers(tmp_path / "metrics")["mail_log_lines_lost_total"] == 1
    telemetry.close()
    os.close(writer)


def test_after_half_a_line_the_next_one_begins_anew() -> None:
    """A pipe that is full in the middle of a line must not glue two together."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    lost: list[int] = []
    log = Log("sender", "sender-01", fd=writer, on_lost=lambda: lost.append(1))
    while not lost:
        log.write(Level.INFO, "event", {"detail": "x" * 1500})
    taken = os.read(reader, 1 << 20)
    log.write(Level.INFO, "event", {"detail": "whole"})
    rest = os.read(reader, 1 << 20)
    os.close(reader)
    os.close(writer)

    *_, last = (taken + rest).splitlines()
    assert json.loads(last)["detail"] == "whole"


def _sent(telemetry: Telemetry, attempt_no: int = 1) -> None:
    telemetry.delivery_sent(
        delivery_id=DELIVERY,
        source="api",
        cycle_attempt=attempt_no,
        attempt_no=attempt_no,
        duration_ms=3.0,
        end_to_end_ms=9.0,
        traceparent=None,
    )


def test_what_is_told_together_is_whole_and_in_order(listener: Listener) -> None:
    """Nothing of it is there before the end; then every line and every number is."""
    with listener.telemetry.together():
        for attempt_no in range(1, 101):
            _sent(listener.telemetry, attempt_no)
        assert listener.text == ""

    assert [line["attempt_no"] for line in listener.lines()] == list(range(1, 101))
    found = listener.numbers()
    assert found["mail_delivery_sent_total{source=api}"] == 100
    assert found["mail_delivery_end_to_end_ms_count"] == 100
    assert found["mail_delivery_end_to_end_ms_sum"] == 900


def test_what_was_told_before_an_exception_is_kept(listener: Listener) -> None:
    def fail_halfway() -> None:
        with listener.telemetry.together():
            _sent(listener.telemetry)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    _sent(listener.telemetry)

    assert len(listener.lines()) == 2
    assert listener.numbers()["mail_delivery_sent_total{source=api}"] == 2


def test_lines_told_together_into_a_full_pipe_are_counted_each(tmp_path: Path) -> None:
    """A pipe that nobody reads has no room for 1,000 lines: those it has not are counted."""
    reading, writing = os.pipe()
    telemetry = Telemetry("sender", "s", state_dir=tmp_path, level="info", fd=writing)

    with telemetry.together():
        for _ in range(1000):
            _sent(telemetry)

    os.set_blocking(reading, False)
    written = os.read(reading, 1 << 20).count(b"\n")
    lost = numbers(tmp_path / "metrics")["mail_log_lines_lost_total"]
    assert 0 < written < 1000
    assert written + lost == 1000
    telemetry.close()
    os.close(reading)
    os.close(writing)


def test_the_level_can_be_changed_at_run_time(tmp_path: Path) -> None:
    """G-24: by `state_dir/log_level`, without a restart; without the file LOG_LEVEL holds again."""
    with Listener(tmp_path, level="info") as listener:
        telemetry = listener.telemetry
        telemetry.pass_done("cleanup pass", deleted=0)
        assert listener.text == ""

        (tmp_path / "log_level").write_text("debug\n")
        telemetry.refresh_level()
        telemetry.pass_done("cleanup pass", deleted=3)

        assert [line["event"] for line in listener.lines()] == ["log level changed", "cleanup pass"]
        assert listener.last()["deleted"] == 3
        (tmp_path / "log_level").unlink()
        telemetry.refresh_level()
        assert telemetry.level == "info"


def test_a_senseless_level_file_changes_nothing(tmp_path: Path) -> None:
    """A typing mistake must not silence anything."""
    with Listener(tmp_path, level="warn") as listener:
        (tmp_path / "log_level").write_text("loud")
        listener.telemetry.refresh_level()

        assert listener.telemetry.level == "warn"


def test_a_restarted_process_goes_on_counting(tmp_path: Path) -> None:
    """Right across restarts, and no file is left behind by each of them."""
    for _ in range(3):
        metrics = Metrics(tmp_path, "sender-01")
        metrics.count("mail.delivery.sent", "api")
        metrics.observe("mail.provider.send.duration_ms", 3)
        metrics.close()

    found = numbers(tmp_path)
    assert found["mail_delivery_sent_total{source=api}"] == 3
    assert found["mail_provider_send_duration_ms_count"] == 3
    assert len(list(tmp_path.glob("*.db"))) == 2


def test_two_processes_of_one_name_do_not_share_a_file(tmp_path: Path) -> None:
    """Started by hand beside supervisord's: both count, nothing is lost."""
    first, second = Metrics(tmp_path, "sender"), Metrics(tmp_path, "sender")
    first.count("mail.delivery.sent", "api", amount=2)
    second.count("mail.delivery.sent", "api", amount=3)

    assert numbers(tmp_path)["mail_delivery_sent_total{source=api}"] == 5
    first.close()
    second.close()


def test_numbers_of_a_killed_process_are_kept(tmp_path: Path) -> None:
    """SIGKILL between any two lines: what was counted is in the file already."""
    program = (
        "import os, pathlib, signal, sys\n"
        "from mailworkers.adapters.metrics import Metrics\n"
        "metrics = Metrics(pathlib.Path(sys.argv[1]), 'sender-01')\n"
        "metrics.count('mail.delivery.sent', 'api', amount=41)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)

    metrics = Metrics(tmp_path, "sender-01")
    metrics.count("mail.delivery.sent", "api")

    assert numbers(tmp_path)["mail_delivery_sent_total{source=api}"] == 42
    metrics.close()


@pytest.mark.parametrize("damage", [b"", b"\0\0", b"\xff" * 4096, b"\x40\0\0\0" + b"\1" * 200])
def test_a_damaged_file_is_left_out_and_set_aside(tmp_path: Path, damage: bytes) -> None:
    """B-22: neither the monitor nor the process it belongs to falls over it."""
    (tmp_path / "counter_sender-01.db").write_bytes(damage)
    (tmp_path / "counter_other.db").write_bytes(damage)
    metrics = Metrics(tmp_path, "sender-01")
    metrics.count("mail.lease.lost")

    assert numbers(tmp_path)["mail_lease_lost_total"] == 1
    metrics.close()


def test_labels_from_outside_are_bounded(tmp_path: Path) -> None:
    """G-29: whatever is passed, the number of series has an end."""
    metrics = Metrics(tmp_path, "consumer")
    for number in range(MOST_SERIES * 3):
        metrics.count("mail.delivery.accepted", f"source-{number}")
    metrics.count("mail.stream_commands.malformed", "made_up")

    found = numbers(tmp_path)
    accepted = [name for name in found if name.startswith("mail_delivery_accepted_total")]
    assert len(accepted) <= MOST_SERIES + 1
    assert sum(found[name] for name in accepted) == MOST_SERIES * 3
    assert found["mail_stream_commands_malformed_total{failure_code=other}"] == 1
    metrics.close()


def test_everything_that_can_be_counted_has_its_space_beforehand(tmp_path: Path) -> None:
    """A full disk has no page for a mapped file that grows, and that ends the process (SIGBUS)."""
    metrics = Metrics(tmp_path, "sender-01")
    for instrument in INSTRUMENTS:
        if instrument.kind is Kind.COUNTER and "source" in instrument.labels:
            for number in range(MOST_SERIES + 1):
                metrics.count(instrument.name, f"{number:x<64}")
    metrics.close()

    files = list(tmp_path.glob("*.db"))
    assert [path.stat().st_size for path in files] == [SPACE] * 2
    assert all(path.stat().st_blocks * 512 >= SPACE for path in files)
    used = (tmp_path / "counter_sender-01.db").read_bytes().rstrip(b"\0")
    assert len(used) > SPACE / 4  # the space is not far too large either


def test_many_threads_count_right(tmp_path: Path) -> None:
    """The api serves from several threads."""
    metrics = Metrics(tmp_path, "api")

    def count() -> None:
        for _ in range(2000):
            metrics.count("mail.delivery.accepted", "api")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert numbers(tmp_path)["mail_delivery_accepted_total{source=api}"] == 8000
    metrics.close()


def test_known_series_begin_at_zero_and_gauges_are_added(tmp_path: Path) -> None:
    """An alert on a rate must see the first event; a status without rows is 0, not absent."""
    metrics = Metrics(tmp_path, "monitor")
    readings = {
        "mail.attempt_schedule.depth": {("queued", "auth"): 3},
        "retry_queue_depth": {(): 5},
        "service_up": {("sender",): 1},
    }

    found = numbers(tmp_path, readings=readings)

    for status in AttemptStatus:
        if status is not AttemptStatus.IN_PROGRESS:
            assert found[f"mail_attempt_outcomes_total{{status={status}}}"] == 0
    assert found["mail_attempt_schedule_depth{lane=auth,status=queued}"] == 3
    assert found["mail_attempt_schedule_depth{lane=bulk,status=deferred}"] == 0
    assert found["retry_queue_depth"] == 5
    assert found["service_up{service=sender}"] == 1
    assert found["service_up{service=api}"] == 0
    metrics.close()


def test_instruments_are_named_as_the_contract_says() -> None:
    """Dotted by OTLP, underscored on /metrics; counters end in _total once."""
    named = {instrument.name: instrument.prometheus_name for instrument in INSTRUMENTS}

    assert named["mail.delivery.dead_letters"] == "mail_delivery_dead_letters_total"
    assert named["retries_executed"] == "retries_executed_total"
    assert named["mail.provider.send.duration_ms"] == "mail_provider_send_duration_ms"
    assert named["mail.attempt_schedule.oldest_age_ms"] == "mail_attempt_schedule_oldest_age_ms"
    for instrument in INSTRUMENTS:
        assert bool(instrument.bounds) is (instrument.kind is Kind.HISTOGRAM)
        assert list(instrument.bounds) == sorted(instrument.bounds)
