"""Replies out of bytes (RFC 5321 section 4.2), never holding more than the caps, whatever comes."""

import re
from collections.abc import Sequence
from functools import lru_cache

from mailworkers.core.wire import BadReply, Reply, printable

MAX_LINE = 2048  # bytes of one reply line with its end; RFC 5321 section 4.5.3.1.5 allows 512
MAX_LINES = 100
MAX_REPLY = 64 * 1024


class ReplyReader:
    """Cuts a stream of bytes into replies, within caps: 2,048 bytes a line, 100 lines, 64 KiB.

    `lines` holds the texts of the last reply if it had several lines, else nothing. A bare LF ends
    a line too, as everywhere; a bare CR is text, and escaped.
    """

    def __init__(self) -> None:
        self.lines: tuple[bytes, ...] = ()
        self._buffer = b""
        self._pending: list[tuple[int, bytes]] = []
        self._size = 0

    @property
    def is_empty(self) -> bool:
        """Whether everything fed was given out as replies."""
        return not self._buffer and not self._pending

    def feed(self, data: bytes) -> None:
        """Take *data* as it came from the network."""
        self._buffer += data

    def next(self) -> Reply | None:
        """Return the next whole reply, None when more bytes are needed. Raises BadReply."""
        while (end := self._buffer.find(b"\n")) >= 0:
            if end >= MAX_LINE:
                raise BadReply(f"a reply line is longer than {MAX_LINE} bytes")
            line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
            if not self._pending and line[3:4] != b"-":
                self.lines = ()
                return _single(line)
            if self._is_last(line):
                return self._assemble()
        if len(self._buffer) >= MAX_LINE:
            raise BadReply(f"a reply line is longer than {MAX_LINE} bytes")
        return None

    def _is_last(self, line: bytes) -> bool:
        """Take one line of a reply of several; True when it ends the reply."""
        code, more, text = _split(line)
        self._size += len(line) + 1
        if self._pending and code != self._pending[0][0]:
            raise BadReply(f"one reply has the codes {self._pending[0][0]} and {code}")
        if len(self._pending) >= MAX_LINES or self._size > MAX_REPLY:
            raise BadReply(f"a reply is longer than {MAX_LINES} lines or {MAX_REPLY} bytes")
        self._pending.append((code, text))
        return not more

    def _assemble(self) -> Reply:
        code = self._pending[0][0]
        self.lines = tuple(text for _, text in self._pending)
        self._pending, self._size = [], 0
        return _reply(code, self.lines)


_LINE = re.compile(rb"([1-5][0-9][0-9])(?:([ -])(.*))?\Z", re.DOTALL)
# Cisco writes "#5.1.0" and several write "5.7.1:"; the class must be that of the reply code, or it
# is just a word (RFC 2034 section 4 says they always agree, servers do not).
_ENHANCED = re.compile(rb"#?([245]\.[0-9]{1,3}\.[0-9]{1,3})(?=[\s:,;]|\Z):?\s*")


def _split(line: bytes) -> tuple[int, bool, bytes]:
    """Return code, whether more lines follow, and text of one reply line without its LF."""
    line = line.removesuffix(b"\r")
    found = _LINE.match(line)
    if not found:
        raise BadReply(f"not an SMTP reply: {printable(line, 80)!r}")
    code, separator, text = found.groups()
    return int(code), separator == b"-", (text or b"").strip()


@lru_cache(maxsize=256)  # "250 2.1.0 Ok" comes a thousand times a second
def _single(line: bytes) -> Reply:
    code, _, text = _split(line)
    return _reply(code, (text,))


def _reply(code: int, lines: Sequence[bytes]) -> Reply:
    """Build the reply; an enhanced code repeated on its other lines is dropped there (RFC 2034)."""
    enhanced = b""
    texts: list[bytes] = []
    for line in lines:
        found = _ENHANCED.match(line)
        if found and found[1][:1] == b"%d" % (code // 100):
            enhanced = enhanced or found[1]
            line = line[found.end() :]  # noqa: PLW2901  the rest of it is the text
        if line:
            texts.append(line)
    return Reply(code, enhanced.decode("ascii"), printable(b" ".join(texts)))
