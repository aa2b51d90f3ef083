"""The messages of the mailbox: one append-only file, and an index of it in memory.

A record is one line of JSON (an `Entry`), the message's bytes, and a line feed. A record cut short
by a crash is dropped at the next start.
"""

import email.errors
import email.header
import email.parser
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import Message
from pathlib import Path
from typing import BinaryIO

import msgspec

_HEADERS = email.parser.BytesHeaderParser()
_LONGEST_LINE = 1 << 20


class Entry(msgspec.Struct, frozen=True):
    """One received message as lists show it: its envelope, and its headers decoded."""

    number: int
    received_at: datetime
    mail_from: str
    rcpt_to: tuple[str, ...]
    sender: str
    to: str
    subject: str
    message_id: str
    size: int

    def matches(self, words: list[str]) -> bool:
        """Whether each of the lower-case *words* stands somewhere in envelope or headers."""
        if not words:
            return True
        parts = (self.subject, self.sender, self.to, self.message_id, self.mail_from, *self.rcpt_to)
        text = "\n".join(parts).lower()
        return all(word in text for word in words)


class Page(msgspec.Struct, frozen=True):
    """A part of the list, newest first; `found` and `stored` count all, `duplicates` the extras."""

    entries: list[Entry]
    copies: dict[str, int]
    found: int
    stored: int
    duplicates: int


class MailboxStore:
    """The messages in one directory. Safe to use from several threads."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._file: BinaryIO = (directory / "messages.log").open("a+b")
        self._entries: dict[int, tuple[Entry, int]] = {}
        self._copies: Counter[str] = Counter()
        self._next = 1
        end = 0
        for entry, start in self._read_all():
            self._index(entry, start)
            end = start + entry.size + 1
        self._file.truncate(end)
        self._file.seek(end)

    def _read_all(self) -> Iterator[tuple[Entry, int]]:
        """Yield each whole record with the position of its message."""
        self._file.seek(0, 2)
        size = self._file.tell()
        self._file.seek(0)
        while line := self._file.readline(_LONGEST_LINE):
            try:
                entry = msgspec.json.decode(line, type=Entry)
            except msgspec.DecodeError:
                return
            start = self._file.tell()
            if start + entry.size + 1 > size:
                return
            self._file.seek(start + entry.size + 1)
            yield entry, start

    def _index(self, entry: Entry, start: int) -> None:
        self._entries[entry.number] = (entry, start)
        self._copies[entry.message_id] += 1
        self._next = entry.number + 1

    def add(self, mail_from: str, rcpt_to: list[str], raw: bytes) -> Entry:
        """Store one message; when this returns, another process could read it."""
        headers = _HEADERS.parsebytes(raw)
        with self._lock:
            entry = Entry(
                number=self._next,
                received_at=datetime.now(UTC),
                mail_from=_printable(mail_from),
                rcpt_to=tuple(_printable(address) for address in rcpt_to),
                sender=header_text(headers, "From"),
                to=header_text(headers, "To"),
                subject=header_text(headers, "Subject"),
                message_id=header_text(headers, "Message-ID"),
                size=len(raw),
            )
            head = msgspec.json.encode(entry) + b"\n"
            start = self._file.seek(0, 2) + len(head)
            self._file.write(head + raw + b"\n")
            self._file.flush()
            self._index(entry, start)
        return entry

    def raw(self, number: int) -> bytes | None:
        """Return the bytes of message *number* exactly as received, None when there is none."""
        with self._lock:
            found = self._entries.get(number)
            if found is None:
                return None
            entry, start = found
            self._file.seek(start)
            return self._file.read(entry.size)

    def entry(self, number: int) -> Entry | None:
        """Return the entry of message *number*, None when there is none."""
        with self._lock:
            found = self._entries.get(number)
        return found[0] if found else None

    def page(self, words: list[str], limit: int, offset: int = 0) -> Page:
        """Return the entries that match all *words*, newest first."""
        with self._lock:
            entries = [entry for entry, _ in self._entries.values()]
            copies, stored = dict(self._copies), len(self._entries)
        found = [entry for entry in reversed(entries) if entry.matches(words)]
        shown = found[offset : offset + limit]
        return Page(
            entries=shown,
            copies={entry.message_id: copies[entry.message_id] for entry in shown},
            found=len(found),
            stored=stored,
            duplicates=stored - len(copies),
        )

    def empty(self) -> None:
        """Forget every message."""
        with self._lock:
            self._file.truncate(0)
            self._entries.clear()
            self._copies.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def header_text(message: Message, name: str) -> str:
    """Return header *name* as one readable line, decoded (RFC 2047), empty when it is missing."""
    value = message.get(name)
    return "" if value is None else decoded(str(value))


def decoded(value: str) -> str:
    """Return a header's value as one readable line; as it stands when it cannot be decoded."""
    try:
        text = str(email.header.make_header(email.header.decode_header(value)))
    except (email.errors.HeaderParseError, LookupError, ValueError):
        text = value
    return _printable(" ".join(text.split()))


def _printable(text: str) -> str:
    """Return *text* as valid Unicode: bytes that were none are shown as replacement characters."""
    return text.encode("utf-8", "replace").decode("utf-8")
