"""JSON lines on standard output: one object a line, nothing secret in it.

A line is never the reason that mail stops: one that cannot be written is dropped and counted, and
the next one that can be says how many were. That holds for a pipe that nobody reads as well: a
supervisord that is stopped, or stuck, must not stop its roles (F-V07).
"""

import enum
import os
import re
import select
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from mailworkers.adapters.events import LINES_LOST
from mailworkers.adapters.secrets import HIDDEN, Secret
from mailworkers.core.addresses import mask

LONGEST_TEXT = 2048
DEEPEST_TRACEBACK = 40

# A pipe that polls as writable takes so many bytes without blocking (PIPE_BUF of Linux).
_UNBLOCKED = 4096
# How long the first line waits for a full pipe; after it nobody waits until there is room again.
_PATIENCE = timedelta(milliseconds=250)

_ADDRESS = re.compile(r"[^\s<>()@\"',;:=]+@[^\s<>()@\"',;:=]+")
_CREDENTIALS = re.compile(
    r"(?i)(?<=://)[^/\s@]+(?=@)|\b(?<=password=)\S+|\b(?<=bearer )\S+|\b(?<=auth plain )\S+"
)
_UNPRINTABLE = re.compile(
    "[\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)


class Level(enum.IntEnum):
    """How loud a line is; the names stand in the lines."""

    DEBUG = 10
    INFO = 20
    WARN = 30
    ERROR = 40


class LevelFile:
    """`state_dir/log_level`: one word in it changes how much every process of the host writes."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "log_level"
        self._seen: tuple[int, int] | None = None

    def has_changed(self) -> bool:
        """Whether the file came, went or was written since this was asked last."""
        try:
            found = self._path.stat()
            now = (found.st_mtime_ns, found.st_ino)
        except OSError:
            now = None
        before, self._seen = self._seen, now
        return before != now

    def read(self) -> str | None:
        """Return the level in the file; None without one."""
        try:
            word = self._path.read_text(errors="replace").strip()
        except OSError:
            return None
        return word if word.upper() in Level.__members__ else None


class Log:
    """Writes the lines of one process to *fd*."""

    def __init__(
        self,
        role: str,
        process: str,
        *,
        level: Level = Level.INFO,
        secrets: Iterable[str] = (),
        fd: int = 1,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.level = level
        self._role = role
        self._process = process
        self._secrets = sorted((word for word in secrets if word), key=len, reverse=True)
        self._fd = fd
        self._on_lost = on_lost
        self._room = select.poll()
        self._room.register(fd, select.POLLOUT)
        self._lock = threading.Lock()
        self._held: list[bytes] | None = None
        self._is_torn = False
        self._lost = 0
        self._encode = msgspec.json.Encoder(enc_hook=_as_text).encode

    def write(self, level: Level, event: str, facts: dict[str, Any]) -> None:
        """Write one line if *level* is loud enough; *facts* hold nothing that needs cleaning."""
        if level < self.level:
            return
        line = self._line(level, event, facts)
        try:
            encoded = self._encode(line)
        except UnicodeEncodeError:
            encoded = self._encode({key: _without_surrogates(fact) for key, fact in line.items()})
        if self._held is None:
            self._put(_escape(encoded))
        else:
            self._held.append(_escape(encoded))

    @contextmanager
    def together(self) -> Iterator[None]:
        """Gather the lines written meanwhile: few writes, and few reads for who copies them."""
        self._held = []
        try:
            yield
        finally:
            held, self._held = self._held, None
            for lines in _in_writes(held):
                self._put(b"\n".join(lines), count=len(lines))

    def _line(self, level: Level, event: str, facts: dict[str, Any]) -> dict[str, Any]:
        return {
            "time": datetime.now(UTC),
            "level": level._name_,  # the plain attribute: `name` costs a tenth of the line
            "event": event,
            "role": self._role,
            "process": self._process,
            **facts,
        }

    def write_cleaned(self, level: Level, event: str, facts: dict[str, Any]) -> None:
        """Write one line whose texts may come from outside: addresses and secrets are masked."""
        if level >= self.level:
            clean = self.clean
            self.write(
                level,
                event,
                {key: clean(fact) if type(fact) is str else fact for key, fact in facts.items()},
            )

    def clean(self, text: str) -> str:
        """Return *text* without secrets and full addresses, at most 2048 characters."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        text = text[:LONGEST_TEXT]
        if "://" in text or "=" in text or " " in text:
            text = _CREDENTIALS.sub(HIDDEN, text)
        return _ADDRESS.sub(_mask_found, text) if "@" in text else text

    def describe(self, error: BaseException) -> dict[str, Any]:
        """Return facts about *error*: its kind, the first line of its text, where it came from.

        Only the first line, since the next ones of a database error quote the row; no source
        lines and no local variables.
        """
        return {
            "error": f"{type(error).__name__}: {self.clean(_first_line(error))}",
            "traceback": [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in islice(_frames(error), DEEPEST_TRACEBACK)
            ],
            "caused_by": [type(cause).__name__ for cause in _causes(error)],
        }

    def _put(self, line: bytes, count: int = 1) -> None:
        """Write *line*, and before it how many were lost since the last one; or lose it, too.

        *count*: how many lines it is.
        """
        with self._lock:
            if self._lost and self._is_written(self._account()):
                self._lost = 0
            if not self._lost and self._is_written(line):
                return
            self._lost += count
        for _ in range(count):
            self._on_lost()

    def _account(self) -> bytes:
        return self._encode(self._line(Level.WARN, LINES_LOST, {"lines": self._lost}))

    def _is_written(self, line: bytes) -> bool:
        """Write *line* as far as that goes without blocking; return whether it is out."""
        rest = b"\n" + line + b"\n" if self._is_torn else line + b"\n"
        patience = 0 if self._lost else int(_PATIENCE / timedelta(milliseconds=1))
        try:
            while rest:
                if not self._room.poll(patience):
                    return False
                rest = rest[os.write(self._fd, rest[:_UNBLOCKED]) :]
                self._is_torn = bool(rest)
        except OSError:
            return False
        return True


def _in_writes(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield *lines* in groups that go out in one write each, unless a line alone is longer."""
    group: list[bytes] = []
    size = 0
    for line in lines:
        if group and size + len(line) >= _UNBLOCKED:
            yield group
            group, size = [], 0
        group.append(line)
        size += len(line) + 1
    if group:
        yield group


def _as_text(fact: object) -> str:
    return HIDDEN if isinstance(fact, Secret) else str(fact)


def _without_surrogates(fact: object) -> object:
    return fact.encode(errors="replace").decode() if isinstance(fact, str) else fact


def _escape(line: bytes) -> bytes:
    """Escape what JSON leaves as it is but a terminal or editor would obey (C1, bidi, U+2028)."""
    if line.isascii() and b"\x7f" not in line:
        return line
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", line.decode()).encode()


def _mask_found(found: re.Match[str]) -> str:
    return mask(found.group())


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "")


def _frames(error: BaseException) -> list[traceback.FrameSummary]:
    frames = traceback.StackSummary.extract(
        traceback.walk_tb(error.__traceback__), lookup_lines=False
    )
    return list(reversed(frames))


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause = error.__cause__ or error.__context__
    while cause is not None and len(causes) < 8:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    return causes
