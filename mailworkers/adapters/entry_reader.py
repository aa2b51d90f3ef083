"""Reading new entries: as many at a time as fit into the memory meant for them (F-R11).

How large an entry is shows only when it is here, and hundreds of small ones say nothing about the
next hundred, which may be ten megabytes each. So they are fetched a few at a time until they are
enough; what is in memory is never much more than 16 MiB and `AT_A_TIME` entries.
"""

from mailworkers.adapters.stream import Entry, Fields, Stream
from mailworkers.core.errors import StoreUnavailable

MOST_ENTRIES = 500
MOST_BYTES = 16 * 1024 * 1024
AT_A_TIME = 25


class EntryReader:
    """Reads *stream*, beginning with one entry; each read learns from the sizes of the last."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._count = 1

    def read(self) -> list[Entry]:
        """Return new entries, waiting for the first at most one block."""
        entries = self._stream.read(min(self._count, AT_A_TIME))
        if entries:
            self._read_on(entries)
            self._adapt(entries)
        return entries

    def _read_on(self, entries: list[Entry]) -> None:
        """Add what else is there, until it is enough. What is here is not lost when that fails."""
        size, found = _size(entries), entries
        while size < MOST_BYTES and len(entries) < self._count and len(found) == AT_A_TIME:
            left = self._count - len(entries)
            try:
                found = self._stream.read(min(left, AT_A_TIME), waits=False)
            except StoreUnavailable:
                return
            size += _size(found)
            entries += found

    def _adapt(self, entries: list[Entry]) -> None:
        largest = max(size_of(entry.fields) for entry in entries)
        fitting = MOST_BYTES // max(largest, 1)
        self._count = max(1, min(MOST_ENTRIES, self._count * 8, fitting))


def _size(entries: list[Entry]) -> int:
    return sum(size_of(entry.fields) for entry in entries)


def size_of(fields: Fields | None) -> int:
    """Return how many bytes names and values take, 0 for an entry that is gone."""
    if not fields:
        return 0
    return sum(map(len, fields)) + sum(map(len, fields.values()))
