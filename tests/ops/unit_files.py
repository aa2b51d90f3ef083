"""What stands in a systemd unit, and what systemd makes of its system call filters."""

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOST_FILES = ROOT / "ops" / "host"


def settings_of(unit: str) -> list[tuple[str, str]]:
    """Return each NAME=value of a unit, in order."""
    lines = (HOST_FILES / unit).read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return [(name, value) for name, value in pairs]


@functools.cache
def _calls_of(name: str) -> frozenset[str]:
    """Return the system calls of *name*, which is one itself or a set (`@system-service`)."""
    if not name.startswith("@"):
        return frozenset({name})
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    words = [line.strip() for line in listed.splitlines()[1:]]
    return frozenset().union(*(_calls_of(word) for word in words if word and word[0] != "#"))


def filters(unit: str) -> dict[str, list[str]]:
    """Return which system calls *unit* may do, and the address families of its sockets."""
    calls: frozenset[str] = frozenset()
    families: list[str] = []
    for name, value in settings_of(unit):
        if name == "RestrictAddressFamilies":
            families += value.split()
        if name == "SystemCallFilter":
            named = frozenset().union(*(_calls_of(word) for word in value.lstrip("~").split()))
            calls = calls - named if value.startswith("~") else calls | named
    return {"calls": sorted(calls | _calls_of("@default")), "families": families}
