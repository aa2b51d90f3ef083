"""SMTP to one relay: a session that is kept, and transactions on it (RFC 5321).

Around this file: `smtp_settings.py` (what to talk to, TLS rules), `smtp_setup.py` (connect, EHLO,
STARTTLS), `smtp_auth.py`, `smtp_transaction.py` (MAIL to the final dot), `smtp_channel.py` (bytes,
deadlines), `smtp_transcript.py`. What replies mean is judged in `core/replies.py`.
"""

import ssl
from collections.abc import Callable
from time import monotonic
from typing import ParamSpec, TypeVar

from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.smtp_channel import Channel
from mailworkers.adapters.smtp_settings import SmtpSettings, tls_context
from mailworkers.adapters.smtp_setup import blaming, set_up
from mailworkers.adapters.smtp_transaction import BeforeDot, Exchange, refused_unsent
from mailworkers.adapters.smtp_transcript import Transcript
from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.states import Stage
from mailworkers.core.wire import Broken, Capabilities, Envelope, Transaction, mail_command

__all__ = ["Session", "SmtpSettings"]

P = ParamSpec("P")
T = TypeVar("T")


def no_tick() -> None:
    """Do nothing while waiting."""


class Session:
    """One connection to the relay at a time, used for many messages.

    `open` it when `is_usable` says no, then `transact`. A session that may be out of step with the
    relay closes itself; it may then be opened again.
    """

    def __init__(self, settings: SmtpSettings) -> None:
        self.capabilities = Capabilities()
        self._settings = settings
        self._channel: Channel | None = None
        self._context: ssl.SSLContext | None = None
        self._transcript = Transcript(settings.secrets)
        self._carried = 0  # messages begun on this connection
        self._used_at = 0.0

    @property
    def relay(self) -> str:
        """Return the relay as `host:port`."""
        return self._settings.relay

    @property
    def transcript(self) -> tuple[str, ...]:
        """Return what was said in the current or last session, masked and bounded."""
        return self._transcript.lines()

    def open(self, tick: Callable[[], None] = no_tick) -> None:
        """Connect, greet, encrypt and log in, all of it within `timeout`.

        *tick* is called at least every 200 ms of it. Raises RelayUnavailable.
        """
        deadline = monotonic() + self._settings.timeout.total_seconds()
        try:
            self._open(deadline, _sheltered(tick))
        except _CallerFault as fault:
            raise fault.error from None

    def is_usable(self) -> bool:
        """Whether a message may go over this session now; closes it when it may not.

        It may not after its most messages, after too long without one, or when something waits to
        be read, be it a 421 or the end of the stream (F-S13).
        """
        if self._channel is None:
            return False
        if not self._channel.is_quiet():
            self._channel.last_words()  # for the transcript
            self._drop()
            return False
        most = min(self._settings.max_messages, self.capabilities.mail_max or 1_000_000)
        idle = monotonic() - self._used_at
        if self._carried >= most or idle > self._settings.idle.total_seconds():
            self.close()
            return False
        return True

    def transact(
        self,
        envelope: Envelope,
        mime: bytes,
        *,
        before_dot: BeforeDot,
        tick: Callable[[], None] = no_tick,
    ) -> Transaction:
        """Hand one message to the relay and return how far that came, whatever the relay does.

        *before_dot* gets the replies to RCPT just before the final dot goes out and may still say
        no; once it said yes the message may arrive. *tick* is called at least every 200 ms of
        waiting. Raises only what these two raise, and UnsafeOnWire for a message or address that
        our own code should never have let through; the session is closed then.

        A kept session that the relay had just ended is replaced once, within the same time: the
        relay has not looked at the message.
        """
        deadline = monotonic() + self._settings.timeout.total_seconds()
        before_dot, tick = _sheltered(before_dot), _sheltered(tick)
        was_kept = self._carried > 0
        try:
            transaction = self._exchange(envelope, mime, before_dot, tick, deadline)
            if was_kept and _came_too_late(transaction) and self._reopens(deadline, tick):
                return self._exchange(envelope, mime, before_dot, tick, deadline)
        except _CallerFault as fault:
            self._drop()
            raise fault.error from None
        except BaseException:
            self._drop()
            raise
        return transaction

    def propose_sender(self, mail_from: str) -> None:
        """Ask whether mail of *mail_from* is taken, and take the question back: nothing is sent.

        Raises RelayUnavailable with the relay's answer when it is not. The session is open.
        """
        if self._channel is None:
            raise RuntimeError("the session is not open")
        deadline = monotonic() + self._settings.timeout.total_seconds()
        envelope = Envelope(mail_from, (), 0, smtputf8=not mail_from.isascii())
        with blaming(Stage.MAIL, self._settings):
            self._channel.ask(mail_command(envelope, self.capabilities), deadline)
            self._channel.ask(b"RSET\r\n", deadline)

    def close(self) -> None:
        """Say QUIT and close; nothing the relay may answer matters any more."""
        if self._channel is not None:
            self._channel.quit()
            self._channel = None
            reached(Point.QUIT_SAID)

    def _open(self, deadline: float, tick: Callable[[], None]) -> None:
        self.close()
        self.capabilities = Capabilities()
        self._transcript = Transcript(self._settings.secrets)
        try:
            self._channel, self.capabilities = set_up(
                self._settings,
                self._tls_context,
                transcript=self._transcript,
                tick=tick,
                deadline=deadline,
            )
        except RelayUnavailable as fault:
            self._transcript.note(str(fault))
            self._context = None  # so that a CA file put right is read again
            raise
        self._carried = 0
        self._used_at = monotonic()

    def _reopens(self, deadline: float, tick: Callable[[], None]) -> bool:
        try:
            self._open(deadline, tick)
        except RelayUnavailable:
            return False
        return True

    def _tls_context(self) -> ssl.SSLContext:
        """Return the TLS rules, read once: the system's list of CAs takes 20 ms."""
        if self._context is None:
            self._context = tls_context(self._settings)
        return self._context

    def _drop(self) -> None:
        if self._channel is not None:
            self._channel.abort()
            self._channel = None

    def _exchange(
        self,
        envelope: Envelope,
        mime: bytes,
        before_dot: BeforeDot,
        tick: Callable[[], None],
        deadline: float,
    ) -> Transaction:
        """Do one transaction on the session as it is; *deadline* is for its MAIL..354."""
        if self._channel is None:
            raise RuntimeError("the session is not open")
        if refused := refused_unsent(envelope, self.capabilities):
            return refused
        self._channel.tick_with(tick)
        exchange = Exchange(self._channel, self.capabilities, envelope, mime)
        self._carried += 1
        transaction = exchange.run(self._settings, deadline, before_dot)
        self._used_at = monotonic()
        if not exchange.is_clean:
            self._drop()
        return transaction


def _came_too_late(transaction: Transaction) -> bool:
    """Whether the relay ended the session before it heard MAIL, or in answer to it."""
    if transaction.stage is not Stage.MAIL:
        return False
    reply = transaction.mail_reply
    return transaction.broken is Broken.CLOSED or (reply is not None and reply.code == 421)


class _CallerFault(Exception):  # noqa: N818
    """An OSError of the caller's tick or decision, kept apart from those of the network."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def _sheltered(call: Callable[P, T]) -> Callable[P, T]:
    """Return *call* with its OSErrors raised as _CallerFault."""

    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return call(*args, **kwargs)
        except OSError as error:
            raise _CallerFault(error) from error

    return run
