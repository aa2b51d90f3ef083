"""One connection to the scripted relay, and the actions a test can put into it; see `relay.py`."""

import base64
import binascii
import contextlib
import hashlib
import hmac
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.relay import Relay

Action = Callable[["Conversation"], None]
Step = str | Action


@dataclass(frozen=True)
class Accepted:
    """One message taken over: `raw` as the client meant it, `wire` as it came before the dot."""

    session: int
    mail: str
    mail_from: str
    rcpt_to: tuple[str, ...]
    raw: bytes
    wire: bytes

    def header(self, name: str) -> str | None:
        """Return the unfolded value of header *name*."""
        value = BytesHeaderParser().parsebytes(self.raw)[name]
        return None if value is None else "".join(str(value).splitlines())


class Over(Exception):  # noqa: N818
    """The conversation has ended."""


# Actions


def hang(conversation: "Conversation") -> None:
    """Say nothing more until the client goes away or the relay is stopped."""
    conversation.wait_for_the_end()


def reset(conversation: "Conversation") -> None:
    """Cut the connection with a TCP reset."""
    conversation.cut(gently=False)


def close(conversation: "Conversation") -> None:
    """End the connection in order."""
    conversation.cut(gently=True)


def half_close(conversation: "Conversation") -> None:
    """End our direction of the connection and read nothing more."""
    conversation.end_of_stream()
    conversation.wait_for_the_end()


def crumbled(every: float = 0.0) -> Action:
    """From now on send everything a byte at a time, *every* so many seconds; TLS records, too."""

    def act(conversation: "Conversation") -> None:
        conversation.crumble(every)

    return act


def listen(conversation: "Conversation") -> None:
    """Wait until the client has said something, and leave that unread."""
    conversation.wait_for_words()


def raw(data: bytes) -> Action:
    """Send *data* as it is."""

    def act(conversation: "Conversation") -> None:
        conversation.is_saying(data.rstrip().rpartition(b"\n")[2][:3].decode("ascii", "replace"))
        conversation.send(data)

    return act


def drip(reply: str, every: float = 0.01) -> Action:
    """Send *reply* a byte at a time, *every* so many seconds."""

    def act(conversation: "Conversation") -> None:
        conversation.is_saying(reply[:3])
        for byte in formatted(reply):
            conversation.send(bytes([byte]))
            conversation.pause(every)

    return act


def endless(line: bytes) -> Action:
    """Send *line* for ever."""

    def act(conversation: "Conversation") -> None:
        while True:
            conversation.send(line * 100)

    return act


def late(seconds: float, reply: Step) -> Action:
    """Wait, then do *reply*."""

    def act(conversation: "Conversation") -> None:
        conversation.pause(seconds)
        conversation.do(reply)

    return act


def then(*steps: Step) -> Action:
    """Do *steps* one after the other."""

    def act(conversation: "Conversation") -> None:
        for step in steps:
            conversation.do(step)

    return act


def accepting(step: Step) -> Action:
    """At DOT: take the message over, then do *step* instead of saying so."""

    def act(conversation: "Conversation") -> None:
        conversation.accept()
        conversation.do(step)

    return act


def formatted(reply: str) -> bytes:
    """Return *reply* as it goes out: a code, then one or more lines of text."""
    code, lines = reply[:3], reply[4:].split("\n")
    texts = [f"{code}-{line}" for line in lines[:-1]] + [f"{code} {lines[-1]}"]
    return "".join(text + "\r\n" for text in texts).encode()


class _Encrypted(ssl.SSLSocket):
    """TLS to a client that may be gone before it begins: then `wrap_socket` loses the socket."""

    def __del__(self) -> None:
        self.close()


@dataclass
class _Mail:
    """The transaction in progress."""

    line: str = ""
    mail_from: str | None = None
    rcpt_to: list[str] = field(default_factory=list)
    wire: bytes = b""


class Conversation:
    """One connection to the relay."""

    def __init__(self, relay: "Relay", connection: socket.socket) -> None:
        self.relay = relay
        self.number, self.commands = relay.begin()
        self._said = ""  # the code of the last reply
        self._at_dot = False  # a whole message is here and not taken over
        self._socket = connection
        self._socket.settimeout(0.05)
        self.unread = b""  # received and not looked at yet
        self._mail = _Mail()
        self._encrypted = False

    def run(self) -> None:
        """Talk until one side ends it."""
        with contextlib.suppress(Over, OSError):
            self._say("CONNECT", lambda _: None)
            if self.relay.implicit:
                self._encrypt()
            self._say("BANNER", "220 relay.test ESMTP")
            while True:
                self._answer(self._read_line().decode("utf-8", "replace"))
        self._socket.close()

    # What actions use

    def do(self, step: Step) -> None:
        """Say a reply or do an action; 421 ends the conversation."""
        if callable(step):
            step(self)
            return
        self.is_saying(step[:3])
        self.send(formatted(step))
        if step.startswith("421"):
            self.cut(gently=True)

    def is_saying(self, code: str) -> None:
        """Note the code of a reply about to go out; a 2yz to the dot takes the message first."""
        self._said = code
        if self._at_dot and code.startswith("2"):
            self.accept()

    def send(self, data: bytes) -> None:
        """Send all of *data* unless the relay is stopped meanwhile."""
        while data:
            try:
                data = data[self._socket.send(data) :]
            except TimeoutError:
                self._check()

    def pause(self, seconds: float) -> None:
        """Wait."""
        if self.relay.stopping.wait(seconds):
            raise Over

    def wait_for_the_end(self) -> None:
        """Read nothing; return by Over when the client is gone or the relay stopped."""
        watched = select.poll()
        watched.register(self._socket, select.POLLRDHUP)
        while not watched.poll(20):
            self._check()
        raise Over

    def wait_for_words(self) -> None:
        """Return when something is here to be read."""
        while True:
            with contextlib.suppress(TimeoutError):
                if not self._socket.recv(1, socket.MSG_PEEK):
                    raise Over
                return
            self._check()

    def cut(self, *, gently: bool) -> None:
        """End the connection."""
        if not gently:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        raise Over

    def end_of_stream(self) -> None:
        """Send a FIN; the client may go on sending."""
        self._socket.shutdown(socket.SHUT_WR)

    def hang_up(self) -> None:
        """End the connection from another thread: the client has the FIN when this returns."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def crumble(self, every: float) -> None:
        """Put something in front of the connection that hands on single bytes of ours."""
        near, far = socket.socketpair()
        outer, self._socket = self._socket, near
        near.settimeout(0.05)
        for source, target, size in ((far, outer, 1), (outer, far, 65536)):
            source.settimeout(None)
            pause = every if size == 1 else 0.0
            threading.Thread(
                target=_hand_on, args=(source, target, size, pause, self.relay), daemon=True
            ).start()

    def accept(self) -> None:
        """Take the message over, if that has not happened."""
        if not self._at_dot:
            return
        self._at_dot = False
        mail = self._mail
        self.relay.accepted.append(
            Accepted(
                session=self.number,
                mail=mail.line,
                mail_from=mail.mail_from or "",
                rcpt_to=tuple(mail.rcpt_to),
                raw=(b"\r\n" + mail.wire).replace(b"\r\n.", b"\r\n")[2:],
                wire=mail.wire,
            )
        )

    # Commands

    def _answer(self, line: str) -> None:
        self.commands.append(line)
        verb = line.split(" ", 1)[0].upper()
        handler = _HANDLERS.get(verb)
        if handler:
            handler(self, line)
        else:
            self.do("500 5.5.2 unknown command")

    def _say(self, name: str, default: Step) -> str:
        """Do the step for *name*; return the code of the last reply that went out in it."""
        self._said = ""
        self.do(self.relay.next_step(name, default))
        return self._said

    def _ehlo(self, _: str) -> None:
        self._mail = _Mail()
        step = self.relay.next_step("EHLO", self.relay.greeting(encrypted=self._encrypted))
        if isinstance(step, str) and step.startswith("250 ") and "relay.test" not in step:
            step = "250 relay.test\n" + step[4:]
        self.do(step)

    def _helo(self, _: str) -> None:
        self._mail = _Mail()
        self._say("HELO", "250 relay.test")

    def _starttls(self, _: str) -> None:
        if self._say("STARTTLS", "220 2.0.0 go ahead").startswith("2"):
            self._encrypt()

    def _encrypt(self) -> None:
        self._say("TLS", lambda _: None)
        assert self.relay.certificates, "a Relay needs certificates for TLS"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslsocket_class = _Encrypted
        context.load_cert_chain(*self.relay.certificates.chain(self.relay.identity))
        self.unread = b""
        self._socket.settimeout(5)
        self._socket.getpeername()  # wrapping a socket that was reset would leak it
        try:
            self._socket = context.wrap_socket(self._socket, server_side=True)
        finally:
            self._socket.settimeout(0.05)
        self._encrypted = True

    def _auth(self, line: str) -> None:
        mechanism, _, initial = line[5:].partition(" ")
        step = self.relay.next_step("AUTH", lambda talk: talk.check_login(mechanism, initial))
        self.do(step)

    def check_login(self, mechanism: str, initial: str) -> None:
        """Go through *mechanism* and compare with `relay.users`."""
        match mechanism.upper():
            case "PLAIN":
                _, name, password = self._decode(initial or self._prompt("")).split("\0")
                good = self.relay.users.get(name) == password
            case "LOGIN":
                name = self._decode(self._prompt("VXNlcm5hbWU6"))
                password = self._decode(self._prompt("UGFzc3dvcmQ6"))
                good = self.relay.users.get(name) == password
            case _:
                challenge = b"<1.2@relay.test>"
                answer = self._decode(self._prompt(base64.b64encode(challenge).decode()))
                name, _, digest = answer.partition(" ")
                password = self.relay.users.get(name, "")
                expected = hmac.new(password.encode(), challenge, hashlib.md5).hexdigest()
                good = digest == expected
        self._say("AUTH_END", "235 2.7.0 welcome" if good else "535 5.7.8 bad credentials")

    def _prompt(self, challenge: str) -> str:
        self._say("AUTH_STEP", f"334 {challenge}")
        line = self._read_line().decode()
        self.commands.append(line)
        return line

    def _decode(self, text: str) -> str:
        try:
            return base64.b64decode(text, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            self.do("501 5.5.2 not base64")
            raise Over from None

    def _from(self, line: str) -> None:
        self._mail = _Mail()
        if self._say("MAIL", "250 2.1.0 Ok").startswith("2"):
            self._mail = _Mail(line=line, mail_from=_path(line))

    def _rcpt(self, line: str) -> None:
        default = "503 5.5.1 MAIL first" if self._mail.mail_from is None else "250 2.1.5 Ok"
        if self._say("RCPT", default).startswith("2"):
            self._mail.rcpt_to.append(_path(line))

    def _data(self, _: str) -> None:
        default = "354 go" if self._mail.rcpt_to else "554 5.5.1 no valid recipients"
        if not self._say("DATA", default).startswith("3"):
            return
        body = self.relay.next_step("BODY", lambda _: None)
        self.do(body)
        if isinstance(body, str):  # refused before the dot: nothing of it is wanted any more
            self.wait_for_the_end_reading()
        self._read_body()
        self._at_dot = True
        self._say("DOT", "250 2.0.0 Ok: queued")
        self._at_dot = False
        self._mail = _Mail()

    def wait_for_the_end_reading(self) -> None:
        """Read and forget what comes until the client is gone."""
        while True:
            self._receive()
            self.unread = b""

    def _rset(self, _: str) -> None:
        self._mail = _Mail()
        self._say("RSET", "250 2.0.0 Ok")

    def _noop(self, _: str) -> None:
        self._say("NOOP", "250 2.0.0 Ok")

    def _quit(self, _: str) -> None:
        self._say("QUIT", "221 2.0.0 bye")
        self.cut(gently=True)

    # Reading

    def _read_line(self) -> bytes:
        while b"\n" not in self.unread:
            self._receive()
        line, _, self.unread = self.unread.partition(b"\n")
        return line.removesuffix(b"\r")

    def _read_body(self) -> None:
        """Read up to the final dot, strictly `CRLF . CRLF`."""
        found = 0
        self.unread = b"\r\n" + self.unread
        while (end := self.unread.find(b"\r\n.\r\n", max(0, found - 4))) < 0:
            found = len(self.unread)
            self._receive()
        self._mail.wire = self.unread[2 : end + 2]
        self.unread = self.unread[end + 5 :]

    def _receive(self) -> None:
        while True:
            try:
                data = self._socket.recv(256 * 1024)
            except TimeoutError:
                self._check()
                continue
            if not data:
                raise Over
            self.unread += data
            return

    def _check(self) -> None:
        if self.relay.stopping.is_set():
            raise Over


_HANDLERS: Mapping[str, Callable[[Conversation, str], None]] = {
    "EHLO": Conversation._ehlo,
    "HELO": Conversation._helo,
    "STARTTLS": Conversation._starttls,
    "AUTH": Conversation._auth,
    "MAIL": Conversation._from,
    "RCPT": Conversation._rcpt,
    "DATA": Conversation._data,
    "RSET": Conversation._rset,
    "NOOP": Conversation._noop,
    "QUIT": Conversation._quit,
}


def _hand_on(
    source: socket.socket, target: socket.socket, size: int, pause: float, relay: "Relay"
) -> None:
    """Hand bytes on, *size* at a time, until either side has ended; *source* is closed then."""
    with contextlib.suppress(OSError), source:
        while data := source.recv(size):
            target.sendall(data)
            if pause and relay.stopping.wait(pause):
                break
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


def _path(line: str) -> str:
    return line[line.index("<") + 1 : line.index(">")]
