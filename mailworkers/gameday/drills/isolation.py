"""Namespaces of our own: mounts and networks that end with this process, however it ends."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from mailworkers.embedded.server_commands import ends_with_parent
from mailworkers.gameday.drills.needs import CannotRun

_NEW_MOUNTS, _NEW_NETWORK = 0x00020000, 0x40000000  # CLONE_NEWNS, CLONE_NEWNET
_STARTING = 10.0  # seconds


def own_mounts() -> None:
    """Let nobody else see what this thread and its children mount from now on."""
    _unshare(_NEW_MOUNTS, "a mount namespace")
    run("mount", "--make-rprivate", "/")


def own_network() -> None:
    """Give this thread and its children a network with nothing but loopback."""
    _unshare(_NEW_NETWORK, "a network namespace")
    run("ip", "link", "set", "lo", "up")


def small_disk(place: Path, megabytes: int, mode: str) -> None:
    """Make *place* a file system in memory of so many MiB; only we see it (`own_mounts`)."""
    place.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode={mode}", "gameday", str(place))


def fill(disk: Path) -> int:
    """Leave not a page of room on *disk*; return the bytes of `full_up` there, which hold it.

    Others may take of the room while we do, or make some.
    """
    file = disk / "full_up"
    with file.open("ab") as full_up:
        while room := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize:
            with contextlib.suppress(OSError):
                os.posix_fallocate(full_up.fileno(), file.stat().st_size, room)
    return file.stat().st_size


def make_room(disk: Path) -> None:
    """Undo `fill`."""
    (disk / "full_up").unlink(missing_ok=True)


def remove_disk(disk: Path) -> None:
    """Unmount *disk*; what was on it stays in its place, but for what filled it up."""
    make_room(disk)
    kept = disk.with_name(f"{disk.name}.kept")
    shutil.copytree(disk, kept, symlinks=True, ignore=_sockets)
    run("umount", "--lazy", str(disk))
    disk.rmdir()
    kept.rename(disk)


def _sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if Path(folder, name).is_socket()}


class Elsewhere:
    """Another host: a network and a host name of its own, held by a process that sleeps."""

    def __init__(self, name: str) -> None:
        command = f"hostname {name} && exec sleep infinity"
        self._holder = subprocess.Popen(
            ends_with_parent(["unshare", "--net", "--uts", "sh", "-c", command], signal.SIGKILL),
            start_new_session=True,
        )
        self.pid = self._holder.pid
        deadline = time.monotonic() + _STARTING
        while self._command() != "sleep":
            if time.monotonic() > deadline or self._holder.poll() is not None:
                raise CannotRun("a network namespace could not be made: needs CAP_SYS_ADMIN")
            time.sleep(0.05)
        run(*self.inside, "ip", "link", "set", "lo", "up")

    def _command(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/comm").read_text().strip()
        except OSError:
            return ""

    @property
    def inside(self) -> Sequence[str]:
        """Return what stands before a command that is to run there."""
        spaces = f"/proc/{self.pid}/ns"
        return ("nsenter", f"--net={spaces}/net", f"--uts={spaces}/uts", "--")

    def join(self, link: str, here: str, there: str) -> None:
        """Connect both networks by *link*, so called on either end; addresses as `a.b.c.d/30`."""
        run("ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", str(self.pid))
        for before, address in (((), here), (self.inside, there)):
            run(*before, "ip", "address", "add", address, "dev", link)
            run(*before, "ip", "link", "set", link, "up")

    def close(self) -> None:
        """End it; its ends of all links go, and ours with them."""
        self._holder.kill()
        self._holder.wait()


def run(*command: str) -> str:
    """Return what *command* prints; CannotRun with its own words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRun(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _unshare(what: int, name: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(what):
        reason = os.strerror(ctypes.get_errno())
        raise CannotRun(f"{name} could not be made: {reason}; needs root with CAP_SYS_ADMIN")
