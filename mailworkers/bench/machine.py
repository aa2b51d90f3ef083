"""What a figure was measured on: machine, versions, the settings of the stores."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mailworkers import __version__
from mailworkers.bench.testbed import Testbed

_PACKAGES = ("psycopg", "redis", "hiredis", "msgspec")
_COMPOSING = ("jinja2", "msgspec", "cryptography")
_POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_compression",
)


def describe(testbed: Testbed) -> dict[str, dict[str, object]]:
    """Return what *testbed* runs on: the machine, every version, the settings of the stores."""
    return {
        "machine": _machine(testbed.directory),
        "versions": _versions(testbed),
        "stores": _stores(testbed),
    }


def describe_alone(directory: Path) -> dict[str, dict[str, object]]:
    """Return what a measurement without stores runs on."""
    found: dict[str, object] = {"mailworkers": __version__, "python": platform.python_version()}
    found |= {package: _version(package) for package in _COMPOSING}
    return {"machine": _machine(directory), "versions": found}


def _machine(directory: Path) -> dict[str, object]:
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "filesystem": _filesystem(directory),
    }


def _versions(testbed: Testbed) -> dict[str, object]:
    binaries = testbed.servers.binaries
    found: dict[str, object] = {
        "mailworkers": __version__,
        "python": platform.python_version(),
        "postgres": binaries.postgres.version,
        binaries.keyvalue.path.name: binaries.keyvalue.version,
    }
    return found | {package: _version(package) for package in _PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _stores(testbed: Testbed) -> dict[str, object]:
    shown = {name: testbed.ask(f"SHOW {name}".encode()) for name in _POSTGRES_SETTINGS}
    return {**shown, "appendonly": "yes", "appendfsync": "everysec"}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _filesystem(directory: Path) -> str:
    """Return the type of the file system that *directory* lies on: fsync on tmpfs is no fsync."""
    found = ""
    longest = -1
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split(" ")
        if directory.is_relative_to(mount) and len(mount) > longest:
            found, longest = kind, len(mount)
    return found
