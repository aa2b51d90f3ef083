"""`python -m tests.model`: walk many random schedules, on as many processes as there are cores."""

import argparse
import itertools
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from typing import NamedTuple

from tests.model.narration import tell
from tests.model.walks import draw, run, shrink

_BATCH = 500  # schedules that a process does before it looks up


class Walked(NamedTuple):
    """What some schedules came to: how often what happened, and the first that failed, told."""

    seen: Counter[str]
    failure: str | None


def walk(seed: int, first: int, count: int) -> Walked:
    """Walk the schedules *first*.. of *seed*."""
    seen: Counter[str] = Counter()
    for number in range(first, first + count):
        where = f"seed {seed}, schedule {number}"
        try:
            failed = run(draw(number_of(seed, number)), seen=seen)
        except Exception as error:
            error.add_note(where)
            raise
        if failed:
            return Walked(seen, f"{where}\n{tell(shrink(failed))}")
        seen["schedules"] += 1
    return Walked(seen, None)


def number_of(seed: int, number: int) -> int:
    """Return the number that schedule *number* of *seed* is drawn from."""
    return seed * 1_000_000_007 + number


def main() -> int:
    """Walk, print what happened, and return 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=None, help="a random one unless given")
    parser.add_argument("--seconds", type=float, default=None, help="stop after so long")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    print(
        f"seed {seed}: {options.schedules:,} schedules, {options.processes} processes", flush=True
    )
    started = time.monotonic()
    deadline = started + options.seconds if options.seconds else None
    walked = _walk_all(seed, options.schedules, options.processes, deadline)
    for what, count in sorted(walked.seen.items()):
        print(f"{count:12,} {what}")
    print(f"{walked.seen['schedules']:,} schedules in {time.monotonic() - started:.0f} s")
    if walked.failure:
        print(walked.failure, file=sys.stderr)
        return 1
    print("every invariant held after every step")
    return 0


def _walk_all(seed: int, schedules: int, processes: int, deadline: float | None) -> Walked:
    """Walk in several processes until all is done, time is over, or one has failed."""
    seen: Counter[str] = Counter()
    batches = _batches(schedules)
    with ProcessPoolExecutor(processes) as pool:
        running: set[Future[Walked]] = set()
        failure = None
        while failure is None:
            room = 2 * processes - len(running)
            if deadline is None or time.monotonic() < deadline:
                more = itertools.islice(batches, room)
                running |= {pool.submit(walk, seed, first, count) for first, count in more}
            if not running:
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                found = future.result()
                seen.update(found.seen)
                failure = failure or found.failure
        pool.shutdown(cancel_futures=True)
    return Walked(seen, failure)


def _batches(schedules: int) -> Iterator[tuple[int, int]]:
    for first in range(0, schedules, _BATCH):
        yield first, min(_BATCH, schedules - first)


if __name__ == "__main__":
    sys.exit(main())
