"""CPU time of process trees and of the whole machine, as Linux counts it in /proc (proc(5))."""

import os
import resource
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class _Process(msgspec.Struct, frozen=True):
    """One row of /proc; `seconds` includes the children that ended and were waited for."""

    pid: int
    parent: int
    seconds: float


class Spent(msgspec.Struct, frozen=True):
    """CPU seconds used by each kind of process, and by the whole machine, in *elapsed* seconds."""

    by_kind: dict[str, float]
    machine: float
    elapsed: float

    @property
    def total(self) -> float:
        """Return the seconds of all kinds together."""
        return sum(self.by_kind.values())

    @property
    def other_cores(self) -> float:
        """Return how many cores others kept busy: a figure with much of it says little."""
        return max(0.0, self.machine - self.total) / self.elapsed


class Meter:
    """Counts from its making on: *groups* are roots of process trees by kind, `bench` is us."""

    def __init__(self, groups: Mapping[str, Sequence[int]]) -> None:
        self._groups = groups
        self._started = time.monotonic()
        self._before = self._now()
        self._machine = machine_seconds()

    def read(self) -> Spent:
        """Return what was used so far."""
        now = self._now()
        return Spent(
            {kind: seconds - self._before[kind] for kind, seconds in now.items()},
            machine_seconds() - self._machine,
            time.monotonic() - self._started,
        )

    def _now(self) -> dict[str, float]:
        return {**tree_seconds(self._groups), "bench": _own_seconds()}


def _own_seconds() -> float:
    """Return what this process used, with the programs it ran that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def tree_seconds(groups: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """Return the user and system seconds that each group's processes and descendants have used.

    A child that ends counts on in its parent, so the sums only grow.
    """
    processes = {process.pid: process for process in _processes()}
    children = defaultdict(list)
    for process in processes.values():
        children[process.parent].append(process.pid)
    return {
        name: sum(processes[pid].seconds for root in roots for pid in _tree(root, children))
        for name, roots in groups.items()
    }


def machine_seconds() -> float:
    """Return the seconds all cores were not free, by our processes or others or the host's."""
    names = _PROC.joinpath("stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, names[:8])
    return (user + nice + system + irq + softirq + steal) / _TICKS


def _tree(root: int, children: Mapping[int, Sequence[int]]) -> Iterator[int]:
    yield root
    for child in children.get(root, ()):
        yield from _tree(child, children)


def _processes() -> Iterator[_Process]:
    for directory in _PROC.iterdir():
        if directory.name.isdecimal():
            try:
                text = (directory / "stat").read_text()
            except OSError:
                continue  # it ended meanwhile
            # The name, in parentheses, may hold anything; fields are counted from its end.
            fields = text.rpartition(")")[2].split()
            ticks = sum(int(field) for field in fields[11:15])
            yield _Process(int(directory.name), int(fields[1]), ticks / _TICKS)
