"""The verdict over a run: every check on its evidence, and whether the planned faults happened."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from mailworkers.gameday.judging import (
    checks_of_intake,
    checks_of_processes,
    checks_of_sink,
    checks_of_state,
    checks_of_tables,
    tally,
)
from mailworkers.gameday.judging.checks import OF_PARTS, OF_THE_WHOLE
from mailworkers.gameday.judging.checks_of_processes import counts, most_used, stop_seconds
from mailworkers.gameday.judging.checks_of_sink import bound
from mailworkers.gameday.judging.ledgers import Parts
from mailworkers.gameday.judging.part import Part
from mailworkers.gameday.judging.places import Places
from mailworkers.gameday.judging.watch import Watch
from mailworkers.gameday.judging.whole import Whole

__all__ = ["Verdict", "checks_of_intake", "checks_of_processes", "checks_of_sink"]
__all__ += ["checks_of_state", "checks_of_tables", "judge"]

PART = 20_000  # commands judged at a time: some hundred MiB
_KEPT = 100  # violations of one check that are kept; all are counted

Advance = Callable[[int], None]


class Verdict(NamedTuple):
    """What a run came to. `violations` by check, `missed` the faults that took no effect.

    `violations` holds the first of each check, `counts` how many there are.
    """

    violations: dict[str, list[str]]
    counts: dict[str, int]
    missed: list[str]
    facts: dict[str, Any]

    @property
    def is_good(self) -> bool:
        """Whether nothing was violated and every planned fault took effect."""
        return not self.missed and not any(self.counts.values())


class _Violations:
    """The first violations of each check, and the number of all."""

    def __init__(self) -> None:
        self.first: dict[str, list[str]] = {}
        self.counts: Counter[str] = Counter()

    def add(self, name: str, found: Iterable[str]) -> None:
        first = self.first.setdefault(name, [])
        for violation in found:
            self.counts[name] += 1
            if len(first) < _KEPT:
                first.append(violation)


def judge(places: Places, watch: Watch, planned: int, advance: Advance = lambda _: None) -> Verdict:
    """Return the verdict over one run that planned so many faults, part by part."""
    violations = _Violations()
    with contextlib.closing(Whole(places)) as whole:
        with contextlib.closing(Parts(places.directory, places.messages, PART)) as parts:
            for first, end in parts.ranges():
                part = Part(whole, parts, first, end)
                for name, check in OF_PARTS:
                    violations.add(name, check(part))
                tally.add(part)
                advance(len(part.commands))
        for name, check_whole in OF_THE_WHOLE:
            violations.add(name, check_whole(whole))
        violations.add("I-04 no row is leased after lease + 5 s", sorted(watch.stuck))
        violations.add("I-15 nothing lives past its expiry", sorted(watch.overdue))
        missed = [
            f"{fault['target']} {fault['action']}: {whole.effects.get(fault['number'])}"
            for fault in whole.faults
            if not whole.is_done(fault)
        ]
        if len(whole.faults) < planned:
            missed.append(f"{planned - len(whole.faults)} faults were never tried")
        return Verdict(violations.first, dict(violations.counts), missed, _facts(whole))


def _spread(figures: list[float]) -> str:
    """Return median, 99th percentile and most of sorted *figures*."""
    if not figures:
        return "none"
    middle, late = figures[len(figures) // 2], figures[len(figures) * 99 // 100]
    return f"median {middle}, p99 {late}, most {figures[-1]}"


def _facts(whole: Whole) -> dict[str, Any]:
    done = Counter(
        f"{fault['target'].partition('-')[0]} {fault['action']}"
        for fault in whole.faults
        if whole.is_done(fault)
    )
    return {
        **dict(whole.tally),
        "bound of duplicates": bound(whole),
        "malformed": len(whole.malformed),
        "faults": dict(sorted(done.items())),
        "deleted by retention": {
            table: whole.rows(f"SELECT count(*) AS n FROM chaos.{table}")[0].n  # noqa: S608
            for table in ("deliveries", "delivery_payloads", "idempotency_reservations")
        },
        "relay faults done": dict(whole.relay_faults),
        "processes": len(whole.lives),
        "seconds from SIGTERM to the end": _spread(stop_seconds(whole)),
        "counted / happened": {name: f"{n} / {m}" for name, n, m in counts(whole)},
        "most used by one process": {
            f"{r} {n}": v for (r, n), v in sorted(most_used(whole).items())
        },
    }
