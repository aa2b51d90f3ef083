"""How embedded servers are prepared and run: directories, commands, and whether they answer.

They listen on Unix sockets that only their owner can open, and on no port.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.account import Account, servers_account
from mailworkers.embedded.binaries import Binaries

# A socket's path may have 107 bytes; PostgreSQL adds its own file name to the directory.
_LONGEST_SOCKET_DIRECTORY = 80
_NAME = "mailworkers"  # of the database and of its owner

# Throwaway data need not survive a power cut.
_HASTY_POSTGRES = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


class ServerFailed(MailworkersError):  # noqa: N818  it names the condition, as users read it
    """A server did not start; the message carries the end of its log."""


class Places(msgspec.Struct, frozen=True):
    """Where one pair of servers lives: data directories, which stay, and the sockets' directory."""

    postgres: Path
    keyvalue: Path
    sockets: Path

    @property
    def postgres_dsn(self) -> str:
        """Return the libpq address of the database."""
        return f"postgresql://{_NAME}@/{_NAME}?host={quote(str(self.sockets), safe='/')}"

    @property
    def redis_addr(self) -> str:
        """Return the address of Valkey or Redis as `MAIL_REDIS_MASTER_ADDR` takes it."""
        return f"unix:{self.keyvalue_socket}"

    @property
    def keyvalue_socket(self) -> Path:
        """Return the socket of Valkey or Redis."""
        return self.sockets / "kv.sock"


def places_in(directory: Path, binaries: Binaries, account: Account) -> Places:
    """Make the directories of one pair of servers in *directory*, named by their major versions.

    Data of another major version, or of Redis instead of Valkey, is left alone: neither server
    reads the other's files.
    """
    sockets = account.make_directory(socket_directory(directory, "s"))
    keyvalue = account.make_directory(directory / binaries.keyvalue.label)
    return Places(directory / binaries.postgres.label, keyvalue, sockets)


def socket_directory(directory: Path, name: str) -> Path:
    """Return where sockets of *directory* go: to *name* in it, unless that path is too long."""
    wanted = directory / name
    if len(os.fsencode(wanted)) <= _LONGEST_SOCKET_DIRECTORY:
        return wanted
    digest = hashlib.sha256(os.fsencode(wanted)).hexdigest()[:12]
    short = Path(tempfile.gettempdir()) / f"mail-{os.geteuid()}-{digest}"
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    if short.is_symlink() or short.stat().st_uid not in (os.geteuid(), servers_account().uid):
        raise ServerFailed(f"{short} belongs to somebody else: remove it, or use a shorter path")
    return short


def prepare_postgres(
    binaries: Binaries, places: Places, account: Account, *, durable: bool
) -> None:
    """Make the data directory and the database once; an interrupted start leaves no half of it."""
    if places.postgres.exists():
        return
    unfinished = places.postgres.with_suffix(".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    account.make_directory(unfinished)
    initdb: list[str | Path] = [binaries.initdb, "-D", unfinished, "-U", _NAME, "-A", "trust"]
    initdb += ["-E", "UTF8", "--locale=C", *([] if durable else ["--no-sync"])]
    _run(initdb, account)
    # In single-user mode, so that no server and no client is needed for it.
    _run(
        [binaries.postgres.path, "--single", "-D", unfinished, "postgres"],
        account,
        typed=f"CREATE DATABASE {_NAME}\n",
    )
    unfinished.rename(places.postgres)


def postgres_command(
    binaries: Binaries, places: Places, *, durable: bool = True, settings: Sequence[str] = ()
) -> list[str]:
    """Return the command that runs PostgreSQL in the foreground; it ends on SIGINT.

    *settings*, each `name=value`, win over ours.
    """
    options = [
        "listen_addresses=",
        f"unix_socket_directories={places.sockets}",
        "unix_socket_permissions=0700",
        "max_connections=100",
        "shared_buffers=128MB",
        "max_wal_size=2GB",
        "timezone=UTC",
        *(() if durable else _HASTY_POSTGRES),
        *settings,
    ]
    command = [str(binaries.postgres.path), "-D", str(places.postgres)]
    for option in options:
        command += ["-c", option]
    return ends_with_parent(command, signal.SIGINT)


def keyvalue_command(binaries: Binaries, places: Places, *, durable: bool = True) -> list[str]:
    """Return the command that runs Valkey or Redis in the foreground; it ends on SIGTERM."""
    command = [str(binaries.keyvalue.path), "--port", "0"]
    command += ["--unixsocket", str(places.keyvalue_socket), "--unixsocketperm", "700"]
    command += ["--dir", str(places.keyvalue), "--appendonly", "yes", "--save", ""]
    command += ["--appendfsync", "everysec" if durable else "no"]
    command += ["--maxmemory-policy", "noeviction", "--daemonize", "no"]
    return ends_with_parent(command, signal.SIGTERM)


def ends_with_parent(command: list[str], ending: signal.Signals) -> list[str]:
    """Return *command* such that the kernel sends it *ending* when its parent dies.

    Linux only; elsewhere the command itself. The parent is strictly the thread that started it.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        return command
    return [setpriv, "--pdeathsig", ending.name.removeprefix("SIG"), "--", *command]


def is_postgres_ready(data: Path, pid: int | None = None) -> bool:
    """Whether the server on *data* takes connections: the last line of its pid file says so.

    A server that was killed leaves its file behind: with *pid* only that process' word counts.
    """
    try:
        lines = (data / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    is_its_own = pid is None or lines[:1] == [str(pid)]
    return is_its_own and len(lines) >= 8 and lines[7].strip() == "ready"


def is_keyvalue_ready(path: Path) -> bool:
    """Whether the server at socket *path* answers PING; not while it loads its data."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            return client.recv(64).startswith(b"+PONG")
    except OSError:
        return False


def tail(log: Path, lines: int = 20) -> str:
    """Return the last *lines* of *log*, empty when there is none."""
    try:
        return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def _run(command: list[str | Path], account: Account, typed: str = "") -> None:
    done = subprocess.run(
        command,
        cwd="/",
        input=typed,
        capture_output=True,
        text=True,
        check=False,
        **account.popen,
    )
    if done.returncode:
        raise ServerFailed(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
