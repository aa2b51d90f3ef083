"""One mail transaction on an open channel: MAIL, RCPT.., DATA, the body, the final dot.

The whole of it must say afterwards how far it came, and above all whether the final dot went out:
before it every failure is safe to repeat, after it only the relay knows.
"""

from collections.abc import Callable
from datetime import timedelta
from time import monotonic

from mailworkers.adapters.crash_points import Point, arrived, reached
from mailworkers.adapters.smtp_channel import Channel
from mailworkers.adapters.smtp_settings import SmtpSettings, body_time
from mailworkers.adapters.smtp_transcript import without_secrets
from mailworkers.core.states import Stage
from mailworkers.core.wire import (
    FINAL_DOT,
    BadReply,
    Broken,
    Capabilities,
    Envelope,
    Reply,
    Transaction,
    dot_stuff,
    mail_command,
    rcpt_commands,
)

BeforeDot = Callable[[tuple[Reply | None, ...]], bool]

_SMALL = 64 * 1024  # a body up to this goes out together with its final dot
_TIDY = timedelta(seconds=5)  # for what comes after the outcome is known
_DATA = b"DATA\r\n"
_RSET = b"RSET\r\n"


def refused_unsent(envelope: Envelope, offered: Capabilities) -> Transaction | None:
    """Return the end of a transaction that need not begin, since EHLO told what would come."""
    reply, trouble = None, ""
    if offered.refuses_size(envelope.size):  # RFC 1870 section 6.1 would answer the same
        text = f"{envelope.size} bytes; the relay takes {offered.size} (judged by its EHLO reply)"
        reply = Reply(552, "5.3.4", text)
    elif not envelope.smtputf8 or offered.smtputf8:
        return None
    else:
        trouble = "the relay does not offer SMTPUTF8, which this message needs"
    nobody = (None,) * len(envelope.rcpt_to)
    return Transaction(Stage.MAIL, reply, nobody, reply, None, dot_sent=False, trouble=trouble)


class Exchange:
    """The transaction in progress. `run` once; `is_clean` then says whether another may follow."""

    def __init__(
        self, channel: Channel, offered: Capabilities, envelope: Envelope, mime: bytes
    ) -> None:
        """Encode everything first: what is unsafe on the wire raises before a byte is sent."""
        self.is_clean = False
        self._channel = channel
        self._pipelining = offered.pipelining
        self._mail = mail_command(envelope, offered)
        self._rcpts = rcpt_commands(envelope)
        self._body = dot_stuff(mime, smtputf8=envelope.smtputf8)
        self._stage = Stage.MAIL
        self._mail_reply: Reply | None = None
        self._rcpt_replies: list[Reply | None] = [None] * len(self._rcpts)
        self._reply: Reply | None = None
        self._owed = 0  # replies to pipelined commands that are still to come
        self._in_data = False  # the relay said 354 and has not judged the message yet
        self._dot_sent = False

    def run(self, settings: SmtpSettings, deadline: float, before_dot: BeforeDot) -> Transaction:
        """Conduct the transaction; *deadline* is for MAIL..354. Never raises for the relay."""
        broken: Broken | None = None
        trouble = ""
        try:
            if self._propose(deadline):
                reached(Point.DATA_ANSWERED)
                broken = self._deliver(settings, before_dot)
        except TimeoutError as error:
            broken, trouble = Broken.TIMEOUT, str(error)
        except OSError as error:
            broken, trouble = Broken.CLOSED, error.strerror or str(error)
        except BadReply as error:
            broken, trouble = Broken.PROTOCOL, without_secrets(str(error), settings.secrets)
        if trouble:
            self._channel.transcript.note(trouble)
        result = Transaction(
            stage=self._stage,
            mail_reply=self._mail_reply,
            rcpt_replies=tuple(self._rcpt_replies),
            reply=self._reply,
            broken=broken,
            dot_sent=self._dot_sent,
            trouble=trouble,
        )
        patience = min(_TIDY, settings.timeout).total_seconds()
        self.is_clean = broken is None and self._tidy(monotonic() + patience)
        return result

    # MAIL..354

    def _propose(self, deadline: float) -> bool:
        """Send MAIL, RCPT.. and DATA, in one write if the relay can take that (RFC 2920).

        True when the relay wants the message, for at least one recipient.
        """
        if self._pipelining:
            self._channel.command(b"".join((self._mail, *self._rcpts, _DATA)), deadline)
            self._owed = len(self._rcpts) + 2
        self._mail_reply = self._ask(self._mail, Stage.MAIL, deadline)
        if self._mail_reply.code // 100 != 2:
            return False
        reached(Point.MAIL_ANSWERED)
        for place, rcpt in enumerate(self._rcpts):
            self._rcpt_replies[place] = self._ask(rcpt, Stage.RCPT, deadline)
            reached(Point.RCPT_ANSWERED)
            if self._said_goodbye():
                return False
        if not any(reply and reply.code // 100 == 2 for reply in self._rcpt_replies):
            return False
        self._in_data = self._ask(_DATA, Stage.DATA, deadline, go=3).code // 100 == 3
        return self._in_data

    def _ask(self, command: bytes, stage: Stage, deadline: float, *, go: int = 2) -> Reply:
        """Return the reply to *command*, which went out with its group or goes out now."""
        self._stage, self._reply = stage, None
        if not self._pipelining:
            self._channel.command(command, deadline)
            self._owed = 1
        return self._hear(stage, deadline, go=go)

    def _hear(self, stage: Stage, deadline: float, *, go: int | None = None) -> Reply:
        """Return the reply that ends *stage*: 4yz, 5yz or *go*yz. Raises BadReply at any other."""
        self._stage, self._reply = stage, None
        self._reply = reply = self._channel.reply(deadline)
        self._owed -= 1
        if reply.code // 100 not in (4, 5, go):
            raise BadReply(f"out of place at {stage}: {reply}")
        return reply

    def _said_goodbye(self) -> bool:
        """421 may answer anything, and the connection is over (RFC 5321 section 3.8)."""
        return self._reply is not None and self._reply.code == 421

    # The body and the final dot

    def _deliver(self, settings: SmtpSettings, before_dot: BeforeDot) -> Broken | None:
        """Send the body and, if *before_dot* agrees, the final dot; hear what the relay says.

        A small body goes out together with its dot, a large one before *before_dot* is asked. A
        relay that speaks before the dot does not want the message: then the dot stays here.
        """
        self._reply = None
        limit = settings.timeout + body_time(len(self._body))
        deadline = monotonic() + limit.total_seconds()
        patience = settings.dot_timeout.total_seconds()
        is_large = len(self._body) > _SMALL
        self._channel.transcript.sent_body(len(self._body))
        if is_large and not self._send(self._body, deadline, while_quiet=True):
            return None
        if not self._channel.is_quiet():
            self._hear(Stage.DATA, deadline)
            return None
        if not before_dot(tuple(self._rcpt_replies)):
            return Broken.ABORTED
        if is_large:
            went = self._send(FINAL_DOT, monotonic() + patience)
        else:
            went = self._send(self._body + FINAL_DOT, deadline)
        if went:
            reached(Point.DOT_SENT)
            arrived(Point.REPLY_UNREAD, self._channel)
            self._hear(Stage.END_OF_DATA, monotonic() + patience, go=2)
            self._in_data = False
        return None

    def _send(self, data: bytes, deadline: float, *, while_quiet: bool = False) -> bool:
        """Send *data*. False when the relay refused the message before it had all of it."""
        try:
            if self._channel.send(data, deadline, while_quiet=while_quiet):
                return True
            self._hear(Stage.DATA, deadline)
        except TimeoutError:
            raise
        except OSError:
            # Many say why before they hang up.
            self._reply = self._channel.last_words()
            if self._reply is None or self._reply.code // 100 not in (4, 5):
                raise
        finally:
            if not while_quiet:
                self._dot_sent = self._channel.unsent < len(FINAL_DOT)
        return False

    # Afterwards

    def _tidy(self, deadline: float) -> bool:
        """Leave the session ready for another transaction; False when it cannot be.

        The outcome is known by now and nothing here changes it (F-S12).
        """
        if self._said_goodbye() or self._in_data:
            return False
        try:
            while self._owed > 0:
                # 354 for nobody: RFC 2920 section 3.1 would send a lone dot, which a relay that
                # counts differently could take for an empty message. Dropping delivers nothing.
                if self._channel.reply(deadline).code // 100 == 3:
                    return False
                self._owed -= 1
            if self._stage in (Stage.RCPT, Stage.DATA):
                self._channel.command(_RSET, deadline)
                return self._channel.reply(deadline).code // 100 == 2
        except (OSError, BadReply):
            return False
        return True
