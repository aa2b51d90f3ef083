"""Where a drill happens: the service, the ledger of faults, and how long it is to last."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from mailworkers.gameday.drills.session import Session
from mailworkers.gameday.ledger import Ledger

_PAUSE = 0.1


class Place(Protocol):
    """Where roles run: a service of our own, or an installation that is there."""

    directory: Path

    def roles(self) -> dict[str, int]:
        """Return the process id of every role that runs."""

    def pid(self, program: str) -> int:
        """Return the process id of *program*, 0 while it does not run or nobody can tell."""

    def is_at_work(self, program: str, pid: int) -> bool:
        """Whether the process *pid* of *program* has said that it started."""


Home = TypeVar("Home", bound=Place)


class Scene(Generic[Home]):
    """What an act has at hand; everything it does is written down before it is done."""

    def __init__(
        self,
        service: Home,
        session: Session,
        seconds: float,
        senders: int,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.service = service
        self.seconds = seconds
        self.senders = senders
        self.killed: set[str] = set()
        self.planned = 0
        self._session = session
        self._begin = begin
        self._ledger = Ledger(service.directory / "faults.jsonl")

    @property
    def directory(self) -> Path:
        """Return where everything of this drill lies."""
        return self.service.directory

    def begin(self) -> None:
        """Say that it goes wrong from now on: alarms and what goes on meanwhile count from here."""
        self._session.begin_fault()
        self._begin()

    def say(self, text: str) -> None:
        """Write one line into the session log."""
        self._session.say(text)

    def hold(self, seconds: float) -> None:
        """Let it last."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            time.sleep(min(left, _PAUSE))

    def fault(self, target: str, action: str, text: str) -> int:
        """Write down what is about to be done; return the number its `effect` needs."""
        self.planned += 1
        self._ledger.commit(
            {"kind": "fault", "number": self.planned, "target": target, "action": action}
        )
        self.say(text)
        return self.planned

    def effect(self, number: int, *, is_done: bool, **about: Any) -> None:
        """Write down what came of a fault.

        *sessions*: how many sessions with the relay may have had a message under way by it.
        """
        self._ledger.commit({"kind": "effect", "number": number, "is_done": is_done, **about})
