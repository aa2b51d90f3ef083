"""Become what systemd makes of a process by the unit's system call filters, then run a command.

A program of its own, for Debian's python3 with python3-seccomp: RULES COMMAND ARGUMENT...; RULES is
the JSON that `unit_files.filters` makes of the unit. What systemd refuses is refused here the same
way: system calls outside SystemCallFilter=, memory that is both writable and executable, sockets of
other families than RestrictAddressFamilies=.
"""

import errno
import json
import os
import socket
import sys
from mmap import PROT_EXEC, PROT_WRITE
from typing import Any

import seccomp  # type: ignore[import-not-found]

_SHM_EXEC = 0o100000
_CONDITIONAL = {"mmap", "mprotect", "pkey_mprotect", "shmat", "socket"}


def _is_masked(argument: int, mask: int, value: int) -> Any:
    return seccomp.Arg(argument, seccomp.MASKED_EQ, mask, value)


def main(rules_path: str, *command: str) -> None:
    """Load the filter, for good and for all that is started from here, and run *command*."""
    with open(rules_path, encoding="utf-8") as file:
        rules = json.load(file)
    filters = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    for name in set(rules["calls"]) - _CONDITIONAL:
        try:
            filters.add_rule(seccomp.ALLOW, name)
        except (ValueError, RuntimeError):
            continue  # a call of another architecture
    both = PROT_WRITE | PROT_EXEC
    for protection in (0, PROT_WRITE, PROT_EXEC):
        filters.add_rule(seccomp.ALLOW, "mmap", _is_masked(2, both, protection))
    for name in ("mprotect", "pkey_mprotect"):
        filters.add_rule(seccomp.ALLOW, name, _is_masked(2, PROT_EXEC, 0))
    filters.add_rule(seccomp.ALLOW, "shmat", _is_masked(2, _SHM_EXEC, 0))
    for family in rules["families"]:
        number = getattr(socket, family)
        filters.add_rule(seccomp.ALLOW, "socket", seccomp.Arg(0, seccomp.EQ, int(number)))
    filters.load()
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(*sys.argv[1:])
