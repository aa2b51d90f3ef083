"""Postfix's `smtp-source` and `smtp-sink`: what SMTP itself can do on this machine.

They are taken from PATH, or unpacked from Debian's package into a cache of ours: nothing is
installed, no service is started, no system file is touched.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.ports import free_port

_NAMES = ("smtp-source", "smtp-sink")
_LIBRARIES = Path("/usr/lib/postfix")
_PATIENCE = 120  # seconds for the download, and for one run
_STARTING = 10  # seconds


class PostfixMissing(MailworkersError):  # noqa: N818  it names the condition
    """There is no smtp-sink here."""


class PostfixTools(msgspec.Struct, frozen=True):
    """The two programs, and the directory of their libraries when they were unpacked."""

    source: Path
    sink: Path
    libraries: Path | None = None

    @property
    def commands(self) -> Path:
        """Return the directory of the commands: `postconf` and these two."""
        return self.source.parent

    @property
    def daemons(self) -> Path:
        """Return the directory of the daemons: `master` and those it starts."""
        return (self.libraries or _LIBRARIES) / "sbin"

    @property
    def environment(self) -> Mapping[str, str]:
        """Return the environment in which they find their libraries."""
        own = {"LD_LIBRARY_PATH": str(self.libraries)} if self.libraries else {}
        return {**os.environ, **own}

    def start_sink(self, port: int, *options: str) -> subprocess.Popen[bytes]:
        """Start `smtp-sink` on *port* of the loopback interface, ready; reading it never blocks."""
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [self.sink, *user, *options, f"127.0.0.1:{port}", "256"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        await_listener(port)
        return process

    @contextmanager
    def running_sink(self) -> Iterator[int]:
        """Run `smtp-sink` for the time of the context, which gets its port."""
        port = free_port()
        with self.start_sink(port) as process:
            try:
                yield port
            finally:
                process.terminate()

    def seconds_to_send(self, port: int, *, messages: int, size: int, sessions: int) -> float:
        """Return how long `smtp-source` needs for that many messages over kept sessions."""
        command = [
            str(self.source),
            "-d",
            "-s",
            str(sessions),
            "-m",
            str(messages),
            "-l",
            str(size),
        ]
        command += ["-f", "sender@example.org", "-t", "person@example.com", f"127.0.0.1:{port}"]
        started = time.monotonic()
        subprocess.run(
            command, env=self.environment, check=True, capture_output=True, timeout=_PATIENCE
        )
        return time.monotonic() - started


def find_tools(*, may_download: bool) -> PostfixTools | None:
    """Return the programs of PATH, of our cache, or of Debian's package; None without any."""
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
    source, sink = (shutil.which(name, path=path) for name in _NAMES)
    if source and sink:
        return PostfixTools(Path(source), Path(sink))
    cache = _cache()
    if not cache.exists() and not (may_download and _unpack(cache)):
        return None
    programs = cache / "usr/sbin"
    return PostfixTools(programs / "smtp-source", programs / "smtp-sink", cache / "usr/lib/postfix")


def _cache() -> Path:
    root = os.environ.get("XDG_CACHE_HOME", "")
    home = Path(root) if root.startswith("/") else Path.home() / ".cache"
    return home / "mailworkers" / "postfix"


def _unpack(cache: Path) -> bool:
    """Fetch Debian's package and unpack it into *cache*, whole or not at all."""
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        return False
    unfinished = cache.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        _run(["apt-get", "download", "-qq", "postfix"], unfinished)
        for package in unfinished.glob("postfix_*.deb"):
            _run(["dpkg", "-x", str(package), str(unfinished)], unfinished)
            package.unlink()
            unfinished.rename(cache)
            return True
    except (OSError, subprocess.SubprocessError):
        pass
    shutil.rmtree(unfinished, ignore_errors=True)
    return False


def _run(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, capture_output=True, timeout=_PATIENCE)


def await_listener(port: int) -> None:
    """Return when something listens on *port* of the loopback interface."""
    deadline = time.monotonic() + _STARTING
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
