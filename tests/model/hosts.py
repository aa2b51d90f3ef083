"""What lies on a host: journals under locks, and the boot they were written in."""

from uuid import UUID

from mailworkers.core import journal
from mailworkers.core.journal import Record


class JournalFile:
    """One sender's journal: its bytes as the product encodes them, and who holds its lock."""

    def __init__(self, journal_id: UUID, boot_id: str) -> None:
        self.journal_id = journal_id
        self._header = journal.encode(journal.Header(journal_id, boot_id))
        self.data = bytearray(self._header)
        self.is_locked = True

    def write(self, record: Record) -> None:
        """Append *record* whole."""
        self.data += journal.encode(record)

    def tear(self, record: Record, cut: int) -> None:
        """Append what a death in the middle of writing *record* leaves of it."""
        whole = journal.encode(record)
        self.data += whole[: cut % len(whole)]

    def lose(self, cut: int) -> None:
        """Keep only some of the bytes, as a machine does that loses its page cache: then zeros."""
        kept = cut % (len(self.data) + 1)
        self.data[kept:] = bytes(len(self.data) - kept)

    def rot(self, cut: int) -> None:
        """Turn a bit."""
        self.data[cut % len(self.data)] ^= 1 << cut % 7

    def renew(self) -> None:
        """Forget everything but the header."""
        self.data = bytearray(self._header)

    def read(self) -> journal.Journal:
        """Return what the file says."""
        return journal.read(bytes(self.data))


class Host:
    """One machine: its boot, and the journals on its disk."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.journals: list[JournalFile] = []
        self._boots = 1

    @property
    def boot_id(self) -> str:
        """Return what is the same for the life of the kernel."""
        return f"{self.name}-{self._boots}"

    def orphans(self) -> list[JournalFile]:
        """Return the journals whose senders are dead."""
        return [found for found in self.journals if not found.is_locked]

    def remove(self, journal: JournalFile) -> None:
        """Delete a journal, if it is there still."""
        self.journals = [found for found in self.journals if found is not journal]

    def reboot(self) -> None:
        """Begin another boot."""
        self._boots += 1

    def is_trusted(self, content: journal.Journal) -> bool:
        """Whether what a journal does not say has not happened: whole, and of this boot."""
        header = content.header
        return not content.is_corrupt and header is not None and header.boot_id == self.boot_id
