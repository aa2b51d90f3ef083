"""What the mailbox answers on SMTP; it keeps every message it says 250 to."""

import asyncio
import enum

from aiosmtpd.smtp import SMTP, Envelope, Session

from mailworkers.embedded.mailbox_store import MailboxStore

_SLOW = 5.0  # how long `slow` waits after the final dot


class Answer(enum.StrEnum):
    """What the mailbox answers from now on."""

    ACCEPT = "accept"
    DEFER = "defer"
    REJECT = "reject"
    SLOW = "slow"


_REFUSALS = {
    Answer.DEFER: "451 4.3.2 the mailbox was told to defer everything",
    Answer.REJECT: "550 5.1.1 the mailbox was told to reject everything",
}


class Mailbox:
    """The server's answers: hooks that aiosmtpd calls, which fixes their names."""

    def __init__(self, store: MailboxStore) -> None:
        self.store = store
        self.answer = Answer.ACCEPT

    async def handle_EHLO(  # noqa: N802
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,
        envelope: Envelope,  # noqa: ARG002
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        """Offer PIPELINING too: commands are read from a buffer, one after the other."""
        session.host_name = hostname
        return [*responses[:-1], "250-PIPELINING", responses[-1]]

    async def handle_RCPT(  # noqa: N802
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
        address: str,
        rcpt_options: list[str],  # noqa: ARG002
    ) -> str:
        """Take any recipient, unless told otherwise."""
        if refusal := _REFUSALS.get(self.answer):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 OK"

    async def handle_DATA(  # noqa: N802
        self,
        server: SMTP,  # noqa: ARG002
        session: Session,  # noqa: ARG002
        envelope: Envelope,
    ) -> str:
        """Keep the message, then say so."""
        if self.answer is Answer.SLOW:
            await asyncio.sleep(_SLOW)
        raw = envelope.original_content or b""
        entry = self.store.add(envelope.mail_from or "", envelope.rcpt_tos, raw)
        return f"250 2.0.0 kept as {entry.number}"
