"""For each bucket of a histogram the trace of the last value that fell into it, where there is one.

Prometheus keeps such examples beside the numbers (OpenMetrics 1.0, "Exemplars"): from a slow mail
on the dashboard to its trace. A process writes its own into a file of fixed size next to its
numbers; the monitor takes the newest of all. Only traces that are sampled are worth a link.
"""

import math
import mmap
import os
import struct
import time
from bisect import bisect_left
from pathlib import Path
from zlib import crc32

import msgspec
from prometheus_client.samples import Exemplar

from mailworkers.adapters.instruments import BY_NAME, INSTRUMENTS

_RECORD = struct.Struct("<dd32s")  # the value, when it was (seconds since 1970), its trace
_SUM = struct.Struct("<I")
_ROOM = _RECORD.size + _SUM.size

_BUCKETS = [
    (instrument.name, bound)
    for instrument in INSTRUMENTS
    if instrument.bounds
    for bound in (*instrument.bounds, math.inf)
]
_PLACES = {bucket: place for place, bucket in enumerate(_BUCKETS)}
# The sum of a record begins with this: one of another version, whose buckets are others, is wrong.
_LAYOUT = crc32(repr(_BUCKETS).encode())
_SAMPLED = frozenset("13579bdf")  # the last digit of the flags, its lowest bit set

Bucket = tuple[str, float]


class Example(msgspec.Struct, frozen=True):
    """One value, when it was, and the trace it belongs to (32 hexadecimal digits)."""

    value: float
    at: float
    trace_id: str

    def exposed(self) -> Exemplar:
        """Return it as the library writes it."""
        return Exemplar({"trace_id": self.trace_id}, self.value, self.at)


class Examples:
    """The examples of one process."""

    def __init__(self, path: Path) -> None:
        size = _ROOM * len(_BUCKETS)
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
        try:
            os.posix_fallocate(fd, 0, size)  # as for the numbers: a full disk must not end us
            self._room = mmap.mmap(fd, size)
        finally:
            os.close(fd)

    def note(self, name: str, value: float, traceparent: str | None) -> None:
        """Keep *value* of the histogram *name* as its bucket's example, if its trace is sampled."""
        if traceparent is None or not _is_sampled(traceparent):
            return
        bounds = BY_NAME[name].bounds
        bucket = (*bounds, math.inf)[bisect_left(bounds, value)]
        record = _RECORD.pack(value, time.time(), traceparent[3:35].encode())
        begin = _PLACES[name, bucket] * _ROOM
        self._room[begin : begin + _ROOM] = _SUM.pack(crc32(record, _LAYOUT)) + record

    def close(self) -> None:
        """Give the file back."""
        self._room.close()


def _is_sampled(traceparent: str) -> bool:
    """Whether the last flag of a W3C traceparent is set (Trace Context section 3.2.2.5)."""
    return traceparent[54:55] in _SAMPLED


def newest(paths: list[Path]) -> dict[Bucket, Example]:
    """Return the newest example of each bucket (instrument's name, upper bound) in these files.

    What is being written at this moment, damaged or of another version is left out.
    """
    found: dict[Bucket, Example] = {}
    for path in paths:
        try:
            records = path.read_bytes()
        except OSError:
            continue
        for bucket, begin in zip(_BUCKETS, range(0, len(records), _ROOM), strict=False):
            example = _read(records[begin : begin + _ROOM])
            if example and (bucket not in found or found[bucket].at < example.at):
                found[bucket] = example
    return found


def _read(record: bytes) -> Example | None:
    if len(record) < _ROOM:
        return None
    summed, rest = record[: _SUM.size], record[_SUM.size :]
    if _SUM.unpack(summed)[0] != crc32(rest, _LAYOUT):
        return None
    value, at, trace_id = _RECORD.unpack(rest)
    return Example(value, at, trace_id.decode("ascii", "replace"))
