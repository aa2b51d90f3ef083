"""The judge is judged: each lie about a good run, told to its ledgers or tables, is found out."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from mailworkers.bench.progress import Progress
from mailworkers.gameday.faults import Faults
from mailworkers.gameday.judging.places import Places
from mailworkers.gameday.judging.verdict import Verdict, judge
from mailworkers.gameday.judging.watch import Watch
from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.observer import Observer
from mailworkers.gameday.running import Run, drive, new_directory, places_of
from mailworkers.gameday.service import Service

MESSAGES = 200


class Trial:
    """A calm run that is over, and its traces, which can be falsified."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.sink = places.directory / "sink.jsonl"
        self.load = places.directory / "load.jsonl"
        self.faults = places.directory / "faults.jsonl"

    def judge(self) -> Verdict:
        """Return the verdict over the traces as they are."""
        with contextlib.closing(Watch(self.places.dsn)) as watch:
            return judge(self.places, watch, planned=0)

    def sql(self, statement: str) -> None:
        """Falsify a table; foreign keys and triggers look away."""
        with psycopg.connect(self.places.dsn) as conn:
            conn.execute("SET session_replication_role = replica")
            conn.execute(statement.replace(":sent", _SENT).encode())

    def append(self, ledger: Path, **line: object) -> None:
        """Falsify a ledger."""
        with ledger.open("a") as file:
            file.write(json.dumps({"t": 1.0, **line}) + "\n")

    def a_message(self) -> dict[str, object]:
        """Return a message of the sink, one to a single recipient that nobody refused."""
        for text in self.sink.read_text().splitlines():
            line: dict[str, object] = json.loads(text)
            if line["kind"] == "message" and len(list(line["rcpt_to"])) == 1:  # type: ignore[call-overload]
                return line
        raise AssertionError("nothing has arrived")


@pytest.fixture(scope="module")
def trial(request: pytest.FixtureRequest) -> Iterator[Trial]:
    """Return a calm run whose service is there still."""
    directory = new_directory()
    source = request.config.getoption("--servers")
    run = Run(MESSAGES, 0, 0, seed=11, seconds=3.0, senders=2, servers=source)
    with Service(directory, senders=2, source=source) as service:
        service.start()
        faults = Faults(service, Ledger(directory / "faults.jsonl"), [])
        observer = Observer(service, Ledger(directory / "samples.jsonl"))
        drive(run, service, faults, observer, Progress(is_silent=True))
        with contextlib.closing(Watch(service.servers.postgres_dsn)) as watch:
            assert watch.wait_until_quiet(60)
        yield Trial(places_of(run, service, []))
    shutil.rmtree(directory, ignore_errors=True)


def _second_copy(trial: Trial) -> None:
    trial.append(trial.sink, **{**trial.a_message(), "number": 10_000})


def _other_bytes(trial: Trial) -> None:
    trial.append(trial.sink, **{**trial.a_message(), "digest": "another"})


def _foreign_content(trial: Trial) -> None:
    trial.append(trial.sink, **{**trial.a_message(), "canaries": ["canary0000000000000000"]})


def _too_late(trial: Trial) -> None:
    message = trial.a_message()
    number = int(str(message["message_id"])[:8], 16)
    lines = [json.loads(line) for line in trial.load.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "command" and line["number"] == number:
            line["expires_at_ms"] = 1
    trial.load.write_text("".join(json.dumps(line) + "\n" for line in lines))


def _role_that_died(trial: Trial) -> None:
    log = trial.places.state_dir / "log" / "supervisord.log"
    with log.open("a") as file:
        file.write("INFO spawned: 'consumer' with pid 4000001\n")
        file.write("INFO exited: consumer (exit status 1; not expected)\n")


def _secret_in_a_log(trial: Trial) -> None:
    with (trial.places.state_dir / "log" / "sender-01.log").open("a") as file:
        file.write(trial.places.secret)


_SENT = "(SELECT delivery_id FROM mail.deliveries WHERE status = 'sent' ORDER BY 1 LIMIT 1)"
# What is done, and the beginning of the check that must find it.
LIES: dict[str, tuple[Callable[[Trial], None] | str, str]] = {
    "an accepted command is gone": (
        "DELETE FROM mail.deliveries WHERE delivery_id = :sent",
        "I-01 every",
    ),
    "a delivery never ends": (
        """UPDATE mail.deliveries SET status = 'scheduled', finished_at = NULL,
        next_attempt_at = now() + interval '1 day' WHERE delivery_id = :sent""",
        "I-02 every",
    ),
    "an end without a reason": (
        "DELETE FROM mail.attempts WHERE delivery_id = :sent",
        "I-03 every end",
    ),
    "a refusal that no relay gave": (
        """UPDATE mail.deliveries SET status = 'failed', failure = 'rejected'
        WHERE delivery_id = :sent""",
        "I-03 every end",
    ),
    "a good command set aside though no consumer died of it": (
        """INSERT INTO mail.malformed_commands (stream, stream_entry_id, failure_code, detail,
            source, delivery_id, raw, raw_size, is_complete)
        SELECT 's', '1-1', 'poison', 'd', 'api', :sent::text, '', 0, true""",
        "I-01 no good",
    ),
    "attempts with a gap": (
        "UPDATE mail.attempts SET attempt_no = 7 WHERE delivery_id = :sent",
        "I-08 attempts",
    ),
    "an end that was left again": (
        """INSERT INTO chaos.moves (at, delivery_id, before, after, attempt_no, by)
        SELECT now(), :sent, 'sent', 'sent', 1, 'somebody'""",
        "I-12 no",
    ),
    "a recipient that nobody named": (
        "UPDATE mail.delivery_recipients SET address = 'x@example.com' WHERE delivery_id = :sent",
        "I-14 every",
    ),
    "a dead letter of what was sent": (
        """INSERT INTO mail.dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
        SELECT :sent, 'permanent', 1, 1, 'none'""",
        "dead letters",
    ),
    "a young delivery that retention deleted": (
        """INSERT INTO chaos.deliveries
        SELECT *, now() FROM mail.deliveries WHERE delivery_id = :sent""",
        "I-27 retention",
    ),
    "a copy too many": (_second_copy, "I-06 every duplicate"),
    "copies that differ": (_other_bytes, "I-07 all"),
    "another's content": (_foreign_content, "I-23 nobody"),
    "mail after its expiry": (_too_late, "I-10 nothing"),
    "a role that died by itself": (_role_that_died, "I-20 no role"),
    "the password in a log": (_secret_in_a_log, "I-24 the password"),
}


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_each_lie_about_a_good_run_is_found_out(trial: Trial) -> None:
    """First nothing is found; then each falsification fails its check, beside those before it."""
    good = trial.judge()
    assert good.is_good, good

    found = {}
    for lie, (falsify, check) in LIES.items():
        if isinstance(falsify, str):
            trial.sql(falsify)
        else:
            falsify(trial)
        counts = trial.judge().counts
        found[lie] = [name for name, count in counts.items() if count and name.startswith(check)]

    assert [lie for lie, names in found.items() if not names] == []
