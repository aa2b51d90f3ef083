"""What tests of the SMTP client share: settings for a scripted relay, a message, ways to send."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from mailworkers.adapters.smtp import Session, SmtpSettings
from mailworkers.core.wire import Envelope, Reply, Transaction
from tests.relay import Relay

MIME = b"Subject: hi\r\nMessage-ID: <1@example.com>\r\n\r\n.dot\r\n..\r\n.\r\nbye\r\n"
LARGE = MIME + b"0123456789" * 7 + b"\r\n" + (b"x" * 70 + b"\r\n") * 4000
PIPELINED = ("PIPELINING", "SIZE 52428800", "8BITMIME", "ENHANCEDSTATUSCODES", "SMTPUTF8")
ONE_BY_ONE = PIPELINED[1:]


def settings_for(relay: Relay, **changes: Any) -> SmtpSettings:
    """Return settings for *relay*, with times short enough for tests."""
    known: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": relay.port,
        "tls": "none",
        "timeout": timedelta(seconds=2),
        "dot_timeout": timedelta(seconds=2),
    }
    return SmtpSettings(**(known | changes))


def opened(relay: Relay, **changes: Any) -> Session:
    """Return an open session with *relay*."""
    session = Session(settings_for(relay, **changes))
    session.open()
    return session


def envelope_to(*rcpt_to: str, mime: bytes = MIME) -> Envelope:
    """Return an envelope for *mime*."""
    return Envelope("sender@example.com", rcpt_to or ("a@example.com",), len(mime))


def yes(_: tuple[Reply | None, ...]) -> bool:
    """Agree to the final dot."""
    return True


def send(
    session: Session,
    *rcpt_to: str,
    mime: bytes = MIME,
    before_dot: Callable[[tuple[Reply | None, ...]], bool] = yes,
    tick: Callable[[], None] = lambda: None,
) -> Transaction:
    """Hand *mime* over, opening the session first if it is not usable."""
    if not session.is_usable():
        session.open()
    envelope = envelope_to(*rcpt_to, mime=mime)
    return session.transact(envelope, mime, before_dot=before_dot, tick=tick)


@contextmanager
def no_answer_to_syn(port: int = 0, host: str = "127.0.0.1") -> Iterator[int]:
    """Listen with a full backlog: whoever connects to the port hears nothing at all."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()):
            yield int(listener.getsockname()[1])
