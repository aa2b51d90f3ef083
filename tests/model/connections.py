"""The one place where a statement's answer can be lost."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from tests.model.picks import Pick
from tests.model.store import Store

T = TypeVar("T")
_FATES = 16  # what may become of a statement: mostly it is done and answered
_IN_FLIGHT, _ANSWER_LOST, _NOT_DONE = range(1, 4)


class Away(Exception):  # noqa: N818  it names the condition
    """A statement gave no answer: it may have been done, may be done later, or never."""


class Network(Protocol):
    """What lies between a process and the store."""

    store: Store
    is_away: bool
    in_flight: list[Callable[[], object]]


class Connection:
    """The store as one process reaches it.

    A statement may be done without its answer coming back, not be done at all, or be done later,
    when its process has long gone on (P-01).
    """

    def __init__(self, network: Network, pick: Pick) -> None:
        self._network = network
        self._pick = pick

    def __getattr__(self, name: str) -> Any:
        statement = getattr(self._network.store, name)

        def ask(*arguments: Any, **named: Any) -> Any:
            # What is done later is done with what was said now.
            fixed = [tuple(given) if isinstance(given, list) else given for given in arguments]
            return self._ask(partial(statement, *fixed, **named))

        return ask

    def _ask(self, statement: Callable[[], T]) -> T:
        if self._network.is_away:
            raise Away
        fate = self._pick(_FATES)
        if fate == _IN_FLIGHT:
            self._network.in_flight.append(statement)
        elif fate == _ANSWER_LOST:
            statement()
        if fate in {_IN_FLIGHT, _ANSWER_LOST, _NOT_DONE}:
            raise Away
        return statement()
