"""What a measurement needs of a peer."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from mailworkers.bench.arrivals import Arrival, Check
from mailworkers.bench.testbed import Testbed
from mailworkers.core.errors import MailworkersError


class PeerMissing(MailworkersError):  # noqa: N818  it names the condition
    """A peer cannot be run here; the message says why."""


class Work(msgspec.Struct, frozen=True):
    """Messages to be sent, named by *run*; *text* is the body of each."""

    run: str
    messages: int
    text: str


class Running(Protocol):
    """A peer whose workers run."""

    def prepare(self, work: Work) -> None:
        """Make the messages of *work* ready; nothing is enqueued yet."""

    def enqueue(self) -> tuple[int, int]:
        """Enqueue what was prepared; return when that began and when all was acknowledged, in ns.

        May return before the last message is at the sink, or after it.
        """

    def groups(self) -> Mapping[str, Sequence[int]]:
        """Return the process ids of its roots by kind: `peer`, `enqueuer`."""

    def check(self, work: Work, arrivals: Sequence[Arrival]) -> Check:
        """Compare what was prepared with what arrived."""

    def check_alive(self) -> None:
        """Raise BenchFailed when one of its processes is not running any more."""


class Peer(Protocol):
    """One product to compare with."""

    @property
    def name(self) -> str:
        """Return its name on the command line and in figures."""

    @property
    def promise(self) -> str:
        """Return what holds when its producer has the acknowledgement."""

    @property
    def settings(self) -> str:
        """Return how it is run."""

    def install(self) -> str:
        """Make it runnable and return its version; raise PeerMissing where that is impossible."""

    def running(self, testbed: Testbed) -> AbstractContextManager[Running]:
        """Run it on the stores and the sink of *testbed*, with a queue of its own that is empty."""
