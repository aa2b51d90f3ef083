"""A rule for the proxy that reads PostgreSQL's protocol and strikes at one statement."""

import enum
import re
from collections.abc import Callable, Iterator

from mailworkers.adapters import db
from tests.crash.stores.proxy import Link, Rule


class Strike(enum.StrEnum):
    """What becomes of the statement that is struck.

    `terminated`: an operator ends the backend before it gets there. `unanswered`: it is done,
    COMMIT and all, and the answer is lost with the connection.
    """

    TERMINATED = "terminated"
    UNANSWERED = "unanswered"


class StatementStrike(Rule):
    """Strikes once, at *target*: the name of a statement or its number, from 0 over all links.

    `seen` lists the statements that passed; *terminate* ends the backend of a process id.
    """

    def __init__(self, target: int | str, strike: Strike, terminate: Callable[[int], None]) -> None:
        self._target = target
        self._strike = strike
        self._terminate = terminate
        self._struck: Link | None = None
        self._asked: dict[Link, _Frames] = {}
        self._answered: dict[Link, _Frames] = {}
        self._prepared: dict[tuple[Link, bytes], bytes] = {}
        self._pids: dict[Link, int] = {}
        self.seen: list[str] = []

    @property
    def has_struck(self) -> bool:
        """Whether the target was met."""
        return self._struck is not None

    def asks(self, link: Link, data: bytes) -> bytes:
        """Count the statements in *data*; strike when the one that is meant is among them."""
        frames = self._asked.setdefault(link, _Frames(has_startup=True))
        bound = b""
        for kind, payload in frames.feed(data):
            match kind:
                case b"P":
                    name, text, _ = payload.split(b"\0", 2)
                    self._prepared[link, name] = text
                case b"B":
                    bound = self._prepared[link, payload.split(b"\0", 2)[1]]
                case b"Q" | b"E":
                    text = payload.rstrip(b"\0") if kind == b"Q" else bound
                    if self._note(text):
                        return self._strike_at(link, data)
        return data

    def _note(self, text: bytes) -> bool:
        """Note a statement; whether it is the one to strike at."""
        name = NAMES.get(text, text.decode(errors="replace"))
        self.seen.append(name)
        return not self.has_struck and self._target in {name, len(self.seen) - 1}

    def _strike_at(self, link: Link, data: bytes) -> bytes:
        self._struck = link
        if self._strike is Strike.TERMINATED:
            self._terminate(self._pids[link])
        return data

    def answers(self, link: Link, data: bytes) -> bytes:
        """Hold back the answer to the statement that was struck; cut once it is whole."""
        frames = self._answered.setdefault(link, _Frames(has_startup=False))
        kinds = []
        for kind, payload in frames.feed(data):
            kinds.append(kind)
            if kind == b"K":
                self._pids[link] = int.from_bytes(payload[:4], "big")
        if link is not self._struck or self._strike is not Strike.UNANSWERED:
            return data
        if b"Z" in kinds:  # ReadyForQuery: what was asked is committed
            link.cut()
        return b""


class _Frames:
    """Splits one direction of a connection into messages (protocol 3.0, section "Formats")."""

    def __init__(self, *, has_startup: bool) -> None:
        self._buffer = b""
        self._at_startup = has_startup

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Yield kind and payload of every message that is whole now."""
        self._buffer += data
        while True:
            head = 0 if self._at_startup else 1
            if len(self._buffer) < head + 4:
                return
            length = head + int.from_bytes(self._buffer[head : head + 4], "big")
            if len(self._buffer) < length:
                return
            kind, payload = self._buffer[:head], self._buffer[head + 4 : length]
            self._buffer = self._buffer[length:]
            self._at_startup = False
            yield kind, payload


def _on_the_wire(statement: bytes) -> bytes:
    """Return *statement* as the driver sends it: `$1` for the first name, `$2` for the next."""
    numbers: dict[bytes, bytes] = {}

    def number(found: re.Match[bytes]) -> bytes:
        return numbers.setdefault(found[1], b"$%d" % (len(numbers) + 1))

    return re.sub(rb"%\((\w+)\)[sbt]", number, statement).replace(b"%%", b"%")


NAMES = {_on_the_wire(statement): name for name, statement in db.SQL.items()}
