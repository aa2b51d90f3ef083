"""A network namespace with a cable to this one, which can be pulled: no packet, no RST, no FIN.

Pulling gives each end a wrong hardware address for the other; the kernel drops what is not for it.
"""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.crash.stores.own import lack

_NOBODY = "02:00:00:00:00:99"
_numbers = itertools.count(1)


class Cable:
    """One pair of addresses: `here` and `there`, the latter inside the namespace."""

    def __init__(self, namespace: str) -> None:
        number = next(_numbers)
        self._namespace = namespace
        self._near, self._far = f"mw{os.getpid()}n{number}", f"mw{os.getpid()}f{number}"
        # 198.18.0.0/15 is for tests between devices (RFC 2544): nobody routes it.
        net = f"198.18.{os.getpid() % 256}.{number * 4}".rpartition(".")
        self.here = f"{net[0]}.{int(net[2]) + 1}"
        self.there = f"{net[0]}.{int(net[2]) + 2}"
        _ip("link", "add", self._near, "type", "veth", "peer", self._far, "netns", namespace)
        _ip("addr", "add", f"{self.here}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        self._there("addr", "add", f"{self.there}/30", "dev", self._far)
        self._there("link", "set", self._far, "up")

    def pull(self) -> None:
        """Let nothing arrive any more, in either direction."""
        _ip(
            "neigh", "replace", self.there, "lladdr", _NOBODY, "nud", "permanent", "dev", self._near
        )
        self._there(
            "neigh", "replace", self.here, "lladdr", _NOBODY, "nud", "permanent", "dev", self._far
        )

    def plug(self) -> None:
        """Let everything arrive again."""
        _ip("neigh", "del", self.there, "dev", self._near)
        self._there("neigh", "del", self.here, "dev", self._far)

    def _there(self, *arguments: str) -> None:
        _ip("-n", self._namespace, *arguments)


@contextmanager
def namespace() -> Iterator[str]:
    """Yield the name of a new network namespace; cables to it go with it."""
    name = f"mw{os.getpid()}-{next(_numbers)}"
    if shutil.which("ip") is None:
        lack("the program ip (Debian: apt-get install iproute2)")
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        lack("the right to make a network namespace (root with CAP_SYS_ADMIN)", made.stderr)
    try:
        yield name
    finally:
        _ip("netns", "del", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)
