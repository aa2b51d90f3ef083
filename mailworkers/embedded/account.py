"""The account that embedded servers run as: PostgreSQL refuses to run as root."""

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import msgspec

# In this order. `nobody` is shared with others, so it comes last.
_WHEN_ROOT = ("postgres", "mailworkers", "nobody")


class Account(msgspec.Struct, frozen=True):
    """Who the embedded servers run as; `is_other` when that is not the user we are."""

    name: str
    uid: int
    gid: int
    is_other: bool

    @property
    def popen(self) -> dict[str, Any]:
        """Return the arguments of `subprocess.Popen` that start a process as this account."""
        if not self.is_other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give *path* to this account."""
        if self.is_other:
            os.chown(path, self.uid, self.gid)

    def make_directory(self, path: Path) -> Path:
        """Make *path* (its parent exists) a directory that only this account can open."""
        path.mkdir(mode=0o700, exist_ok=True)
        path.chmod(0o700)
        self.own(path)
        return path

    def can_run(self, *command: str | Path) -> bool:
        """Whether *command* succeeds as this account, seen by running it."""
        try:
            done = subprocess.run(
                command, cwd="/", capture_output=True, check=False, timeout=30, **self.popen
            )
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def can_enter(self, directory: Path) -> bool:
        """Whether this account may reach what lies in *directory*."""
        return not self.is_other or self.can_run("test", "-x", directory)


def servers_account() -> Account:
    """Return ourselves, or for root an unprivileged account of this machine."""
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid(), is_other=False)
    for name in _WHEN_ROOT:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, is_other=True)
    raise LookupError(f"PostgreSQL refuses to run as root and none of {_WHEN_ROOT} exists here")
