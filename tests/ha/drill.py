"""The drill: load, a fault, and another one; then the verdict of the game days' judge.

Each fault waits until the one before is healed and everything is redundant again, so that what was
measured belongs to one cause.
"""

import contextlib
import json
import math
import time
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
from tests.ha.senders import LEASE, SenderHost
from tests.ha.stores import PASSWORD

RATE = 20  # commands a second
_MOST = 30_000  # commands: more than a drill can take
_CALM = 8.0  # seconds of load before a fault, and after its end
_SLOW = 0.4  # seconds; four senders then do half of what comes
_LONG = 240.0  # seconds: a slow machine's
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


class Drill:
    """One run on a cluster."""

    def __init__(self, cluster: Cluster, door: Door, seed: int) -> None:
        self._cluster = cluster
        self._door = door
        self._seed = seed
        self._faults = Ledger(cluster.directory / "faults.jsonl")
        self._planned = 0
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
            "ledger": str(self._cluster.directory / "load.jsonl"),
            "redis": str(self._door.path),
            "dsn": self._cluster.dsn,
            "stream": STREAM,
            "port": 8080,
        }
        log = self._cluster.directory / "load.out"
        program = self._cluster.senders["sender1"].start_here(
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
        hosts = [sender.address_outside for sender in self._cluster.senders.values()]
        eventually(
            lambda: all(self.ledgers.mail(began, math.inf, host) for host in hosts), within=_LONG
        )
        eventually(lambda: time.monotonic() > began + _CALM, within=_LONG)

    # What happens.

    def note(self, target: str, action: str, **effect: Any) -> float:
        """Write down a fault that took effect just now; return when."""
        self._planned += 1
        fault = {"kind": "fault", "number": self._planned, "target": target, "action": action}
        done = {"kind": "effect", "number": self._planned, "is_done": True}
        self._faults.commit({**fault, "about": {}})
        self._faults.commit({**done, **effect})
        return time.monotonic()

    def lose_the_primary(self) -> dict[str, float]:
        """Take the network, then the power, from the host of PostgreSQL's primary."""
        lost = self._cluster.primary()
        assert lost is not None
        with self._in_the_middle():
            self.say(f"power off: {lost.name}, PostgreSQL's primary, without a farewell")
            began = self.note("postgres", "failover")
            self._cluster.inner.cut(lost)
            lost.power_off()
        eventually(self._cluster.primary, within=_LONG)
        heir = self._cluster.primary()
        self.say(f"{heir and heir.name} is primary after {time.monotonic() - began:.1f} s")
        self._until_mail_flows(began)
        self._cluster.boot_store(lost)
        self.say(f"power on: {lost.name}")
        eventually(self._cluster.is_redundant, within=_LONG)
        self.say(f"both standbys follow after {time.monotonic() - began:.1f} s")
        return self._pauses(began)

    def switch_over(self) -> dict[str, float]:
        """Let another host be primary, as before maintenance."""
        before = self._cluster.primary()
        assert before is not None
        command = ("-c", "/etc/patroni/config.yml", "switchover", "--leader", before.name)
        self.say(f"patronictl switchover, away from {before.name}")
        began = time.monotonic()
        before.run("patronictl", *command, "--force")
        eventually(lambda: self._cluster.primary() not in (None, before), within=_LONG)
        self._until_mail_flows(began)
        eventually(self._cluster.is_redundant, within=_LONG)
        return self._pauses(began)

    def lose_redis(self) -> dict[str, float]:
        """Kill Redis' master; start it again when another is master."""
        lost = self._cluster.master_of_redis()
        assert lost is not None
        assert lost.redis is not None
        self.say(f"kill -9: Redis' master on {lost.name}")
        lost.redis.kill()
        began = time.monotonic()
        last_ids = {
            name: store.ask_redis("XINFO STREAM", STREAM)["last-generated-id"].decode()
            for name, store in self._cluster.stores.items()
            if store is not lost
        }
        heir = eventually(lambda: self._other_master(lost.name), within=_LONG)
        # To the judge: what was put before and is younger than the heir's last entry is gone.
        self.note("redis", "restart_empty", delivered=last_ids[heir], pending=[], t=began)
        self.say(f"{heir} is master after {time.monotonic() - began:.1f} s")
        self._until_mail_flows(began)
        lost.start_redis()
        eventually(self._cluster.is_redundant, within=_LONG)
        return self._pauses(began)

    def _other_master(self, lost: str) -> str:
        found = self._cluster.master_of_redis()
        if found is None or found.name == lost or found.ask_redis("ROLE")[0] != b"master":
            return ""
        return found.name

    def split(
        self, host: SenderHost, seconds: float, *, with_relay: bool = False
    ) -> dict[str, float]:
        """Cut *host* off from all stores for so long, and from the relay or not."""
        switches = [self._cluster.inner, *([self._cluster.world] if with_relay else [])]
        with self._in_the_middle():
            also = "and from the relay" if with_relay else "the relay it still reaches"
            self.say(f"cut off: {host.name} from all stores, {also}")
            began = time.monotonic()
            for switch in switches:
                switch.cut(host)
            held = self._held_by(host)
            # To the judge: so many doubts, one for each delivery the host had leased.
            self.note("relay", "cut_sessions", cut=held)
            self.say(f"{host.name} held {held} deliveries then")
        eventually(lambda: time.monotonic() > began + seconds, within=seconds + 5)
        for switch in switches:
            switch.mend(host)
        mended = time.monotonic()
        self._tell_who_sent(host, began, mended)
        eventually(lambda: self.ledgers.mail(mended, math.inf, host.address_outside), within=_LONG)
        back = self.ledgers.mail(mended, math.inf, host.address_outside)[0]["t"] - mended
        self.say(f"{host.name} sends again {back:.1f} s after it was mended")
        return self._pauses(began)

    def _held_by(self, host: SenderHost) -> int:
        """Return how many deliveries *host* has leased: each may be sent once more by others."""
        with self._cluster.connect() as conn:
            row: Any = conn.execute(
                "SELECT count(*) FROM mail.deliveries WHERE leased_by = ANY (%s::uuid[])",
                [host.journals()],
            ).fetchone()
        return int(row[0])

    def _tell_who_sent(self, host: SenderHost, began: float, mended: float) -> None:
        """Say who sent while *host* was cut off; it must not when its leases have ended."""
        own = [line["t"] - began for line in self.ledgers.mail(began, mended, host.address_outside)]
        others = self.ledgers.mail(began, mended, self._cluster.senders["sender1"].address_outside)
        last = f", the last {max(own):.1f} s after the cut" if own else ""
        span = mended - began
        self.say(f"mended after {span:.1f} s: {host.name} sent {len(own)} messages{last};")
        self.say(f"the other host {len(others)} meanwhile")
        assert max(own, default=0.0) < LEASE, "it sent when its leases had ended"
        assert others

    @contextlib.contextmanager
    def _in_the_middle(self) -> Iterator[None]:
        """Let the block find every sender waiting for the answer to a message that was taken."""
        with self._cluster.slow_relay(_SLOW):
            began = time.monotonic()
            eventually(lambda: time.monotonic() > began + 10 * _SLOW, within=_LONG)
            yield
            eventually(lambda: time.monotonic() > began + 15 * _SLOW, within=_LONG)

    def _until_mail_flows(self, began: float) -> None:
        now = time.monotonic()
        eventually(lambda: self.ledgers.mail(now, math.inf), within=_LONG)
        self.say(f"mail flows {time.monotonic() - began:.1f} s after the fault")

    def _pauses(self, began: float) -> dict[str, float]:
        pauses = self.ledgers.pauses(began, time.monotonic())
        told = ", ".join(f"{name} {seconds:g} s" for name, seconds in pauses.items())
        self.say(f"longest pauses: {told}")
        return pauses

    # What came of it.

    def judge(self) -> Verdict:
        """Wait until every delivery is over, and return the verdict."""
        with contextlib.closing(Watch(self._cluster.dsn)) as watch:
            assert watch.wait_until_quiet(_QUIET), "some deliveries do not come to their end"
            with Figures(self._read_figures) as figures:
                return judge(self._places(figures.port), watch, self._planned)

    def _read_figures(self) -> str:
        return "\n".join(sender.metrics() for sender in self._cluster.senders.values())

    def _places(self, metrics_port: int) -> Places:
        return Places(
            directory=self._cluster.directory,
            state_dir=self._cluster.directory / "states",
            dsn=self._cluster.dsn,
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
