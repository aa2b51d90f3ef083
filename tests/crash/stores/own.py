"""Servers of one test alone, which it may stop, kill, fill up and configure as it likes."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from mailworkers.adapters import db
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.servers import Servers, start_servers


@contextmanager
def own_servers(config: pytest.Config, directory: Path | None = None) -> Iterator[Servers]:
    """Start durable servers in *directory*, or a new one, with the schema in place; remove all."""
    place = Path(tempfile.mkdtemp(prefix="mail-away-")) if directory is None else directory
    place.chmod(0o711)  # their account is another one when we are root
    try:
        with start_servers(place, source=Source(config.getoption("--servers"))) as running:
            db.migrate(running.postgres_dsn)
            yield running
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """Yield the root of a file system in memory that `resize` can fill up, and free again."""
    place = Path(tempfile.mkdtemp(prefix="mail-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "mail-test", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        place.rmdir()
        lack("the right to mount a file system (root with CAP_SYS_ADMIN)", mounted.stderr)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)
        place.rmdir()


def resize(disk: Path, megabytes: int | None = None) -> None:
    """Give *disk* so much room in all; None: not a page more than it uses."""
    usage = os.statvfs(disk)
    used = (usage.f_blocks - usage.f_bfree) * usage.f_frsize
    size = used if megabytes is None else megabytes * 2**20
    subprocess.run(["mount", "-o", f"remount,size={size}", disk], check=True)


def lack(what: str, detail: str = "") -> NoReturn:
    """Skip the test since this machine lacks *what*; fail it in CI, which has to have it."""
    text = f"this test needs {what} {detail}".strip()
    if os.environ.get("CI"):
        pytest.fail(text)
    pytest.skip(text)


def set_option(servers: Servers, name: str, value: str | None) -> None:
    """Change a setting of PostgreSQL while it runs, or give it back its default."""
    change = f"SET {name} = '{value}'" if value is not None else f"RESET {name}"
    with db.connect(servers.postgres_dsn) as conn:
        conn.execute("SET default_transaction_read_only = off")
        conn.execute(f"ALTER SYSTEM {change}".encode())
        conn.execute("SELECT pg_reload_conf()")
