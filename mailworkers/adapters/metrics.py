"""Counters and histograms of one process in files of its own; the monitor adds up all files.

The files are those of prometheus_client's multiprocess mode, opened here by name: its switch is an
environment variable read at import and its files are named by pid, so that every restart leaves
one behind and a pid used twice shares one. Here a file belongs to a *slot*, the process's name,
held by `flock` for its life. A restarted process goes on counting where the last one stopped; the
number of files is the most processes of one name that ever ran at a time.

Their space is allocated beforehand: touching a page of a mapped file for which a full disk has no
room ends the process (SIGBUS), and that could be between a final dot and its reply. Where there is
no room at the start, a process counts for nobody but goes on.
"""

import errno
import fcntl
import os
import re
import struct
import weakref
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

import msgspec
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from mailworkers.adapters.exemplars import Examples
from mailworkers.adapters.instruments import BY_NAME, INSTRUMENTS, Instrument, Kind

MOST_SERIES = 64
OTHER = "other"

# For as many series as there can be, their names at their longest.
SPACE = 256 * 1024

EXAMPLES = ".examples"

_KEPT = (Kind.COUNTER, Kind.HISTOGRAM)
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_USED = struct.Struct("i")  # the file's first field: how many of its bytes are in use
_KEY = msgspec.json.Decoder(tuple[str, str, dict[str, str], str])


class Metrics:
    """The counters and histograms of this process; cheap enough to touch for every message.

    `lost_to` is why nobody will ever read them, None where they are kept.
    """

    def __init__(self, directory: Path, process: str) -> None:
        self._lock = Lock()
        self._held: set[_Series] | None = None
        self.lost_to: OSError | None = None
        self._examples: Examples | None = None
        try:
            slot, self._files, self._examples = _open_files(directory, process)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            self.lost_to = error
            self._files = {kind: _Nowhere() for kind in _KEPT}
        else:
            open_files: tuple[_Closable, ...] = (*self._files.values(), self._examples)
            self._finalizer = weakref.finalize(self, _close, slot, open_files)
        self._counters: dict[tuple[str, tuple[str, ...]], _Counter] = {}
        self._histograms: dict[str, _Histogram] = {}
        for instrument in INSTRUMENTS:
            self._begin(instrument)

    def _begin(self, instrument: Instrument) -> None:
        if instrument.kind is Kind.COUNTER:
            for values in instrument.known_series():
                self._counters[instrument.name, values] = self._counter(instrument, values)
        elif instrument.kind is Kind.HISTOGRAM:
            histogram = _Histogram(self._files[Kind.HISTOGRAM], instrument)
            self._histograms[instrument.name] = histogram

    def _counter(self, instrument: Instrument, values: tuple[str, ...]) -> "_Counter":
        return _Counter(self._files[Kind.COUNTER], instrument, values)

    def count(self, name: str, *values: str, amount: int = 1) -> None:
        """Add *amount* to the counter *name* whose labels have *values*."""
        with self._lock:
            counter = self._counters.get((name, values))
            if counter is None:
                counter = self._new_series(name, values)
            counter.add(amount)
            self._keep(counter)

    def _new_series(self, name: str, values: tuple[str, ...]) -> "_Counter":
        """Begin a series; past the bound, or outside a closed set, it is the one named `other`."""
        instrument = BY_NAME[name]
        closed = any(instrument.labels.values())
        if closed or sum(key[0] == name for key in self._counters) >= MOST_SERIES:
            values = tuple(OTHER for _ in values)
        key = (name, values)
        if key not in self._counters:
            self._counters[key] = self._counter(instrument, values)
        return self._counters[key]

    def observe(self, name: str, value: float, traceparent: str | None = None) -> None:
        """Sort *value* into the buckets of the histogram *name*; its trace may be its example."""
        with self._lock:
            self._keep(*self._histograms[name].observe(value))
            if self._examples is not None:
                self._examples.note(name, value, traceparent)

    def _keep(self, *changed: "_Series") -> None:
        if self._held is not None:
            self._held.update(changed)
            return
        for series in changed:
            series.keep()

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what is counted meanwhile once, at the end: a hundred deliveries move the same ten.

        Who is killed meanwhile has not counted it.
        """
        self._held = set()
        try:
            yield
        finally:
            with self._lock:
                held, self._held = self._held, None
                self._keep(*held)

    def close(self) -> None:
        """Give the files and the slot back; nothing may be counted afterwards."""
        if self.lost_to is None:
            self._finalizer()


class _Slot:
    """A name nobody else on this host counts under, held by a lock that dies with the process."""

    def __init__(self, directory: Path, process: str) -> None:
        stem = re.sub(r"[^A-Za-z0-9.-]+", "-", process) or "process"
        for number in range(1, 1000):
            self.name = stem if number == 1 else f"{stem}~{number}"
            self._fd = os.open(directory / f"{self.name}.lock", os.O_RDWR | os.O_CREAT, 0o640)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(self._fd)
            else:
                return
        raise RuntimeError(f"{directory}: a thousand processes named {stem} are counting")

    def release(self) -> None:
        os.close(self._fd)


class _NumberFile(Protocol):
    """What we use of prometheus_client's untyped `MmapedDict`."""

    def read_value(self, key: str) -> tuple[float, float]: ...
    def write_value(self, key: str, value: float, timestamp: float) -> None: ...
    def close(self) -> None: ...


_Closable = _NumberFile | Examples


class _Nowhere(dict[str, float]):
    """Numbers of a process for whose file there is no room."""

    def read_value(self, key: str) -> tuple[float, float]:
        return self.get(key, 0.0), 0.0

    def write_value(self, key: str, value: float, _timestamp: float) -> None:
        self[key] = value

    def close(self) -> None:
        self.clear()


class _Series:
    """One number in a file, and in memory so that it need not be read back."""

    __slots__ = ("_file", "_key", "_value")

    def __init__(self, file: _NumberFile, key: str) -> None:
        self._file = file
        self._key = key
        self._value = file.read_value(key)[0]

    def add(self, amount: float) -> None:
        self._value += amount

    def keep(self) -> None:
        self._file.write_value(self._key, self._value, 0.0)


class _Counter(_Series):
    __slots__ = ()

    def __init__(self, file: _NumberFile, instrument: Instrument, values: tuple[str, ...]) -> None:
        labels = list(instrument.labels)
        name = instrument.prometheus_name
        texts = [str(value) for value in values]
        super().__init__(file, mmap_key(instrument.family, name, labels, texts, instrument.means))


class _Histogram:
    """A sum, and a count for each bucket alone: the collector accumulates."""

    __slots__ = ("_bounds", "_buckets", "_sum")

    def __init__(self, file: _NumberFile, instrument: Instrument) -> None:
        name, means = instrument.family, instrument.means
        self._bounds = instrument.bounds
        self._sum = _Series(file, mmap_key(name, f"{name}_sum", [], [], means))
        self._buckets = [
            _Series(file, mmap_key(name, f"{name}_bucket", ["le"], [bound], means))
            for bound in (*map(str, instrument.bounds), "+Inf")
        ]

    def observe(self, value: float) -> tuple[_Series, _Series]:
        """Count *value*; return what that changed."""
        bucket = self._buckets[bisect_left(self._bounds, value)]
        self._sum.add(value)
        bucket.add(1)
        return self._sum, bucket


def _open_files(directory: Path, process: str) -> tuple[_Slot, dict[Kind, _NumberFile], Examples]:
    """Return the slot of *process* and its files, with all the space they will ever need."""
    directory.mkdir(parents=True, exist_ok=True)
    slot = _Slot(directory, process)
    try:
        numbers = {kind: _open(directory / f"{kind}_{slot.name}.db") for kind in _KEPT}
        return slot, numbers, Examples(directory / f"{slot.name}{EXAMPLES}")
    except BaseException:
        slot.release()
        raise


def _close(slot: _Slot, files: "tuple[_Closable, ...]") -> None:
    for file in files:
        file.close()
    slot.release()


def _open(path: Path) -> _NumberFile:
    """Open the file at *path*; one that cannot be read is set aside and begun anew."""
    if path.exists() and not is_readable(path):
        path.replace(path.with_suffix(".bad"))
    with path.open("ab") as file_of_zeros:
        os.posix_fallocate(file_of_zeros.fileno(), 0, SPACE)
    file: _NumberFile = MmapedDict(str(path))  # type: ignore[no-untyped-call]
    return file


def is_readable(path: Path) -> bool:
    """Whether the file is whole: its length covers what it says, and every key can be read."""
    try:
        with path.open("rb") as start:
            used = _USED.unpack(start.read(_USED.size))[0]
        if not 0 <= used <= path.stat().st_size:
            return False
        numbers = MmapedDict.read_all_values_from_file(str(path))  # type: ignore[no-untyped-call]
        for key, _, _, _ in numbers:
            _KEY.decode(key)
    except (OSError, RuntimeError, ValueError, struct.error):
        return False
    return True
