"""The course of a drill on a service that works: calm, fault, return, quiet, verdict."""

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.server_commands import ends_with_parent
from mailworkers.gameday.drills.acts import Act
from mailworkers.gameday.drills.asking import LADDER, LEASE, Asked
from mailworkers.gameday.drills.catalog import Drill
from mailworkers.gameday.drills.lookout import Alarms, Lookout
from mailworkers.gameday.drills.scene import Scene
from mailworkers.gameday.drills.session import Session
from mailworkers.gameday.judging.drill import (
    DRAINED_WITHIN,
    RESOLVED_WITHIN,
    Evidence,
    drained_after,
    judge_drill,
)
from mailworkers.gameday.judging.ledgers import read
from mailworkers.gameday.judging.places import Places
from mailworkers.gameday.judging.verdict import Verdict, judge
from mailworkers.gameday.judging.watch import Watch
from mailworkers.gameday.service import PASSWORD, SHUTDOWN_TIMEOUT, STREAM, Service

_PAUSE = 0.2


class DrillFailed(MailworkersError):  # noqa: N818  it names the condition
    """A drill could not be judged: something did not work before anything was done to it."""


class Course:
    """The course of one drill on a service that works."""

    def __init__(
        self, drill: Drill, asked: Asked, act: Act, service: Service, session: Session
    ) -> None:
        self._drill = drill
        self._asked = asked
        self._act = act
        self._service = service
        self._session = session
        self._scene: Scene[Service] = Scene(
            service, session, asked.seconds, asked.senders, self._begin
        )
        self._total = asked.calm + asked.seconds + max(asked.after, asked.seconds / 10)
        self._messages = int(asked.rate * self._total)

    def run(self, alarms: Alarms) -> dict[str, Any]:
        """Do it; return the report."""
        self._lookout = Lookout(self._service, alarms, self._session)
        self._lookout.start()
        try:
            with _started_load(self._service, self._asked, self._messages, self._total) as load:
                listener = threading.Thread(target=self._listen, args=(load,), daemon=True)
                listener.start()
                self._stay_calm()
                before, over = self._let_happen()
                self._wait_for_the_end(load)
                load.wait()
                listener.join()
            return self._report(before, over)
        finally:
            self._lookout.stop()

    def _listen(self, load: "subprocess.Popen[str]") -> None:
        for line in load.stdout or ():
            self._lookout.note_producers(int(line.split()[1]))

    def _stay_calm(self) -> None:
        self._session.say("mail flows; nothing is wrong yet")
        self._scene.hold(self._asked.calm)
        if early := self._lookout.firing():
            raise DrillFailed(f"alarms fire before anything was done: {', '.join(sorted(early))}")
        if not self._lookout.arrived:
            raise DrillFailed("no mail has arrived before anything was done")

    def _begin(self) -> None:
        self._lookout.begin_fault()

    def _let_happen(self) -> tuple[dict[str, int], float]:
        """Return the processes there were, and after how long it was over."""
        before = self._service.roles()
        self._scene.begin()
        self._act.happen(self._scene)
        self._session.say("it is over: from here everything must heal by itself")
        return before, self._lookout.now

    def _wait_for_the_end(self, load: "subprocess.Popen[str]") -> None:
        """Return when the load is through, no backlog is left and the alarms are quiet.

        Waits for longer than the bars, so that what took too long is told with its time.
        """
        deadline = time.monotonic() + 2 * max(DRAINED_WITHIN, RESOLVED_WITHIN)
        is_told = False
        while time.monotonic() < deadline:
            is_small = self._lookout.backlog <= self._limit
            if is_small and not is_told:
                self._session.say("the backlog is gone")
                is_told = True
            loud = self._lookout.firing() - self._drill.may
            if load.poll() is not None and is_small and not loud:
                return
            time.sleep(_PAUSE)

    @property
    def _limit(self) -> int:
        """Three seconds of the load are no backlog: it always takes a moment."""
        return max(50, 3 * self._asked.rate)

    def _report(self, before: dict[str, int], over: float) -> dict[str, Any]:
        with contextlib.closing(Watch(self._service.servers.postgres_dsn)) as watch:
            self._session.say("waiting until every delivery is over")
            is_quiet = watch.wait_until_quiet(LEASE + 90)
            self._session.end_fault()
            self._act.gather(self._service)
            self._session.say("judging ledgers, tables, stream, logs and counters")
            ledgers = judge(self._places(), watch, self._scene.planned)
        evidence = self._evidence(before, over, ledgers, is_quiet=is_quiet)
        found = judge_drill(evidence)
        return {
            "drill": self._drill.name,
            "is_good": not any(found.values()),
            "is_alarm_real": evidence.is_alarm_real,
            **msgspec.to_builtins(self._asked),
            "lasted": round(over, 1),
            "checks": found,
            "alarms": msgspec.to_builtins(self._lookout.alarms),
            "most_waiting": max((n for _, n in evidence.waiting), default=0),
            "drained_after": drained_after(evidence),
            "violations": {name: lines for name, lines in ledgers.violations.items() if lines},
            "facts": ledgers.facts,
        }

    def _evidence(
        self,
        before: dict[str, int],
        over: float,
        ledgers: Verdict,
        *,
        is_quiet: bool,
    ) -> Evidence:
        return Evidence(
            over=over,
            must=self._drill.must,
            may=self._drill.may,
            is_alarm_real=self._asked.has_prometheus,
            alarms=self._lookout.alarms,
            waiting=self._lookout.waiting,
            limit=self._limit,
            before=before,
            after=self._service.roles(),
            killed=frozenset(self._scene.killed),
            goes_on=self._drill.goes_on,
            arrived=[
                line["t"] - self._lookout.began
                for line in read(self._service.directory / "sink.jsonl")
                if line["kind"] == "message"
            ],
            ledgers=ledgers.counts,
            missed=ledgers.missed,
            ends={
                name.removeprefix("status "): count
                for name, count in ledgers.facts.items()
                if name.startswith("status ")
            },
            is_quiet=is_quiet,
            told=self._act.told(self._service),
        )

    def _places(self) -> Places:
        return Places(
            directory=self._service.directory,
            state_dir=self._service.state_dir,
            dsn=self._service.servers.postgres_dsn,
            redis_socket=self._service.redis_socket,
            stream=STREAM,
            secret=PASSWORD,
            metrics_port=self._service.metrics_port,
            messages=self._messages,
            lease=LEASE,
            ladder=LADDER.count(",") + 2,
            lanes_parked=frozenset(),
            listed=frozenset(),
            shutdown=SHUTDOWN_TIMEOUT,
            is_gentle=False,
            keep=None,
        )


@contextlib.contextmanager
def _started_load(
    service: Service, asked: Asked, messages: int, seconds: float
) -> Iterator["subprocess.Popen[str]"]:
    """Start the producers; they do not outlive the block, nor this process."""
    command = service.load_command(
        seed=asked.seed,
        messages=messages,
        seconds=seconds,
        deadline=2 * seconds + 600.0,
        is_steady=True,
    )
    with subprocess.Popen(
        ends_with_parent(command, signal.SIGKILL),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
