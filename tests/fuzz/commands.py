"""Hostile commands without end: none may raise, take long, or be refused without a reason.

    python -m tests.fuzz.commands --inputs 1000000 --seed 7

Each input goes the way it would go in a consumer or in the API: decoded, composed with the example
catalog, nothing stored. The same seed makes the same inputs; a failure prints its number, and
`--only NUMBER` runs that one again. Standard output has what became of them, by failure code.
"""

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec

from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.core.commands import Command, Refusal, decode_body, decode_entry
from mailworkers.core.intake import Composer, Identity, NewDelivery
from mailworkers.core.refusals import FailureCode
from tests.fuzz.hostile_commands import Maker

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ACCEPTED = "accepted"
# Processor time, since the machine may be busy. A refusal, whatever its size (N-13); a command that
# is accepted has its ten megabytes decoded, digested and written as MIME.
LONGEST_REFUSAL = 0.050
LONGEST_ACCEPTANCE = 1.0
# The first of a kind pays for imports and caches, and neighbours share those caches.
_TRIES = 5


class Found(Exception):  # noqa: N818
    """An input that was not handled as it must be."""


class Judge:
    """Takes commands in as the roles do and says what became of each."""

    def __init__(self) -> None:
        self._composer = Composer(
            identity=Identity("shop@example.org", frozenset({"example.org"})),
            renderer=Catalog.load(packaged_directory()),
        )
        self.slowest_refusal = self.slowest_acceptance = 0.0

    def judge(self, made: Mapping[bytes, bytes] | bytes) -> str:
        """Return `accepted` or the failure code of an entry or a body; raise Found otherwise."""
        outcome, took = self._timed(made)
        limit = LONGEST_ACCEPTANCE if outcome == ACCEPTED else LONGEST_REFUSAL
        for _ in range(_TRIES - 1):
            if took > limit:
                took = min(took, self._timed(made)[1])
        if outcome == ACCEPTED:
            self.slowest_acceptance = max(self.slowest_acceptance, took)
        else:
            self.slowest_refusal = max(self.slowest_refusal, took)
        if took > limit:
            raise Found(f"took {took * 1000:.0f} ms until {outcome}")
        return outcome

    def _timed(self, made: Mapping[bytes, bytes] | bytes) -> tuple[str, float]:
        began = time.process_time()
        return self._take_in(made), time.process_time() - began

    def _take_in(self, made: Mapping[bytes, bytes] | bytes) -> str:
        try:
            result: Command | NewDelivery | Refusal
            result = decode_body(made) if isinstance(made, bytes) else decode_entry(made)
            if isinstance(result, Command):
                result = self._composer.compose(
                    result, delivery_id=result.delivery_id or UUID(int=1), now=NOW
                )
        except BaseException as error:
            raise Found(f"raised {type(error).__name__}: {error}") from error
        if isinstance(result, Refusal):
            return _check(result)
        return ACCEPTED


def _check(refusal: Refusal) -> str:
    """Return the code of a refusal that is fit for a log line, a table and a human being."""
    if not isinstance(refusal.code, FailureCode):
        raise Found(f"refused with {refusal.code!r}, which is no failure code")
    if refusal.code is FailureCode.POISON or "could not be handled" in refusal.detail:
        raise Found(f"refused by our own mistake: {refusal.detail}")
    if not 0 < len(refusal.detail) <= 500 or not refusal.detail.isprintable():
        raise Found(f"refused without a printable reason: {refusal.detail!r}")
    return str(refusal.code)


def inputs(seed: int, first: int, count: int) -> Iterator[tuple[int, Any]]:
    """Yield *count* inputs from the one with number *first* on; each depends on its number only."""
    for number in range(first, first + count):
        yield number, Maker(random.Random(f"{seed}-{number}")).make()


def run(judge: Judge, seed: int, first: int, count: int) -> Counter[str]:
    """Return what became of the inputs, by code; raise Found."""
    outcomes: Counter[str] = Counter()
    for number, made in inputs(seed, first, count):
        try:
            outcomes[judge.judge(made)] += 1
        except Found as found:
            raise Found(f"seed {seed}, input {number} {found}: {_shown(made)}") from found
    return outcomes


def _shown(made: object) -> str:
    text = repr(made)
    return text if len(text) < 2000 else f"{text[:1000]} ... {text[-500:]} ({len(text)} long)"


def main(arguments: list[str] | None = None) -> int:
    """Fuzz as the command line asks; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=100_000, metavar="N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", type=int, metavar="NUMBER", help="run one input again")
    given = parser.parse_args(arguments)
    first, count = (0, given.inputs) if given.only is None else (given.only, 1)
    began, judge = time.monotonic(), Judge()
    try:
        outcomes = run(judge, given.seed, first, count)
    except Found as found:
        sys.stderr.write(f"{found}\n")
        return 1
    answer = {
        "seed": given.seed,
        "inputs": count,
        "seconds": round(time.monotonic() - began, 1),
        "slowest_refusal_ms": round(judge.slowest_refusal * 1000, 1),
        "slowest_acceptance_ms": round(judge.slowest_acceptance * 1000, 1),
        "outcomes": dict(sorted(outcomes.items())),
    }
    sys.stdout.write(f"{msgspec.json.encode(answer).decode()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
