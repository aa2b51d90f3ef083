"""What the ledgers of a run say about times: when mail came, when commands were taken.

All ledgers count on one clock, the monotonic one, which all machines of the test share.
"""

import itertools
import math
from collections import defaultdict
from pathlib import Path

from mailworkers.gameday.judging.ledgers import Line, read


class Ledgers:
    """The ledgers of the run in *directory*, as far as they go by now."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def _times(self, file: str, **wanted: str) -> list[float]:
        return [
            line["t"]
            for line in read(self._directory / file)
            if all(line.get(name) == value for name, value in wanted.items())
        ]

    def mail(self, since: float, until: float, peer: str = "") -> list[Line]:
        """Return the messages that came between two moments, from *peer* or anybody."""
        return [
            line
            for line in read(self._directory / "sink.jsonl")
            if line["kind"] == "message"
            and since < line["t"] <= until
            and peer in ("", line["peer"])
        ]

    def first_of_many(self) -> list[float]:
        """Return when each message first came that came more than once to somebody."""
        came: dict[tuple[str, ...], list[float]] = defaultdict(list)
        for line in self.mail(0.0, math.inf):
            came[line["message_id"], *line["rcpt_to"]].append(line["t"])
        return sorted(min(times) for times in came.values() if len(times) > 1)

    def pauses(self, since: float, until: float) -> dict[str, float]:
        """Return the longest time between two moments in which nothing of each kind happened."""
        kinds = {
            "mail at the relay": self._times("sink.jsonl", kind="message"),
            "HTTP 2xx": self._times("load.jsonl", kind="told", way="http"),
            "XADD taken": self._times("load.jsonl", kind="told", way="stream"),
        }
        return {name: _longest_pause(times, since, until) for name, times in kinds.items()}


def _longest_pause(times: list[float], since: float, until: float) -> float:
    within = sorted(t for t in times if since < t < until)
    marks = [since, *within, until]
    return round(max(b - a for a, b in itertools.pairwise(marks)), 1)
