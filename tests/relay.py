"""A scripted SMTP server on a real socket: does exactly what a test says, standard library only.

    def test_something(relay):                      # fixtures: relay, tls_relay, certificates
        relay.says(MAIL="451 later")                # every MAIL from now on
        relay.says(RCPT=["250 ok", "550 no"])       # the next two RCPT, then the default again
        relay.says("554 go away")                   # the banner
        relay.says(EHLO="250 PIPELINING\\nSIZE 100") # or: relay.offers("PIPELINING", "SIZE 100")
        relay.says(DOT=reset)                       # an action instead of a reply, see below
        relay.says(DOT=accepting(reset))            # taken over, recorded, and the answer lost
        ...
        assert relay.accepted[0].rcpt_to == ("a@example.com",)
        assert relay.commands[0] == ["EHLO localhost", "MAIL FROM:<...>", ...]   # by session

What can be scripted, in the order of a session: CONNECT (before the banner), BANNER, EHLO, HELO,
STARTTLS, TLS (before the handshake), AUTH (instead of all of it), AUTH_STEP (each 334), AUTH_END,
MAIL, RCPT, DATA, BODY (right after 354, before anything is read), DOT, RSET, NOOP, QUIT.

A value is a reply (`"250 ok"`, more lines after `\\n`; 421 closes the connection), an action, or a
list of them taken one by one. Actions: `hang`, `reset` (TCP reset), `close` (FIN), `half_close`
(FIN, and silence), `drip(reply)` (a byte at a time), `crumbled()` (all that follows a byte at a
time), `raw(bytes)` (anything at all), `endless(line)`, `late(seconds, reply)`, `listen` (until the
client speaks), `then(step, step, ..)`, and at DOT `accepting(step)`.

A message is in `accepted` before its 2yz is sent. `relay.users = {"name": "password"}` makes AUTH
(PLAIN, LOGIN, CRAM-MD5) check. `stop` and `start` keep the port: a relay that goes and comes back;
`hangs_up` ends the connections there are. A `narrow` relay has a window of a few kilobytes: what it
does not read, the client cannot get rid of.
"""

import contextlib
import socket
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from tests.certificates import Certificates, certificates
from tests.conversation import (
    Accepted,
    Conversation,
    Step,
    accepting,
    close,
    crumbled,
    drip,
    endless,
    half_close,
    hang,
    late,
    listen,
    raw,
    reset,
    then,
)

__all__ = [
    "Accepted",
    "Certificates",
    "Relay",
    "Step",
    "accepting",
    "certificates",
    "close",
    "crumbled",
    "drip",
    "endless",
    "half_close",
    "hang",
    "late",
    "listen",
    "raw",
    "relay",
    "reset",
    "then",
    "tls_relay",
]

Script = Step | list[Step]

CAPABILITIES = ("PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")


class Relay:
    """The server. Every connection has its own thread; all of them end with `stop`."""

    def __init__(
        self,
        certificates: Certificates | None = None,
        *,
        implicit: bool = False,
        narrow: bool = False,
    ):
        self.certificates = certificates
        self.implicit = implicit
        self._narrow = narrow
        self.users: dict[str, str] = {}
        self.port = 0
        self.accepted: list[Accepted] = []
        self.commands: list[list[str]] = []
        self.identity = "localhost"  # which certificate to show
        self.stopping = threading.Event()
        self._capabilities: tuple[str, ...] = CAPABILITIES
        self._script: dict[str, Script] = {}
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self._conversations: weakref.WeakSet[Conversation] = weakref.WeakSet()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def addr(self) -> str:
        """Return `127.0.0.1:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def sessions(self) -> int:
        """Return how many connections there were."""
        return len(self.commands)

    def says(self, banner: Step | None = None, /, **script: Script) -> None:
        """Set what is said from now on, by command; see the top of this file."""
        with self._lock:
            if banner is not None:
                self._script["BANNER"] = banner
            for name, steps in script.items():
                self._script[name] = list(steps) if isinstance(steps, list) else steps

    def forgets(self) -> None:
        """Go back to the defaults; what was accepted stays."""
        with self._lock:
            self._script.clear()
            self._capabilities = CAPABILITIES

    def offers(self, *capabilities: str) -> None:
        """Set the capabilities EHLO shows (STARTTLS is added where it can be had)."""
        self._capabilities = capabilities

    def hangs_up(self) -> None:
        """End every connection in order; new ones are welcome."""
        with self._lock:
            conversations = list(self._conversations)
        for conversation in conversations:
            conversation.hang_up()

    def start(self) -> None:
        """Listen, on the port it had before if there was one."""
        self.stopping.clear()
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        if self._narrow:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
            self._listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._listen, self._listener)

    def stop(self) -> None:
        """Cut every connection and refuse new ones."""
        self.stopping.set()
        if self._listener:
            with contextlib.suppress(OSError):  # wakes the thread in accept
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        for thread in self._threads:
            thread.join(10)
        self._threads.clear()

    def next_step(self, name: str, default: Step) -> Step:
        """Return what to do at *name* now."""
        with self._lock:
            steps = self._script.get(name)
            if isinstance(steps, list):
                return steps.pop(0) if steps else default
            return default if steps is None else steps

    def greeting(self, *, encrypted: bool) -> str:
        """Return the reply to EHLO."""
        can_encrypt = self.certificates is not None and not encrypted
        offered = [*self._capabilities, *(["STARTTLS"] if can_encrypt else [])]
        if self.users:
            offered.append("AUTH PLAIN LOGIN CRAM-MD5")
        return "250 " + "\n".join(["relay.test", *offered])

    def begin(self) -> tuple[int, list[str]]:
        """Return the number of a new session and the list of its commands."""
        with self._lock:
            self.commands.append([])
            return len(self.commands) - 1, self.commands[-1]

    def _listen(self, listener: socket.socket) -> None:
        while not self.stopping.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conversation = Conversation(self, connection)
            with self._lock:
                self._conversations.add(conversation)
            self._spawn(conversation.run)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A scripted relay without TLS."""
    with Relay() as server:
        yield server


@pytest.fixture
def tls_relay(certificates: Certificates) -> Iterator[Relay]:
    """A scripted relay that offers STARTTLS."""
    with Relay(certificates) as server:
        yield server
