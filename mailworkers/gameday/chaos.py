"""The chaos run: everything is killed, frozen, cut and emptied at random while mail flows."""

from pathlib import Path
from typing import Any

from mailworkers.bench.progress import Progress
from mailworkers.gameday.judging.verdict import Verdict
from mailworkers.gameday.plan import plan
from mailworkers.gameday.running import Run, play
from mailworkers.gameday.service import LEASE


def natural_seconds(messages: int, kills: int) -> float:
    """Return how long a load lasts on two cores: 300 messages a second, a kill each 1.65 s."""
    return round(max(10.0, messages / 300, kills * 1.65), 1)


def chaos(run: Run, directory: Path, progress: Progress) -> tuple[Verdict, dict[str, Any]]:
    """Do one run in *directory*; return the verdict, and the report that tells it."""
    faults = plan(run.seed, seconds=run.seconds, kills=run.kills, senders=run.senders, lease=LEASE)
    return play(run, faults, directory, progress)
