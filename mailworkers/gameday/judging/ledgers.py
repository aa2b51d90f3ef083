"""Reading ledgers: JSON lines; long ones are first parted by the number of their command."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

Line = dict[str, Any]

OTHERS = -1  # the part of what belongs to no command


class _Numbered(msgspec.Struct):
    number: int


class _Mail(msgspec.Struct):
    message_id: str = ""


_decode_number = msgspec.json.Decoder(_Numbered).decode
_decode_mail = msgspec.json.Decoder(_Mail).decode


def read(path: Path) -> Iterator[Line]:
    """Yield the lines of a ledger; none when it was never begun."""
    if not path.exists():
        return
    decode = msgspec.json.Decoder().decode
    with path.open("rb") as file:
        for line in file:
            yield decode(line)


def number_of(delivery_id: str) -> int:
    """Return the number with which a delivery's id begins (see `commands.delivery_id`)."""
    try:
        return int(delivery_id[:8], 16)
    except ValueError:
        return OTHERS


class Parts:
    """The ledgers of load and sink, cut into *size* commands a part; `OTHERS` is the last."""

    def __init__(self, directory: Path, messages: int, size: int) -> None:
        self._messages = messages
        self._size = size
        self._directory = directory / "parts"
        self._directory.mkdir(exist_ok=True)
        self._part(directory / "load.jsonl", lambda line: _decode_number(line).number)
        self._part(directory / "sink.jsonl", lambda line: number_of(_decode_mail(line).message_id))

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Yield the first number of each part and the one after its last."""
        for first in range(0, self._messages, self._size):
            yield first, min(first + self._size, self._messages)
        yield self._messages, 1 << 32

    def read(self, ledger: str, first: int) -> Iterator[Line]:
        """Yield the lines of *ledger* of the part that begins with *first*."""
        return read(self._path(ledger, first))

    def close(self) -> None:
        """Remove the copies."""
        for path in self._directory.iterdir():
            path.unlink()
        self._directory.rmdir()

    def _path(self, ledger: str, first: int) -> Path:
        return self._directory / f"{first}.{ledger}"

    def _part(self, path: Path, number: Callable[[bytes], int]) -> None:
        open_files: dict[int, Any] = {}
        try:
            with path.open("rb") as file:
                for line in file:
                    first = self._first(number(line))
                    if first not in open_files:
                        open_files[first] = self._path(path.name, first).open("wb")
                    open_files[first].write(line)
        finally:
            for part in open_files.values():
                part.close()

    def _first(self, number: int) -> int:
        if 0 <= number < self._messages:
            return number - number % self._size
        return self._messages
