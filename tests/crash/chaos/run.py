"""One chaos run: start, load under faults, heal, wait for quiet, judge."""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

from tests.crash.chaos.evidence import Evidence, Places, Watch
from tests.crash.chaos.faults import Faults
from tests.crash.chaos.ledger import Ledger
from tests.crash.chaos.plan import Fault
from tests.crash.chaos.plan import plan as draw
from tests.crash.chaos.service import LEASE, PASSWORD, STREAM, Service
from tests.crash.chaos.verdict import Verdict, judge

# After the faults: a lease that just began ends, is taken back, waits, runs through its ladder.
_QUIET = LEASE + 75.0


class Run(NamedTuple):
    """What is asked for."""

    messages: int
    kills: int
    seed: int
    seconds: float
    senders: int = 3
    servers: str = "auto"


def natural_seconds(messages: int, kills: int) -> float:
    """Return how long a load lasts on two cores: 150 messages a second, a fault each 0.6 s."""
    return round(max(10.0, messages / 150, kills * 2.4 * 0.6), 1)


def chaos(run: Run, directory: Path) -> tuple[Verdict, dict[str, Any]]:
    """Do one run in *directory*; return the verdict, and the report that tells it."""
    plan = _plan(run)
    began = time.monotonic()
    with Service(directory, senders=run.senders, source=run.servers) as service:
        service.start()
        started = time.monotonic()
        faults = Faults(service, Ledger(directory / "faults.jsonl", synced=True), plan)
        _hurt(run, service, directory, faults)
        healed = time.monotonic()
        with contextlib.closing(Watch(service.servers.postgres_dsn)) as watch:
            is_quiet = watch.wait_until_quiet(_QUIET)
            quiet = time.monotonic()
            verdict = judge(Evidence(_places(service, directory)), watch, len(plan))
    faults.leave()
    times = {"start": started - began, "load": healed - started, "quiet": quiet - healed}
    return verdict, {
        **run._asdict(),
        "is_good": verdict.is_good,
        "is_quiet": is_quiet,
        "took_seconds": {name: round(span, 1) for name, span in times.items()},
        "planned_faults": len(plan),
        **verdict._asdict(),
    }


def _plan(run: Run) -> list[Fault]:
    if not run.kills:
        return []
    return draw(run.seed, seconds=run.seconds, kills=run.kills, senders=run.senders, lease=LEASE)


def _hurt(run: Run, service: Service, directory: Path, faults: Faults) -> None:
    """Let the load run under the faults; return when all is answered and all is healed."""
    settings = {
        "seed": run.seed,
        "messages": run.messages,
        "seconds": run.seconds,
        "deadline": run.seconds + 120,
        "ledger": str(directory / "load.jsonl"),
        "redis": service.redis_socket,
        "stream": STREAM,
        "port": service.port,
    }
    load = subprocess.Popen([sys.executable, "-m", "tests.crash.chaos.load", json.dumps(settings)])
    faults.start()
    faults.finish()
    load.wait(run.seconds + 150)


def _places(service: Service, directory: Path) -> Places:
    return Places(
        directory=directory,
        state_dir=service.state_dir,
        dsn=service.servers.postgres_dsn,
        redis_socket=service.redis_socket,
        stream=STREAM,
        secret=PASSWORD,
        metrics_port=service.metrics_port,
    )


def new_directory() -> Path:
    """Return a short new directory: sockets go below it."""
    return Path(tempfile.mkdtemp(prefix="mail-chaos-"))
