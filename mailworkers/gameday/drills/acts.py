"""What goes wrong in each drill: stores, relay, roles and clock. Disks and hosts have their own."""

import itertools
import math
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mailworkers.embedded.ports import free_port
from mailworkers.gameday.clocks import SteppedClock, find_library
from mailworkers.gameday.drills.needs import CannotRun
from mailworkers.gameday.drills.scene import Scene
from mailworkers.gameday.hurting import end, opened
from mailworkers.gameday.service import Service, wait_until

_BACK_WITHIN = 60.0  # seconds until a role that was killed works again
_BETWEEN_DEATHS = 1.0
_CLOCK_IS_OFF = "host clock is off"
# What each is called, and the signal that ends it in good order.
_STORES = {"redis": ("Redis", "SIGTERM"), "postgres": ("PostgreSQL", "SIGINT, fast")}


class Act:
    """What one drill does: `prepare` before anything starts, `happen` while mail flows."""

    def prepare(self, directory: Path) -> Mapping[str, str]:  # noqa: ARG002  others use it
        """Make ready in *directory*, where nothing is yet; return settings of the service."""
        return {}

    def postgres(self) -> Sequence[str]:
        """Return settings of PostgreSQL, each `name=value`."""
        return ()

    def sink_address(self) -> str:
        """Return where the relay listens."""
        return "127.0.0.1"

    def observed_from(self, service: Service) -> tuple[Sequence[str], int, str]:
        """Return what Prometheus is started by, the port it scrapes, and where it listens."""
        return (), service.metrics_port, f"127.0.0.1:{free_port()}"

    def started(self, service: Service) -> None:
        """Do what belongs after the service works and before mail flows."""

    def happen(self, scene: Scene[Service]) -> None:
        """Do it, let it last, undo it."""
        raise NotImplementedError

    def gather(self, service: Service) -> None:
        """Bring together what the judge of the ledgers must see, before it looks."""

    def told(self, service: Service) -> list[str]:  # noqa: ARG002  others use it
        """Return what should have been said or done meanwhile and was not."""
        return []

    def leave(self) -> None:
        """End what leans on the service, before that ends."""

    def close(self) -> None:
        """End whatever `prepare` began, after the service."""


class StoreOutage(Act):
    """Redis or PostgreSQL ends in good order and comes back on its data."""

    def __init__(self, target: Literal["redis", "postgres"]) -> None:
        self._target = target

    def happen(self, scene: Scene[Service]) -> None:
        """Stop it, start it."""
        servers = scene.service.servers
        is_redis = self._target == "redis"
        server = servers.keyvalue if is_redis else servers.postgres
        name, ending = _STORES[self._target]
        number = scene.fault(self._target, "outage", f"{name} is stopped ({ending})")
        server.stop()
        is_down = server.pid is None
        scene.hold(scene.seconds)
        server.start()
        scene.say(f"{name} is started again")
        # Only without PostgreSQL may what is under way end with its outcome unsettled.
        about = {} if is_redis else {"sessions": scene.senders}
        scene.effect(number, is_done=is_down, **about)


class RelayStall(Act):
    """The relay hangs: whoever is connected or comes hears nothing."""

    def happen(self, scene: Scene[Service]) -> None:
        """Fall silent, speak again."""
        sink = scene.service.sink
        number = scene.fault("relay", "stall", "the relay accepts connections and says nothing")
        sink.order(silent=True)
        before = int(sink.order(count=True))
        scene.hold(scene.seconds)
        # What was on its way when it fell silent is taken, one a session at most.
        is_done = int(sink.order(count=True)) - before <= scene.senders
        sink.order(silent=False)
        scene.say("the relay answers again")
        scene.effect(number, is_done=is_done, sessions=scene.senders)


class RelayRefusesLogins(Act):
    """The relay ends all sessions and refuses every login."""

    def happen(self, scene: Scene[Service]) -> None:
        """Refuse, accept again."""
        sink = scene.service.sink
        number = scene.fault(
            "relay", "login_535", "the relay ends its sessions and answers 535 to every login"
        )
        before = sink.order(done=True).get("login_535", 0)
        sink.order(arm="login_535", times=10**9)
        cut = int(sink.order(cut=True))
        scene.hold(scene.seconds)
        refused = sink.order(done=True).get("login_535", 0) - before
        sink.order(calm=True)
        scene.say(f"the relay takes logins again; it refused {refused}")
        scene.effect(number, is_done=refused > 0, cut=cut)


class RoleDeaths(Act):
    """Each role dies in turn, senders more often, and is back at work before the next."""

    def happen(self, scene: Scene[Any]) -> None:
        """Kill one after the other until the time is over, at least one whole round."""
        roles = sorted(scene.service.roles())
        began = time.monotonic()
        for number, program in enumerate(itertools.cycle(roles)):
            if number >= len(roles) and time.monotonic() - began >= scene.seconds:
                return
            kill_and_wait(scene, program)
            scene.hold(_BETWEEN_DEATHS)


def kill_and_wait(scene: Scene[Any], program: str) -> None:
    """Kill the process of *program* while it works, return when its successor does."""
    pid = kill(scene, program)
    died = time.monotonic()
    service = scene.service

    def is_back() -> bool:
        new = service.pid(program)
        return new not in (0, pid) and bool(service.is_at_work(program, new))

    wait_until(is_back, _BACK_WITHIN, f"{program} is not back at work")
    scene.say(f"{program} is back at work after {time.monotonic() - died:.1f} s")


def kill(scene: Scene[Any], program: str) -> int:
    """Kill the process of *program* as soon as it works; return its id."""
    service = scene.service
    pid = 0

    def is_working() -> bool:
        nonlocal pid
        pid = service.pid(program)
        return pid != 0 and bool(service.is_at_work(program, pid))

    wait_until(is_working, _BACK_WITHIN, f"{program} does not work")
    number = scene.fault(program, "kill", f"kill -9 {program} (pid {pid})")
    scene.killed.add(program)
    with opened(pid) as handle:
        seconds = end(handle, signal.SIGKILL, _BACK_WITHIN)
    scene.effect(number, is_done=seconds < math.inf, pid=pid, seconds_to_end=seconds)
    return pid


class ClockStep(Act):
    """The clock of the host is set, for its roles alone: an hour on, then an hour back."""

    def __init__(self) -> None:
        self._clock: SteppedClock | None = None

    def prepare(self, directory: Path) -> Mapping[str, str]:
        """Let supervisord and its roles follow a clock of our own."""
        library = find_library()
        if library is None:
            raise CannotRun("clock-step needs libfaketime: apt-get install faketime")
        self._clock = SteppedClock(directory, library)
        return self._clock.environ

    def happen(self, scene: Scene[Service]) -> None:
        """Step it forward, then back, then right."""
        if self._clock is None:
            raise CannotRun("the clock was not prepared")
        for offset in ("+1h", "-1h"):
            number = scene.fault("clock", "step", f"the clock of the host is off by {offset}")
            self._clock.set(offset)
            scene.hold(scene.seconds / 2)
            scene.effect(number, is_done=True)
        self._clock.set("+0")
        scene.say("the clock of the host is right again")

    def told(self, service: Service) -> list[str]:
        """Return the roles that did not say that their clock is off."""
        silent = []
        for program in sorted(service.roles()):
            log = service.state_dir / "log" / f"{program}.log"
            if _CLOCK_IS_OFF not in log.read_text(errors="replace"):
                silent.append(f"{program} did not say that its clock is off")
        return silent
