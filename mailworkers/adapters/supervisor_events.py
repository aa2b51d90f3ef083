"""supervisord's event listener: reports processes that refuse to start or die again and again.

Runs as `[eventlistener:listener]` of supervisord.conf. Standard output is the protocol, so its log
lines go to standard error. Gauges of dead processes need no removal: metric files belong to process
names, and gauges are read when `/metrics` is asked. It ends with supervisord, which closes its
standard input.
"""

import os
import sys
import time
from collections import defaultdict, deque
from datetime import timedelta
from typing import TextIO

import msgspec
from supervisor import childutils  # type: ignore[import-untyped]

from mailworkers.adapters.logs import Level, Log
from mailworkers.adapters.supervisor_files import role_of

MISCONFIGURED = "process misconfigured"
STORM = "process keeps dying"
GAVE_UP = "process given up"

# This many unexpected ends of one process within the window are a storm, told once a window.
STORM_EXITS = 5
STORM_WINDOW = timedelta(minutes=1)


class Report(msgspec.Struct, frozen=True):
    """One line for operators: `event` is one of the texts above."""

    event: str
    facts: dict[str, object]


class Watch:
    """Remembers how often each process ended; decides what is worth a line."""

    def __init__(self) -> None:
        self._ends: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=STORM_EXITS))
        self._told: dict[str, float] = {}

    def ended(self, name: str, *, is_expected: bool, now: float) -> Report | None:
        """Judge that process *name* ended by itself at monotonic *now*.

        Expected means exit code 78 for a role (`exitcodes=78`): it will not be started again.
        """
        if is_expected:
            if role_of(name) is None:
                return None
            what = "exit code 78: correct the setting its log names, then start it"
            return Report(MISCONFIGURED, {"program": name, "detail": what})
        ends = self._ends[name]
        ends.append(now)
        window = STORM_WINDOW.total_seconds()
        is_storm = len(ends) == STORM_EXITS and now - ends[0] <= window
        if not is_storm or now - self._told.get(name, -window) < window:
            return None
        self._told[name] = now
        facts = {"program": name, "exits": STORM_EXITS, "within_seconds": round(now - ends[0], 1)}
        return Report(STORM, facts)


def judge(watch: Watch, event: str, payload: str, now: float) -> Report | None:
    """Return what to report about one of supervisord's events (its name and its payload)."""
    facts = dict(pair.split(":", 1) for pair in payload.split() if ":" in pair)
    name = facts.get("processname", "")
    match event:
        case "PROCESS_STATE_EXITED":
            return watch.ended(name, is_expected=facts.get("expected") == "1", now=now)
        case "PROCESS_STATE_FATAL":
            what = "supervisord cannot run it; its own log says why"
            return Report(GAVE_UP, {"program": name, "detail": what})
        case _:
            return None


def listen(source: TextIO, answers: TextIO, log: Log) -> None:
    """Take events until supervisord goes away."""
    watch = Watch()
    while True:
        childutils.listener.ready(answers)
        line = source.readline()
        if not line:
            return
        headers = childutils.get_headers(line)
        payload = source.read(int(headers["len"]))
        if report := judge(watch, headers["eventname"], payload, time.monotonic()):
            log.write_cleaned(Level.ERROR, report.event, report.facts)
        childutils.listener.ok(answers)


def main() -> None:
    """Run the listener as a program."""
    name = os.environ.get("SUPERVISOR_PROCESS_NAME", "listener")
    listen(sys.stdin, sys.stdout, Log("listener", name, fd=2))


if __name__ == "__main__":
    main()
