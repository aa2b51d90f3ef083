"""The rows P0..P13: where in a session a relay misbehaves, and how a test brings it to do so there.

A phase has one place, or several where it makes a difference: with and without PIPELINING, each
step of each AUTH mechanism, the first, the middle and the last of three recipients.
"""

import base64
from collections.abc import Iterator

import msgspec

from tests.relay import CAPABILITIES, Relay, Step, accepting, crumbled, half_close, listen, then
from tests.roles.smtp_grid.behaviours import BEHAVIOURS, Behaviour, Replies

TITLES = {
    "P0": "connect",
    "P1": "banner",
    "P2": "EHLO",
    "P3": "STARTTLS reply",
    "P4": "TLS handshake",
    "P5": "EHLO after TLS",
    "P6": "AUTH, each step of each mechanism",
    "P7": "MAIL",
    "P8": "RCPT: first, middle, last",
    "P9": "DATA",
    "P10": "body",
    "P11": "final dot",
    "P12": "RSET, and between two messages",
    "P13": "QUIT",
}

# Cells that cannot exist, and why.
NOT_POSSIBLE = {
    ("P0", f"b{number}"): "before the connection is there no byte can come: the first one is P1"
    for number in range(3, 17)
}

GREETING = "250 relay.test\nPIPELINING\nSIZE 52428800\nENHANCEDSTATUSCODES"
# The last of these words is the challenge of tests/conversation.py.
_CRAM = "334 " + base64.b64encode(b"<1.2@relay.test>").decode()


class Place(msgspec.Struct, frozen=True):
    """Where a relay misbehaves.

    `words` name it, the phase first; rules choose by them. `at` is the point of the relay's script,
    reached `before` times in good order first, with these replies. `kind` is the relay and sender
    to use (see testbed.py).
    """

    words: str
    at: str
    replies: Replies
    kind: str = "plain"
    before: tuple[Step, ...] = ()
    pipelining: bool = True
    recipients: int = 1
    size: int = 0  # bytes of message at least

    @property
    def phase(self) -> str:
        """Return P0..P13."""
        return self.words.split()[0]

    def prepare(self, relay: Relay, behaviour: Behaviour) -> None:
        """Script *relay* to misbehave here once, and to be good again afterwards."""
        relay.forgets()
        relay.offers(*CAPABILITIES[0 if self.pipelining else 1 :])
        step = self._step(behaviour)
        match self.phase:
            case "P5":
                relay.says(EHLO=["250 STARTTLS", step])
            case "P6":
                relay.says(EHLO=f"250 AUTH {self.words.split()[1]}")
                relay.says(**{self.at: [*self.before, step]})
            case "P12" if "between" in self.words:
                relay.says(DOT=[then(self.replies.good, step)])
            case "P12":
                relay.says(RCPT=["550 5.1.1 nobody here"], RSET=[step])
            case "P13":
                relay.offers(*CAPABILITIES, "LIMITS MAILMAX=1")
                relay.says(QUIT=[step])
            case _:
                relay.says(**{self.at: [*self.before, step]})

    def _step(self, behaviour: Behaviour) -> Step:
        """Return what the relay does here; some behaviours need other means at some places."""
        step = behaviour.act(self.replies)
        match self.phase, behaviour.number:
            case "P4", "b12":
                return crumbled(every=0.05)
            case "P4", "b13":
                return crumbled()
            case "P4", _:  # not before the client has begun it, or it would be P3's
                return then(listen, step)
            case "P10", "b3":  # closing with the body unread would be a reset
                return half_close
            case "P11", number if number not in ("b4", "b5", "b6"):
                return accepting(step)  # the worst case: it was taken over before
            case "P12", "b1" if "between" in self.words:
                return then()  # what a good relay does, and it hears the next message
        return step


def _auth() -> Iterator[Place]:
    """Yield each step of each mechanism; `challenge` is one that 334 answers."""
    final = Replies("235 2.7.0 welcome", later="454 4.7.0 later", no="535 5.7.8 wrong")
    asked = final._replace(good="334 more")
    name = "334 VXNlcm5hbWU6"
    yield Place("P6 PLAIN end", "AUTH_END", final, "login")
    yield Place("P6 PLAIN long challenge", "AUTH_STEP", asked, "long login")
    yield Place("P6 PLAIN long end", "AUTH_END", final, "long login")
    yield Place("P6 LOGIN name challenge", "AUTH_STEP", asked, "login")
    yield Place("P6 LOGIN password challenge", "AUTH_STEP", asked, "login", before=(name,))
    yield Place("P6 LOGIN end", "AUTH_END", final, "login")
    yield Place("P6 CRAM-MD5 challenge", "AUTH_STEP", final._replace(good=_CRAM), "login")
    yield Place("P6 CRAM-MD5 end", "AUTH_END", final, "login")


def _transaction(mode: str, *, pipelining: bool) -> Iterator[Place]:
    mail = Replies("250 2.1.0 Ok", no="550 5.1.8 not from there")
    yield Place(f"P7 {mode}", "MAIL", mail, pipelining=pipelining)
    rcpt = Replies("250 2.1.5 Ok", no="550 5.1.1 nobody here")
    for place, word in enumerate(("first", "middle", "last")):
        before = ("250 2.1.5 Ok",) * place
        words = f"P8 {word} {mode}"
        yield Place(words, "RCPT", rcpt, before=before, pipelining=pipelining, recipients=3)
    yield Place(f"P9 {mode}", "DATA", Replies("354 go"), pipelining=pipelining)
    dot = Replies("250 2.0.0 Ok: queued")
    yield Place(f"P11 retry {mode}", "DOT", dot, pipelining=pipelining)


def _places() -> Iterator[Place]:
    """Yield the rows, in order but for the transaction, which comes in two modes."""
    yield Place("P0", "CONNECT", Replies("220 hi"))
    yield Place("P1", "BANNER", Replies("220 relay.test ESMTP"))
    yield Place("P2", "EHLO", Replies(GREETING))
    yield Place("P3", "STARTTLS", Replies("220 2.0.0 go ahead", later="454 4.7.0 later"), "tls")
    yield Place("P4", "TLS", Replies("220 in plaintext"), "tls")
    yield Place("P5", "EHLO", Replies(GREETING), "tls")
    yield from _auth()
    yield from _transaction("pipelined", pipelining=True)
    yield from _transaction("one by one", pipelining=False)
    # Only a refusal has a place in the middle of a body, so that is what the forms are made of.
    body = Replies("552 5.3.4 too much", no="552 5.3.4 too much")
    yield Place("P10", "BODY", body, "narrow", size=160_000)
    yield Place("P11 park", "DOT", Replies("250 2.0.0 Ok: queued"), "park")
    yield Place("P12 RSET", "RSET", Replies("250 2.0.0 Ok"))
    yield Place("P12 between", "DOT", Replies("250 2.0.0 Ok"))
    yield Place("P13", "QUIT", Replies("221 2.0.0 bye"))


PLACES = tuple(_places())


class Case(msgspec.Struct, frozen=True):
    """One test: a behaviour at a place. The cases of one phase and one column are a cell."""

    place: Place
    behaviour: Behaviour

    @property
    def cell(self) -> tuple[str, str]:
        """Return phase and column."""
        return self.place.phase, self.behaviour.number

    @property
    def name(self) -> str:
        """Return it in words."""
        return f"{self.place.words}, {self.behaviour.name}"


CASES = tuple(
    case
    for place in PLACES
    for behaviour in BEHAVIOURS
    if (case := Case(place, behaviour)).cell not in NOT_POSSIBLE
)
