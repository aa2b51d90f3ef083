"""Peers beside our own runs: who can be measured, their runs, and the ratios to ours."""

import subprocess
from collections.abc import Mapping, Sequence

from mailworkers.bench.arrivals import Check
from mailworkers.bench.commands import Load
from mailworkers.bench.figures import Figure
from mailworkers.bench.peers.measuring import PeerRun, measure_peer
from mailworkers.bench.peers.peer import Peer, PeerMissing
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import PeerFacts
from mailworkers.bench.testbed import BenchFailed, Testbed

_COST = "cpu_seconds_per_1000"


class Comparison:
    """The runs of *peers*; one that cannot be installed or run is named, the others go on."""

    def __init__(self, peers: Sequence[Peer], progress: Progress) -> None:
        self._progress = progress
        self._versions: dict[str, str] = {}
        self._missing: dict[str, str] = {}
        self._peers = [peer for peer in peers if self._install(peer)]
        self._all = peers
        self._runs: dict[str, list[PeerRun]] = {peer.name: [] for peer in self._peers}

    def _install(self, peer: Peer) -> bool:
        try:
            with self._progress.step(f"{peer.name}: looking for it, installing it if need be"):
                self._versions[peer.name] = peer.install()
        except PeerMissing as error:
            self._give_up(peer, str(error))
            return False
        return True

    def _give_up(self, peer: Peer, reason: str) -> None:
        self._missing[peer.name] = reason
        self._progress.say(f"{peer.name} is not measured: {reason}")

    def run(self, testbed: Testbed, load: Load, number: int) -> None:
        """Let every peer send *load* once."""
        for peer in list(self._peers):
            try:
                done = measure_peer(testbed, peer, load, f"run {number}: {peer.name}")
            except (BenchFailed, OSError, subprocess.SubprocessError) as error:
                self._give_up(peer, str(error))
                self._peers.remove(peer)
                testbed.sink.take()
            else:
                self._runs[peer.name].append(done)

    def figures(self, ours: Mapping[str, Figure | None], messages: int) -> dict[str, Figure | None]:
        """Return the figures of every peer, and the ratios of *ours* to them, by median."""
        found: dict[str, Figure | None] = {}
        for name in (peer.name for peer in self._all):
            runs = self._runs.get(name) if name not in self._missing else None
            found |= figures_of(name, runs or [], ours, messages)
        return found

    def facts(self) -> dict[str, PeerFacts]:
        """Return what stands beside the figures of each peer."""
        return {peer.name: self._facts(peer) for peer in self._all}

    def _facts(self, peer: Peer) -> PeerFacts:
        missing = self._missing.get(peer.name, "")
        runs = self._runs.get(peer.name, [])
        return PeerFacts(
            self._versions.get(peer.name, ""),
            peer.promise,
            peer.settings,
            None if missing else Check.total(run.check for run in runs),
            missing,
        )


def figures_of(
    name: str, runs: Sequence[PeerRun], ours: Mapping[str, Figure | None], messages: int
) -> dict[str, Figure | None]:
    """Return speed and cost of one peer; ratios are ours divided by theirs."""
    if not runs:
        names = (f"{name}_per_second", f"ratio_to_{name}")
        return dict.fromkeys((*names, f"{name}_{_COST}", f"cpu_ratio_to_{name}"))
    speed = Figure.of((run.whole for run in runs), digits=0)
    cost = Figure.of((run.spent.total * 1000 / messages for run in runs), digits=3)
    return {
        f"{name}_per_second": speed,
        f"ratio_to_{name}": _ratio(ours["messages_per_second"], speed),
        f"{name}_{_COST}": cost,
        f"cpu_ratio_to_{name}": _ratio(ours[_COST], cost),
    }


def _ratio(ours: Figure | None, theirs: Figure) -> Figure | None:
    """Return the ratio run by run; each run of ours stands beside one of theirs."""
    if ours is None or not all(theirs.runs):
        return None
    pairs = zip(ours.runs, theirs.runs, strict=False)
    return Figure.of((mine / other for mine, other in pairs), digits=2)
