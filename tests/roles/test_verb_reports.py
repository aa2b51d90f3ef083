"""What is told and counted when an operator changes what becomes of a delivery."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from mailworkers.adapters import db, store
from mailworkers.adapters.outcomes import report_verb
from mailworkers.adapters.telemetry import METRICS_DIRECTORY, Telemetry
from mailworkers.core.states import Status
from tests.deliveries import accept, new_delivery, put
from tests.roles.test_cli import Run, environ, here, run
from tests.roles.test_telemetry import numbers

__all__ = ["environ", "here", "run"]
WHY: dict[str, Any] = {"actor": "ada", "reason": "the invoice was wrong"}


class Told:
    """A telemetry, and the lines it wrote."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "log"
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT)
        self.metrics = directory / METRICS_DIRECTORY
        self.telemetry = Telemetry("api", "api", state_dir=directory, fd=self._fd)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._path.read_text().splitlines()]

    def close(self) -> None:
        self.telemetry.close()
        os.close(self._fd)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    """Return what reports are made to."""
    made = Told(tmp_path)
    yield made
    made.close()


def _requeue(conn: db.Connection, delivery_id: UUID) -> store.Effect:
    return store.requeue(conn, [delivery_id], **WHY)[delivery_id]


def _cancel(conn: db.Connection, delivery_id: UUID) -> store.Effect:
    return store.cancel(conn, [delivery_id], **WHY)[delivery_id]


@pytest.mark.parametrize("before", [Status.FAILED, Status.DEAD_LETTER, Status.UNCERTAIN])
def test_a_requeue_has_a_line_of_its_own(told: Told, conn: db.Connection, before: Status) -> None:
    """Who reads the logs of one delivery sees why it is sent again after its end."""
    delivery_id = put(conn, before)

    report_verb(told.telemetry, _requeue(conn, delivery_id))

    (line,) = told.lines()
    assert line["event"] == "mail delivery requeued"
    assert line["delivery_id"] == str(delivery_id)
    assert (line["before"], line["status"]) == (before, Status.QUEUED)


def test_a_cancel_that_is_pending_is_told_and_one_that_ends_it_as_any_end(
    told: Told, conn: db.Connection
) -> None:
    """What a sender has ends later, and is told then by whoever ends it."""
    leased, waiting = put(conn, Status.SENDING), put(conn, Status.DEFERRED)

    for delivery_id in (leased, waiting):
        report_verb(told.telemetry, _cancel(conn, delivery_id))

    requested, ended = told.lines()
    assert (requested["event"], requested["attempt_no"]) == ("mail delivery cancel requested", 1)
    assert (ended["event"], ended["status"]) == ("mail delivery ended", Status.CANCELLED)


def test_what_changed_nothing_is_not_told(told: Told, conn: db.Connection) -> None:
    """Refused, or done before."""
    sent, cancelled = put(conn, Status.SENT), put(conn, Status.CANCELLED)

    report_verb(told.telemetry, _cancel(conn, sent))
    report_verb(told.telemetry, _cancel(conn, cancelled))
    report_verb(told.telemetry, _requeue(conn, cancelled))

    assert told.lines() == []


@pytest.mark.usefixtures("here")
def test_a_cancel_by_the_command_line_counts_as_one_by_http_does(
    run: Run, conn: db.Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """One recipient has it already, so the delivery is sent: in the log and among the sent, too."""
    metrics = tmp_path / "state" / METRICS_DIRECTORY
    metrics.mkdir(parents=True)
    new = new_delivery("a@example.com", "b@example.com")
    accept(conn, new)
    conn.execute("UPDATE delivery_recipients SET status = 'accepted' WHERE ordinal = 0")

    result = run("deliveries", "cancel", str(new.delivery_id), "--yes", "--reason", "enough")

    assert result.exit_code == 0, result.output
    assert numbers(metrics)["mail_delivery_sent_total{source=notification}"] == 1
    line = json.loads(capfd.readouterr().err)
    assert (line["event"], line["process"]) == ("mail delivery ended", "cli")


@pytest.mark.usefixtures("here")
def test_the_command_line_makes_no_state_directory(
    run: Run, conn: db.Connection, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It may run elsewhere, or as somebody who would own what the roles must write to."""
    delivery_id = put(conn, Status.QUEUED)

    result = run("deliveries", "cancel", str(delivery_id), "--yes", "--reason", "enough")

    assert result.exit_code == 0, result.output
    assert not (tmp_path / "state").exists()
    assert capfd.readouterr().err == ""
