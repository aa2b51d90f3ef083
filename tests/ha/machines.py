"""Machines of a test: namespaces for network, processes, files and host name; and their switches.

A machine is one process, its init, which adopts and reaps. When that ends, everything that ran
there ends with it, as with a machine whose power fails; and it ends with us, however we end.
Nothing has a name outside, so that nothing is left behind.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from mailworkers.embedded.server_commands import ends_with_parent
from tests.eventually import eventually

_SET_UP = """
hostname "$1"; init=$2; shift 2
while [ $# -gt 0 ]; do mount --bind "$1" "$2"; shift 2; done
exec %s -c "$init"
"""
# Ignored children are reaped by the kernel, those too that lost their parents: no zombies. A shell
# cannot ignore them.
_INIT = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
while True:
    signal.pause()
"""
_NAMESPACES = ("--net", "--uts", "--pid", "--mount")


class Machine:
    """One machine named *name*; *places* are directories here that lie at other paths there."""

    def __init__(self, name: str, places: Mapping[Path, str] | None = None) -> None:
        self.name = name
        self._places = places or {}
        self._unshare: subprocess.Popen[bytes] | None = None
        self._programs: list[Program] = []
        self.pid = 0

    def boot(self) -> None:
        """Start it, without a network but the loopback."""
        binds = [str(part) for place in self._places.items() for part in place]
        command = ["unshare", *_NAMESPACES, "--mount-proc", "--fork", "--kill-child=KILL", "--"]
        command += ["sh", "-ec", _SET_UP % sys.executable, "init", self.name, _INIT, *binds]
        self._unshare = subprocess.Popen(_dies_with_us(command), stdin=subprocess.DEVNULL)
        self.pid = eventually(lambda: _child_of(self._unshare), within=20)
        eventually(lambda: _command_of(self.pid)[1:] == ["-c", _INIT], within=20)
        self.run("ip", "link", "set", "lo", "up")

    @property
    def is_up(self) -> bool:
        """Whether it runs."""
        return self._unshare is not None and self._unshare.poll() is None

    def power_off(self) -> None:
        """End everything on it at once; whoever is at the other end hears nothing of it only if
        its cables were pulled before."""
        if self._unshare is not None:
            self._unshare.kill()
            self._unshare.wait(20)
        for program in self._programs:
            program.see_off()
        self._programs.clear()

    def inside(self, *command: str, account: str | None = None) -> list[str]:
        """Return *command* such that it runs there, as *account*."""
        enter = ["nsenter", f"--target={self.pid}", *_NAMESPACES, "--"]
        if account is not None:
            enter += ["setpriv", f"--reuid={account}", f"--regid={account}", "--init-groups", "--"]
        return [*enter, *command]

    def run(self, *command: str) -> str:
        """Run *command* there to its end; return what it printed."""
        done = subprocess.run(self.inside(*command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{self.name}: {command}: {done.stderr}"
        return done.stdout

    def start(
        self, log: Path, *command: str, account: str | None = None, **options: Any
    ) -> "Program":
        """Start *command* there; its output goes to *log*."""
        with log.open("ab") as out:
            given = {"stdin": subprocess.DEVNULL, "stdout": out, "stderr": out, **options}
            entered = self.inside(*command, account=account)
            program = Program(subprocess.Popen(_dies_with_us(entered), cwd="/", **given))
        self._programs.append(program)
        return program

    def __enter__(self) -> Self:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()


class Program:
    """What runs on a machine; `process` is the one that entered it, and waits for its end."""

    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self.process = process

    @property
    def is_running(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it by SIGKILL."""
        pid = eventually(lambda: _child_of(self.process), within=5)
        os.kill(pid, signal.SIGKILL)
        self.process.wait(20)

    def see_off(self) -> None:
        """Wait for its end, which was brought about, and close what leads to it."""
        self.process.wait(20)
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


class Switch:
    """A switch without a machine of its own: what is cut off from it hears and says nothing."""

    def __init__(self, room: Machine, name: str) -> None:
        self._room = room
        self._name = name
        self._ports: dict[str, str] = {}
        room.run("ip", "link", "add", name, "type", "bridge")
        room.run("ip", "link", "set", name, "up")

    def plug(self, machine: Machine, address: str) -> None:
        """Give *machine* a card with *address* (`10.0.0.11`, of a /24) and a cable to here."""
        port, card = f"{self._name}-{machine.name}", self._name
        if (
            machine.name in self._ports
        ):  # its connections outlive a machine, and the cable with them
            self._room.run("ip", "link", "del", port)
        # As a card keeps its number over a boot: nobody's memory of it is wrong.
        number = ":".join(f"{int(part):02x}" for part in address.split("."))
        # `ip` looks for the machine's init by its number in our own list of processes.
        here = ["nsenter", f"--target={self._room.pid}", "--net", "--"]
        link = ["ip", "link", "add", port, "type", "veth", "peer", "name", card]
        _do([*here, *link, "address", f"02:00:{number}", "netns", str(machine.pid)])
        self._room.run("ip", "link", "set", port, "master", self._name, "up")
        machine.run("ip", "addr", "add", f"{address}/24", "dev", card)
        machine.run("ip", "link", "set", card, "up")
        self._ports[machine.name] = port

    def cut(self, machine: Machine) -> None:
        """Let nothing to *machine* and nothing from it: no packet, no reset, no farewell."""
        self._room.run("bridge", "link", "set", "dev", self._ports[machine.name], "state", "0")

    def mend(self, machine: Machine) -> None:
        """Let everything through again."""
        self._room.run("bridge", "link", "set", "dev", self._ports[machine.name], "state", "3")


def _dies_with_us(command: list[str]) -> list[str]:
    return ends_with_parent(command, signal.SIGKILL)


def _do(command: Sequence[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"


def _child_of(process: subprocess.Popen[Any] | None) -> int:
    """Return the process id of the only child of *process*, 0 before it is there."""
    assert process is not None
    assert process.poll() is None, f"ended with {process.returncode}"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else 0


def _command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
