"""A run: load on a cluster, a ledger of what is done to it, the verdict of the game days' judge."""

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mailworkers.gameday.commands import LISTED, PARKED_LANE
from mailworkers.gameday.judging.places import Places
from mailworkers.gameday.judging.verdict import Verdict, judge
from mailworkers.gameday.judging.watch import Watch
from mailworkers.gameday.ledger import Ledger
from mailworkers.gameday.service import LADDER, SHUTDOWN_TIMEOUT, STREAM
from tests.eventually import eventually
from tests.ha.cluster import Cluster
from tests.ha.door import Door
from tests.ha.figures import Figures
from tests.ha.ledgers import Ledgers
from tests.ha.senders import LEASE
from tests.ha.stores import PASSWORD

RATE = 20  # commands a second
_MOST = 30_000  # commands: more than a drill can take
_CALM = 8.0  # seconds of load before a fault, and after its end
_SLOW = 0.4  # seconds; four senders then do half of what comes
LONG = 240.0  # seconds: a slow machine's
_QUIET = 180.0
_FACTS = (
    "commands",
    "entries and requests",
    "never acknowledged",
    "lost with Redis before they were accepted",
    "deliveries",
    "attempts",
    "attempts with outcome unknown",
    "copies at the sink",
    "duplicates",
    "bound of duplicates",
)


class Run:
    """One run on a cluster."""

    def __init__(self, cluster: Cluster, door: Door, seed: int) -> None:
        self.cluster = cluster
        self._door = door
        self._seed = seed
        self._faults = Ledger(cluster.directory / "faults.jsonl")
        self._planned = 0
        self.left_figures: dict[str, str] = {}
        self._moments: dict[str, float] = {}
        self.ledgers = Ledgers(cluster.directory)
        self.told: list[str] = []

    def say(self, text: str) -> None:
        """Print a line of the session's log and keep it."""
        line = f"{time.strftime('%H:%M:%S')} {text}"
        self.told.append(line)
        print(line, flush=True)

    @contextlib.contextmanager
    def load(self) -> Iterator[None]:
        """Let the game days' producer send by both ways, on sender1, until the block ends.

        Then it is killed: what it was not told is nobody's promise.
        """
        settings = {
            "seed": self._seed,
            "messages": _MOST,
            "seconds": _MOST / RATE,
            "deadline": 2 * _MOST / RATE,
            "ledger": str(self.cluster.directory / "load.jsonl"),
            "redis": str(self._door.path),
            "dsn": self.cluster.dsn,
            "stream": STREAM,
            "port": 8080,
        }
        log = self.cluster.directory / "load.out"
        program = self.cluster.senders["sender1"].start_here(
            log, "-m", "mailworkers.gameday.load", json.dumps(settings), stdin=-1, text=True
        )
        pipe = program.process.stdin
        assert pipe is not None
        pipe.write(f"{math.inf}\n")
        pipe.flush()
        try:
            yield
            assert program.is_running, "the load ended by itself: see load.out"
        finally:
            if program.is_running:
                program.kill()
            pipe.close()

    def calm(self) -> None:
        """Let the load flow: both hosts send."""
        began = time.monotonic()
        hosts = [sender.address_outside for sender in self.cluster.senders.values()]
        eventually(
            lambda: all(self.ledgers.mail(began, math.inf, host) for host in hosts), within=LONG
        )
        eventually(lambda: time.monotonic() > began + _CALM, within=LONG)

    def note(self, name: str, target: str, action: str, **effect: Any) -> float:
        """Write down a fault, *name* for people, that took effect just now; return when."""
        self._moments[name] = time.monotonic()
        self._planned += 1
        fault = {"kind": "fault", "number": self._planned, "target": target, "action": action}
        done = {"kind": "effect", "number": self._planned, "is_done": True}
        self._faults.commit({**fault, "about": {}})
        self._faults.commit({**done, **effect})
        return time.monotonic()

    @contextlib.contextmanager
    def in_the_middle(self) -> Iterator[None]:
        """Let the block find every sender waiting for the answer to a message that was taken."""
        with self.cluster.slow_relay(_SLOW):
            began = time.monotonic()
            eventually(lambda: time.monotonic() > began + 10 * _SLOW, within=LONG)
            yield
            eventually(lambda: time.monotonic() > began + 15 * _SLOW, within=LONG)

    def until_mail_flows(self, began: float) -> None:
        now = time.monotonic()
        eventually(lambda: self.ledgers.mail(now, math.inf), within=LONG)
        self.say(f"mail flows {time.monotonic() - began:.1f} s after the fault")

    def tell_pauses(self, began: float) -> None:
        pauses = self.ledgers.pauses(began, time.monotonic())
        told = ", ".join(f"{name} {seconds:g} s" for name, seconds in pauses.items())
        self.say(f"longest pauses: {told}")

    # What came of it.

    def judge(self) -> Verdict:
        """Wait until every delivery is over, and return the verdict."""
        with contextlib.closing(Watch(self.cluster.dsn)) as watch:
            assert watch.wait_until_quiet(_QUIET), "some deliveries do not come to their end"
            with Figures(self._read_figures) as figures:
                return judge(self._places(figures.port), watch, self._planned)

    def tell_duplicates(self) -> None:
        """Say at which fault those were under way that came more than once."""
        counts = Counter(
            min(self._moments, key=lambda name: abs(self._moments[name] - first))
            for first in self.ledgers.first_of_many()
        )
        for name, count in counts.items():
            self.say(f"more than once came {count}: {name}")

    def _read_figures(self) -> str:
        hosts = self.cluster.senders.values()
        return "\n".join(self.left_figures.get(h.name) or h.metrics() for h in hosts)

    def _places(self, metrics_port: int) -> Places:
        return Places(
            directory=self.cluster.directory,
            state_dir=self.cluster.directory / "states",
            dsn=self.cluster.dsn,
            redis_socket=str(self._door.path),
            stream=STREAM,
            secret=PASSWORD,
            metrics_port=metrics_port,
            messages=_MOST,
            lease=LEASE,
            ladder=LADDER.count(",") + 2,
            lanes_parked=frozenset({PARKED_LANE}),
            listed=frozenset(LISTED),
            shutdown=SHUTDOWN_TIMEOUT,
            is_gentle=False,
            keep=None,
        )


def told(verdict: Verdict) -> Iterator[str]:
    """Yield the lines of the verdict that people want to see."""
    for name in _FACTS:
        yield f"  {name}: {verdict.facts.get(name, 0)}"
    for name, found in verdict.violations.items():
        if count := verdict.counts.get(name, 0):
            yield f"FAILED {name} ({count})"
            yield from (f"       {line}" for line in found[:10])
    yield from (f"NO EFFECT {line}" for line in verdict.missed)
    yield f"{sum(verdict.counts.values())} violations of {len(verdict.violations)} checks"


def door_of(cluster: Cluster) -> Door:
    """Return a producer's way to the master the Sentinels name."""

    def find_master() -> Path | None:
        master = cluster.master_of_redis()
        return master.redis_socket if master else None

    return Door(cluster.directory / "door.sock", PASSWORD, find_master)
