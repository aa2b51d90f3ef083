"""One run: start, load under faults, heal, wait for quiet, judge."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mailworkers.bench.progress import Progress
from mailworkers.gameday.commands import LISTED, PARKED_LANE
from mailworkers.gameday.faults import Faults
from mailworkers.gameday.judging.places import Places
from mailworkers.gameday.judging.verdict import Verdict, judge
from mailworkers.gameday.judging.watch import Watch
from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.observer import Observer, tenths
from mailworkers.gameday.plan import Fault
from mailworkers.gameday.service import LADDER, LEASE, PASSWORD, SHUTDOWN_TIMEOUT, STREAM, Service

# After the faults: a lease that just began ends, is taken back, waits, runs through its ladder.
_QUIET = LEASE + 75.0
_MOST_LATE = 600.0  # seconds after its time until the load gives up what is not answered
_MOST_AHEAD = 20.0  # seconds the load may be ahead of the faults
_LOOK_EVERY = 1.0
_TOLD_EVERY = 60.0
_KEEP = 60.0  # seconds that retention keeps everything in a run of short lives


class Run(NamedTuple):
    """What is asked for: so many SIGKILLs and SIGTERMs of roles, and what else the plan has.

    *is_short_lived*: retention deletes what is a minute old.
    """

    messages: int
    kills: int
    terms: int
    seed: int
    seconds: float
    senders: int = 3
    servers: str = "auto"
    is_short_lived: bool = False


def play(
    run: Run, plan: list[Fault], directory: Path, progress: Progress
) -> tuple[Verdict, dict[str, Any]]:
    """Do one run in *directory*; return the verdict, and the report that tells it."""
    began = time.monotonic()
    with Service(directory, senders=run.senders, source=run.servers, more=_more(run)) as service:
        with progress.step("starting"):
            service.start()
        started = time.monotonic()
        faults = Faults(service, Ledger(directory / "faults.jsonl"), plan)
        observer = Observer(service, Ledger(directory / "samples.jsonl"))
        drive(run, service, faults, observer, progress)
        healed = time.monotonic()
        with contextlib.closing(Watch(service.servers.postgres_dsn)) as watch:
            with progress.step("waiting until every delivery is over"):
                is_quiet = watch.wait_until_quiet(_QUIET)
            quiet = time.monotonic()
            with progress.step("judging", total=run.messages) as advance:
                verdict = judge(places_of(run, service, plan), watch, len(plan), advance)
        judged = time.monotonic()
    faults.leave()
    times = {"start": started - began, "load": healed - started, "quiet": quiet - healed}
    times["judging"] = judged - quiet
    return verdict, {
        **run._asdict(),
        "is_good": verdict.is_good,
        "is_quiet": is_quiet,
        "took_seconds": {name: round(span, 1) for name, span in times.items()},
        "planned_faults": len(plan),
        "most_ready_in_each_tenth": tenths(observer.backlog),
        **verdict._asdict(),
    }


def _more(run: Run) -> dict[str, str]:
    if not run.is_short_lived:
        return {}
    return dict.fromkeys(
        (
            "MAIL_DELIVERY_RETENTION",
            "MAIL_IDEMPOTENCY_TTL",
            "MAIL_PAYLOAD_RETENTION",
            "MAIL_MALFORMED_COMMAND_RETENTION",
        ),
        f"{_KEEP:g}s",
    )


def drive(
    run: Run, service: Service, faults: Faults, observer: Observer, progress: Progress
) -> None:
    """Let the load run under the faults; return when all is answered and all is healed."""
    command = service.load_command(
        seed=run.seed,
        messages=run.messages,
        seconds=run.seconds,
        deadline=4 * run.seconds + _MOST_LATE,
    )
    observer.start()
    faults.start()
    with _started(command) as load:
        clock = threading.Thread(target=_tell_the_time, args=(load, run, faults))
        clock.start()
        with progress.step("messages at the sink", total=run.messages) as advance:
            arrived, told = 0, time.monotonic()
            while load.poll() is None:
                time.sleep(_LOOK_EVERY)
                _allow(load, faults.done_until + _MOST_AHEAD)
                now = int(service.sink.order(count=True))
                advance(now - arrived)
                arrived = now
                if time.monotonic() > told + _TOLD_EVERY:
                    told = time.monotonic()
                    progress.say(f"{arrived} at the sink, {observer.ready} ready, {faults.told}")
        clock.join()
    faults.finish()
    observer.stop()


@contextlib.contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """Run *command* with pipes to and from it; it does not outlive the block."""
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _allow(load: subprocess.Popen[str], seconds: float) -> None:
    """Let the load go on at full pace until that second of its plan."""
    if load.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            # Past the buffer: what could not be written must not be tried again at the close.
            os.write(load.stdin.fileno(), f"{seconds}\n".encode())


def _tell_the_time(load: subprocess.Popen[str], run: Run, faults: Faults) -> None:
    """Let the faults follow the load; when it has ended, however it did, all of them are due."""
    for line in load.stdout or ():
        faults.advance(float(line.split()[0]))
    faults.advance(2 * run.seconds)


def places_of(run: Run, service: Service, plan: list[Fault]) -> Places:
    return Places(
        directory=service.directory,
        state_dir=service.state_dir,
        dsn=service.servers.postgres_dsn,
        redis_socket=service.redis_socket,
        stream=STREAM,
        secret=PASSWORD,
        metrics_port=service.metrics_port,
        messages=run.messages,
        lease=LEASE,
        ladder=LADDER.count(",") + 2,
        lanes_parked=frozenset({PARKED_LANE}),
        listed=frozenset(LISTED),
        shutdown=SHUTDOWN_TIMEOUT,
        is_gentle=all(fault.action == "term" for fault in plan),
        keep=_KEEP if run.is_short_lived else None,
    )


def new_directory() -> Path:
    """Return a short new directory: sockets go below it."""
    return Path(tempfile.mkdtemp(prefix="mail-chaos-"))
