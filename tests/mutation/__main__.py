"""`python -m tests.mutation`: take one guard away after the other; some test must miss it."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from pathlib import Path

import pytest

from mailworkers.adapters import db
from mailworkers.core.states import MOVES
from tests.mutation.equivalents import EQUIVALENT, Key
from tests.mutation.guards import Guard, find
from tests.mutation.runs import MutationRun

ROOT = Path(__file__).resolve().parents[2]
# What moving statements rely on: they lock, or say what is moved.
_HELD = ("hold_delivery", "hold_free_deliveries", "hold_overdue", "hold_replayed", "leases_of")
STATEMENTS = (*MOVES, *_HELD)
_TESTS = (
    "tests/store/test_matrix.py",
    "tests/store/test_accept.py",
    "tests/store/test_leases.py",
    "tests/store/test_verbs.py",
    "tests/store/test_races.py",
    "tests/store/test_guards.py",
    "tests/store/test_replays.py",
    "tests/store/test_late_outcomes.py",
    "tests/store/test_locks.py",
    "tests/model/test_lockstep.py",
)
_WITHOUT = ("-p", "no:randomly", "-p", "no:terminal", "-p", "no:cacheprovider")
_OPTIONS = (f"--rootdir={ROOT}", "--override-ini=addopts=", "--timeout=60", *_WITHOUT)


def guards_of(statements: Sequence[str]) -> dict[Key, Guard]:
    """Return every guard of *statements* by its key: statement, text, which of several alike."""
    guards: dict[Key, Guard] = {}
    for name in statements:
        alike: Counter[str] = Counter()
        for guard in find(name, db.SQL[name].decode()):
            alike[guard.text] += 1
            guards[name, guard.text, alike[guard.text]] = guard
    return guards


def main() -> int:
    """Run, tell, and return 1 when a guard could be taken away unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--statement", action="append", choices=STATEMENTS, help="only of these")
    parser.add_argument("--equivalent", action="store_true", help="try those with a reason, too")
    parser.add_argument("--servers", default="auto", help="as for ./test")
    options = parser.parse_args()
    started = time.monotonic()
    statements = options.statement or STATEMENTS
    guards = guards_of(statements)
    excused = {key: why for key, why in EQUIVALENT.items() if key[0] in statements}
    tried = {key: g for key, g in guards.items() if options.equivalent or key not in excused}
    run = MutationRun(list(tried.values()), tell=lambda line: print(line, flush=True))
    tests = [str(ROOT / path) for path in _TESTS]
    pytest.main([*_OPTIONS, f"--servers={options.servers}", *tests], plugins=[run])
    if run.error or len(run.verdicts) != len(tried):
        print(f"inconclusive: {run.error or 'the tests were not run'}", file=sys.stderr)
        return 1
    missed = {key for key, found in zip(tried, run.verdicts, strict=True) if found.killer}
    return _sum_up(guards, tried.keys() - missed, excused, time.monotonic() - started)


def _sum_up(
    guards: Mapping[Key, Guard], survived: Set[Key], excused: Mapping[Key, str], seconds: float
) -> int:
    """Print what was found; 1 when a guard is not missed, or a reason is no reason any more."""
    for (statement, text, _), reason in excused.items():
        print(f"equivalent {statement}: {text}\n    {reason}")
    wrong = {f"not missed by any test: {key}" for key in survived - excused.keys()}
    wrong |= {f"there is no such guard: {key}" for key in excused.keys() - guards.keys()}
    print(
        f"{len(guards)} guards: {len(guards) - len(excused)} that must be missed,"
        f" {len(excused)} equivalent; {len(wrong)} wrong; {seconds:.0f} s"
    )
    for line in sorted(wrong):
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
