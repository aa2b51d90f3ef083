"""What the grid is tried on: a database, relays of three kinds, and senders that talk to them.

Made once and used by all cases one after the other, each with deliveries of its own; what a case
leaves behind (a deferred delivery, say) waits for times that do not come. For each kind of sender
there are two: one with more patience than any busy machine needs, one that soon gives up, for the
cases that last until it does.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import redis

from mailworkers.adapters import db, process
from mailworkers.adapters.settings import load
from mailworkers.embedded.servers import Servers
from mailworkers.roles.sender import Sender
from tests.certificates import Certificates
from tests.deliveries import accept, new_delivery, row
from tests.eventually import eventually
from tests.relay import Relay
from tests.roles.smtp_grid.places import Case
from tests.sessions import no_answer_to_syn

LIMIT = {False: 20.0, True: 0.8}  # seconds for each phase; True: of a sender that soon gives up
LONG_PASSWORD = "p" * 600
_FILLER = b"0123456789 and so on in a line of text that is not too long\r\n"


class Attempt(msgspec.Struct, frozen=True):
    """One row of `attempts`."""

    status: str
    outcome: str
    stage: str
    reply_code: int | None
    summary: str


class Testbed:
    """Senders, relays and the database."""

    __test__ = False

    def __init__(
        self, servers: Servers, certificates: Certificates, directory: Path, stack: ExitStack
    ) -> None:
        self._servers = servers
        self._directory = directory
        self._stack = stack
        self._ca = certificates.ca
        self._senders: dict[tuple[str, bool], Sender] = {}
        self._mimes: dict[UUID, bytes] = {}
        self.conn = stack.enter_context(db.connect(servers.postgres_dsn))
        self._redis = stack.enter_context(
            redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket))
        )
        plain = stack.enter_context(Relay())
        login = stack.enter_context(Relay())
        login.users = {"alice": "secret"}
        long_login = stack.enter_context(Relay())
        long_login.users = {"alice": LONG_PASSWORD}
        self.relays = {
            "plain": plain,
            "park": plain,
            "login": login,
            "long login": long_login,
            "tls": stack.enter_context(Relay(certificates)),
            "narrow": stack.enter_context(Relay(narrow=True)),
        }

    # Deliveries

    def deliver(self, recipients: int = 1, size: int = 0) -> UUID:
        """Accept a delivery to so many recipients, of at least *size* bytes."""
        new = new_delivery(*(f"r{number}@example.com" for number in range(recipients)))
        if size:
            new = msgspec.structs.replace(new, mime=new.mime + _FILLER * (size // len(_FILLER)))
        accept(self.conn, new)
        self._mimes[new.delivery_id] = new.mime
        return new.delivery_id

    def copies(self, kind: str, delivery_id: UUID) -> int:
        """Return how often the relay has taken over a delivery."""
        return [message.raw for message in self.relays[kind].accepted].count(
            self._mimes[delivery_id]
        )

    def attempts(self, delivery_id: UUID) -> list[Attempt]:
        """Return its attempts in order."""
        rows = self.conn.execute(
            "SELECT status, outcome, stage, reply_code, summary FROM attempts"
            " WHERE delivery_id = %s ORDER BY attempt_no",
            [delivery_id],
        )
        return [Attempt(*found) for found in rows]

    def leased(self) -> int:
        """Return how many deliveries anybody holds."""
        found = self.conn.execute("SELECT count(*) FROM deliveries WHERE lease_token IS NOT NULL")
        (count,) = found.fetchone() or (None,)
        assert isinstance(count, int)
        return count

    def state(self, delivery_id: UUID) -> tuple[Any, ...]:
        """Return all that is recorded about a delivery, to see whether any of it changes."""
        delivery = row(self.conn, delivery_id)
        return delivery["status"], delivery["cycle_attempt"], self.attempts(delivery_id)

    # Senders

    def sender(self, kind: str, *, is_short: bool) -> Sender:
        """Return the sender of *kind*, made when it is first wanted."""
        if (kind, is_short) not in self._senders:
            environ = self._environ(kind, LIMIT[is_short])
            context = process.Context("sender", load(environ))
            sender = Sender(context)
            for close in (context.telemetry.close, context.database.drop, context.waker.close):
                self._stack.callback(close)
            self._stack.callback(sender.close)
            self._senders[kind, is_short] = sender
        return self._senders[kind, is_short]

    def _environ(self, kind: str, limit: float) -> dict[str, str]:
        environ = {
            "MAIL_POSTGRES_PRIMARY_DSN": self._servers.postgres_dsn,
            "MAIL_REDIS_MASTER_ADDR": self._servers.redis_addr,
            "MAIL_STATE_DIR": str(self._directory),
            "MAIL_SMTP_MODE": "smtp",
            "MAIL_SMTP_ADDR": self.relays[kind].addr,
            "MAIL_SMTP_TLS": "none",
            "MAIL_SMTP_FROM_EMAIL": "shop@example.org",
            "MAIL_SMTP_HELO": "localhost",
            "MAIL_SMTP_TIMEOUT": f"{limit}s",
            "MAIL_SMTP_DOT_TIMEOUT": f"{limit}s",
            "MAIL_RETRY_JITTER": "0",
            "MAIL_UNCERTAIN_POLICY": "park" if kind == "park" else "retry",
        }
        match kind:
            case "tls":
                environ |= {"MAIL_SMTP_TLS": "starttls", "MAIL_SMTP_CA_FILE": str(self._ca)}
            case "login":
                environ |= {"MAIL_SMTP_USERNAME": "alice", "MAIL_SMTP_PASSWORD": "secret"}
            case "long login":
                environ |= {"MAIL_SMTP_USERNAME": "alice", "MAIL_SMTP_PASSWORD": LONG_PASSWORD}
        return environ

    def breaker(self, kind: str, sender: Sender) -> str:
        """Return what the breaker of that relay is for everybody: `open`, `noted` or `well`."""
        if self._redis.exists(f"mail:breaker:{self.relays[kind].addr}"):
            return "open"
        assert sender._line is not None
        return "noted" if sender._line.reason else "well"

    def close_breaker(self) -> None:
        """Close it for everybody, as a Redis without its data would: nobody waits for the probe."""
        self._redis.flushall()

    def notices(self, sender: Sender) -> None:
        """Wait until *sender* sees that the relay has something to say on its kept session."""
        line = sender._line
        assert line is not None
        eventually(lambda: not line._session.is_usable())


def limit_of(case: Case) -> float:
    """Return how many seconds the phase of *case* may last, by the settings of its sender.

    A body has what its size needs at 64 KiB a second besides.
    """
    return LIMIT[case.behaviour.waits] + case.place.size / 65536


@contextmanager
def lay_out(servers: Servers, certificates: Certificates, directory: Path) -> Iterator[Testbed]:
    """Make a testbed on an empty, migrated database."""
    with ExitStack() as stack:
        yield Testbed(servers, certificates, directory, stack)


@contextmanager
def disturbance(case: Case, relay: Relay) -> Iterator[None]:
    """Misbehave as *case* says, once."""
    match case.cell:
        case "P0", behaviour:
            relay.forgets()
            relay.stop()
            try:
                with no_answer_to_syn(relay.port) if behaviour == "b1" else nullcontext():
                    yield
            finally:
                relay.start()
        case _:
            case.place.prepare(relay, case.behaviour)
            yield
