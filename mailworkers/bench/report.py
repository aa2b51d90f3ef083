"""What a scenario answers: figures by plain names, the same words in the table and in JSON."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from mailworkers.bench.arrivals import Check
from mailworkers.bench.cpu import Spent
from mailworkers.bench.figures import Figure

_QUIET = 0.1  # cores that others may use


class PeerFacts(msgspec.Struct, frozen=True):
    """What stands beside a peer's figures; *missing* says why it was not measured, "" if it was.

    *safe_when* is what holds once its producer has the acknowledgement.
    """

    version: str = ""
    safe_when: str = ""
    settings: str = ""
    check: Check | None = None
    missing: str = ""


class Report(msgspec.Struct, frozen=True):
    """The result of one scenario; a figure that could not be measured is None.

    `settings` are the scenario's own; `surroundings` say on what it ran. `check` is None where
    nothing is delivered. `copies_allowed` is more than 0 only where processes are killed.
    """

    scenario: str
    figures: Mapping[str, Figure | None]
    check: Check | None
    settings: Mapping[str, Any]
    surroundings: Mapping[str, Mapping[str, Any]]
    peers: Mapping[str, PeerFacts] = msgspec.field(default_factory=dict)
    copies_allowed: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether every message arrived exactly once, but for the copies that are allowed."""
        check = self.check
        if check is None:
            return True
        return not (check.missing or check.foreign) and check.doubled <= self.copies_allowed


def costs(spent: Sequence[Spent], messages: int) -> dict[str, Figure | None]:
    """Return the CPU seconds for 1,000 of *messages*, of all and of each kind of process.

    `other_cores` is what the rest of the machine used meanwhile.
    """
    name = "cpu_seconds_per_1000"
    each = 1000 / messages
    return {
        name: Figure.of((one.total * each for one in spent), digits=3),
        **{
            f"{name}_{kind}": Figure.of((one.by_kind[kind] * each for one in spent), digits=3)
            for kind in spent[0].by_kind
        },
        "other_cores": Figure.of((one.other_cores for one in spent), digits=2),
    }


def as_object(report: Report) -> dict[str, Any]:
    """Return *report* as one flat object: medians by name, all else below names of their own."""
    figures = {name: figure.median if figure else None for name, figure in report.figures.items()}
    return {
        "scenario": report.scenario,
        **figures,
        **_arrivals(report),
        "spread": {
            name: {"least": figure.least, "most": figure.most, "runs": figure.runs}
            for name, figure in report.figures.items()
            if figure is not None
        },
        "settings": report.settings,
        **({"peers": report.peers} if report.peers else {}),
        **report.surroundings,
    }


def _arrivals(report: Report) -> dict[str, Any]:
    if report.check is None:
        return {}
    return {
        "exactly_once": report.check.is_exactly_once,
        "as_promised": report.is_sound,
        "messages": report.check,
    }


def rows(report: Report) -> Iterator[tuple[str, str, str, str]]:
    """Yield name, median, least and most of each figure, as text."""
    for name, figure in report.figures.items():
        if figure is None:
            yield name, "not measured", "", ""
        else:
            yield name, f"{figure.median:,g}", f"{figure.least:,g}", f"{figure.most:,g}"


def facts(report: Report) -> Iterator[tuple[str, str]]:
    """Yield what the figures were measured with and on, one line of text each."""
    for name, group in (("settings", report.settings), *report.surroundings.items()):
        yield name, ", ".join(f"{key} {value}" for key, value in group.items())


def peer_rows(report: Report) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield name, when its mail is safe, whether all came once, settings and version of peers."""
    for name, peer in report.peers.items():
        if peer.check is None:
            yield name, f"not measured: {peer.missing.splitlines()[-1]}", "", "", ""
        else:
            yield name, peer.safe_when, verdict(peer.check), peer.settings, peer.version


def doubt(report: Report) -> str | None:
    """Return in words why the figures say little, None when nothing speaks against them."""
    others = report.figures.get("other_cores")
    if others is None or others.median <= _QUIET:
        return None
    return (
        f"the machine was not quiet: others used {others.median:g} cores meanwhile. Rates say "
        "little, CPU seconds are too high; compare what was measured side by side"
    )


def verdict(check: Check) -> str:
    """Return in words whether every message arrived exactly once."""
    if check.is_exactly_once:
        return f"all {check.expected:,} messages arrived exactly once"
    return (
        f"of {check.expected:,} messages {check.missing:,} are missing, {check.doubled:,} came "
        f"once more, and {check.foreign:,} arrived that nobody put in"
    )
