"""The journal of one sender: a local file, held under a lock for the sender's life.

One write a record, no fsync: what a process wrote survives its death in the page cache. It does not
survive the machine's, so a journal of an earlier boot proves nothing about what has not happened.
Space is allocated beforehand: a full disk stops a sender before it leases, not between dot and
reply.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

from mailworkers.adapters.usable_places import usable_places
from mailworkers.core import journal
from mailworkers.core.errors import StoreUnavailable

DIRECTORY = "journals"
SPACE = 16 * 1024 * 1024
# Renewed well before the space ends: a batch of 200 with 50 recipients each still fits.
FULL = SPACE // 2
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Return what is the same for the life of the running kernel, "" where nothing says so."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SenderJournal:
    """The journal this process writes; `journal_id` is the holder of its leases.

    ConfigError where there can be none: what only another place or other rights would change.
    """

    def __init__(self, state_dir: Path) -> None:
        self.journal_id: UUID = uuid4()
        self.path = state_dir / DIRECTORY / f"{self.journal_id}.journal"
        self._header = journal.encode(journal.Header(self.journal_id, boot_id()))
        with _away(), usable_places({"MAIL_STATE_DIR": state_dir}):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = _create_locked(self.path, self._header)
        self._position = len(self._header)

    @property
    def is_full(self) -> bool:
        """Whether to lease nothing more until it can be renewed."""
        return self._position > FULL

    def write(self, record: journal.Record) -> None:
        """Append *record*; when this returns it survives the death of the process."""
        data = journal.encode(record)
        try:  # not `with _away()`: three times a message, it would cost more than the write
            os.pwrite(self._fd, data, self._position)
        except OSError as error:
            raise _unwritable(error) from error
        self._position += len(data)

    def renew(self) -> None:
        """Forget everything: nothing is held. Only when it has grown enough to be worth it."""
        if not self.is_full:
            return
        with _away():
            os.ftruncate(self._fd, len(self._header))
            os.posix_fallocate(self._fd, 0, SPACE)
        self._position = len(self._header)

    def close(self, *, is_done: bool) -> None:
        """Release the file; remove it when nothing in it is needed any more."""
        if is_done:
            self.path.unlink(missing_ok=True)
        os.close(self._fd)


def _create_locked(path: Path, header: bytes) -> int:
    """Create a journal that nobody can find unlocked: it gets its name when it is whole."""
    fd, hidden = _hidden(path.parent)
    try:
        os.posix_fallocate(fd, 0, SPACE)
        os.pwrite(fd, header, 0)
        hidden.rename(path)
    except BaseException:
        hidden.unlink(missing_ok=True)
        os.close(fd)
        raise
    return fd


def _hidden(directory: Path) -> tuple[int, Path]:
    """Create a file under our lock that no adopter looks at.

    Between its creation and the lock a sweeper may take it for one that a dead maker left: then
    another is made.
    """
    while True:
        hidden = directory / f"{uuid4()}.new"
        fd = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(fd).st_nlink > 0:
                return fd, hidden
        os.close(fd)


@contextlib.contextmanager
def _away() -> Iterator[None]:
    """A disk that cannot be written is a store that is away: no lease is taken without it."""
    try:
        yield
    except OSError as error:
        raise _unwritable(error) from error


def _unwritable(error: OSError) -> StoreUnavailable:
    return StoreUnavailable("journal", f"{error.strerror}: {error.filename or ''}")


class Orphan:
    """The journal of a sender that is dead: nobody holds its lock but us, now."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd
        self.content = journal.read(_read_all(fd))

    @property
    def journal_id(self) -> UUID | None:
        """Return the holder of the leases, None when even that cannot be read."""
        if self.content.header is not None:
            return self.content.header.journal_id
        try:
            return UUID(self.path.stem)
        except ValueError:
            return None

    @property
    def is_trusted(self) -> bool:
        """Whether what it does not say has not happened: whole, and written in this boot."""
        header = self.content.header
        return (
            not self.content.is_corrupt
            and header is not None
            and header.boot_id != ""
            and header.boot_id == boot_id()
        )

    def remove(self) -> None:
        """Delete the file: everything it says is in the database."""
        with _away():
            self.path.unlink(missing_ok=True)


@contextlib.contextmanager
def orphans(state_dir: Path) -> Iterator[list[Orphan]]:
    """Yield the journals of dead senders of this host, each under its lock until the end.

    Raises StoreUnavailable where they cannot be looked at: for want of descriptors, say (F-S23).
    """
    found: list[Orphan] = []
    fds: list[int] = []
    try:
        with _away():
            _sweep(state_dir / DIRECTORY)
            for path in sorted((state_dir / DIRECTORY).glob("*.journal")):
                fd = _lock(path)
                if fd is not None:
                    fds.append(fd)
                    found.append(Orphan(path, fd))
        yield found
    finally:
        for fd in fds:
            os.close(fd)


def _sweep(directory: Path) -> None:
    """Remove journals whose makers died before they had a name: nothing was leased by them."""
    for path in directory.glob("*.new"):
        fd = _lock(path)
        if fd is not None:
            path.unlink(missing_ok=True)
            os.close(fd)


def _lock(path: Path) -> int | None:
    """Return the descriptor of *path* locked by us, None while its sender lives or it is gone."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Another adopter may have removed it between our open and our lock.
        if os.fstat(fd).st_nlink > 0:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return None


def _read_all(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
