"""The rolling restart without end: single roles are told to stop at random while mail flows.

SIGTERM is what an upgrade, a host's shutdown and `supervisorctl restart` send: nothing may be lost,
nothing doubled, nothing left in doubt, and every process ends in time with exit code 0.
"""

from pathlib import Path
from typing import Any

from mailworkers.bench.progress import Progress
from mailworkers.gameday.judging.verdict import Verdict
from mailworkers.gameday.plan import restarts as draw
from mailworkers.gameday.running import Run, play
from mailworkers.gameday.service import LEASE


def natural_seconds(messages: int, restarts: int) -> float:
    """Return how long a load lasts on two cores: a restart costs most of a second of one."""
    return round(max(10.0, messages / 300, restarts * 0.75), 1)


def restarts(run: Run, directory: Path, progress: Progress) -> tuple[Verdict, dict[str, Any]]:
    """Do one run in *directory*; return the verdict, and the report that tells it."""
    faults = draw(run.seed, seconds=run.seconds, terms=run.terms, senders=run.senders, lease=LEASE)
    return play(run, faults, directory, progress)
