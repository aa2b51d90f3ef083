"""The verdict over a run: every check on its evidence, and whether the planned faults happened."""

from collections import Counter
from typing import Any, NamedTuple

from tests.crash.chaos import checks_of_intake, checks_of_sink, checks_of_state
from tests.crash.chaos.checks import CHECKS
from tests.crash.chaos.checks_of_intake import lost_with_redis
from tests.crash.chaos.checks_of_sink import bound, duplicates
from tests.crash.chaos.evidence import Evidence, Watch

__all__ = ["Verdict", "checks_of_intake", "checks_of_sink", "checks_of_state", "judge"]


class Verdict(NamedTuple):
    """What a run came to. `violations` by check, `missed` the faults that took no effect."""

    violations: dict[str, list[str]]
    missed: list[str]
    facts: dict[str, Any]

    @property
    def is_good(self) -> bool:
        """Whether nothing was violated and every planned fault took effect."""
        return not self.missed and not any(self.violations.values())


def judge(evidence: Evidence, watch: Watch, planned: int) -> Verdict:
    """Return the verdict over one run that planned so many faults."""
    violations = {name: list(function(evidence)) for name, function in CHECKS.items()}
    violations["I-04 no row is leased after lease + 5 s"] = sorted(set(watch.stuck))
    violations["I-15 nothing lives past its expiry"] = sorted(set(watch.overdue))
    missed = [
        f"{fault['target']} {fault['action']}: {evidence.effects.get(fault['number'])}"
        for fault in evidence.faults
        if not evidence.is_done(fault)
    ]
    if len(evidence.faults) < planned:
        missed.append(f"{planned - len(evidence.faults)} faults were never tried")
    return Verdict(violations, missed, _facts(evidence))


def _facts(evidence: Evidence) -> dict[str, Any]:
    done = Counter(
        f"{fault['target'].partition('-')[0]} {fault['action']}"
        for fault in evidence.faults
        if evidence.is_done(fault)
    )
    return {
        "commands": len(evidence.commands),
        "entries and requests": sum(len(c.sent) for c in evidence.commands.values()),
        "never acknowledged": sum(not c.told for c in evidence.commands.values()),
        "lost with Redis before they were accepted": len(lost_with_redis(evidence)),
        "deliveries": len(evidence.deliveries),
        "by status": dict(Counter(row.status for row in evidence.deliveries.values())),
        "attempts": sum(len(a) for a in evidence.attempts.values()),
        "attempts with outcome unknown": sum(map(evidence.unknowns, evidence.deliveries)),
        "copies at the sink": len(evidence.messages),
        "duplicates": sum(duplicates(evidence, found) for found in evidence.copies),
        "bound of duplicates": bound(evidence),
        "malformed": len(evidence.malformed),
        "faults": dict(sorted(done.items())),
        "relay faults done": dict(Counter(line["mode"] for line in evidence.relay_faults)),
    }
