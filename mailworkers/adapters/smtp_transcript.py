"""What was said in the last session, for operators: bounded, without secrets, addresses masked."""

import re
from collections import deque

import msgspec

from mailworkers.core.wire import Reply

_ENTRIES = 200
_ENTRY = 2048  # bytes kept of one entry
_LOCAL_PART = re.compile(r"([^\s<>()\[\]:;,@\"'=])[^\s<>()\[\]:;,@\"'=]*@")


class Transcript:
    """The last 200 commands, replies and notes, kept raw: written often, read seldom."""

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = secrets
        self._entries: deque[tuple[str, bytes | Reply | int]] = deque(maxlen=_ENTRIES)

    def sent(self, data: bytes) -> None:
        """Note one or more command lines."""
        self._entries.append(("C", data[:_ENTRY]))

    def sent_body(self, size: int) -> None:
        """Note that *size* bytes of a message were sent; what they are is never kept."""
        self._entries.append(("C", size))

    def heard(self, reply: Reply) -> Reply:
        """Note a reply, and return it: with secrets masked that the relay may repeat (X-31)."""
        if self._secrets and (text := without_secrets(reply.text, self._secrets)) != reply.text:
            reply = msgspec.structs.replace(reply, text=text)
        self._entries.append(("S", reply))
        return reply

    def note(self, text: str) -> None:
        """Note what is neither, such as a handshake or the end."""
        self._entries.append(("-", text.encode()))

    def lines(self) -> tuple[str, ...]:
        """Return `C: ...` (ours), `S: ...` (the relay's) and `-: ...` (notes), oldest first."""
        return tuple(
            f"{who}: {without_secrets(line, self._secrets)}"
            for who, what in self._entries
            for line in _shown(what)
        )


def without_secrets(text: str, secrets: tuple[str, ...]) -> str:
    """Return *text* with each of *secrets* masked: a relay may repeat what it was told."""
    for secret in secrets:
        text = text.replace(secret, "***")
    return text


def _shown(what: bytes | Reply | int) -> list[str]:
    """Return one entry as printable lines, with all but the first letter of local parts masked."""
    if isinstance(what, int):
        return [f"({what} bytes of message)"]
    texts = str(what) if isinstance(what, Reply) else what.decode("utf-8", "replace")
    return [_LOCAL_PART.sub(r"\1***@", line) for line in texts.split("\r\n") if line]
