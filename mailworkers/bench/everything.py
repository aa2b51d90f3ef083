"""All measurements of the report, one after the other, in the sizes of the targets or a tenth."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from mailworkers.bench.commands import Load, Mode
from mailworkers.bench.peers.peer import Peer
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.scenarios import (
    auth,
    history,
    http,
    kill,
    latency,
    lateness,
    memory,
    reading,
    retention,
    slow_relay,
    snapshot,
    start,
    throughput,
)
from mailworkers.bench.testbed import Setup

_LARGE = 100_000  # bytes of a large message


class Sizes(msgspec.Struct, frozen=True):
    """How much of everything; these are the targets' own."""

    messages: int = 10_000
    large: int = 2_000
    seconds: int = 10
    bulk: int = 1_000_000
    finished: int = 5_000_000
    future: int = 1_000_000
    held: int = 600
    old: int = 1_000_000
    soak: int = 1_000_000
    killed: int = 2_000


# Hours become half of one: enough to see where something is wrong.
TENTH = Sizes(bulk=400_000, finished=500_000, future=100_000, held=60, old=200_000, soak=100_000)
Measure = Callable[[], Report]


def measurements(
    sizes: Sizes, setup: Setup, *, repeat: int, peers: Sequence[Peer], progress: Progress
) -> dict[str, Measure]:
    """Return every measurement by its name, in the order of the report."""
    load = Load(sizes.messages)
    plain: dict[str, Any] = {"repeat": repeat, "progress": progress}
    return {
        "throughput": lambda: throughput.run(load, setup, **plain, peers=peers),
        "template": lambda: throughput.run(
            Load(sizes.messages, mode=Mode.TEMPLATE), setup, **plain, has_wire=False
        ),
        "large": lambda: throughput.run(Load(sizes.large, _LARGE), setup, **plain, has_wire=False),
        "latency": lambda: latency.run(latency.Offer(seconds=sizes.seconds), setup, **plain),
        "auth": lambda: auth.run(auth.Backlog(sizes.bulk), setup, **plain),
        "lateness": lambda: lateness.run(
            lateness.Retries(seconds=sizes.seconds * 3, burst_seconds=sizes.seconds), setup, **plain
        ),
        "slow-relay": lambda: slow_relay.run(
            slow_relay.Distances(at_most=sizes.messages), setup, repeat=1, progress=progress
        ),
        "history": lambda: history.run(
            history.Past(sizes.finished, sizes.future), load, setup, **plain
        ),
        "http": lambda: http.run(http.Calls(), load, setup, **plain),
        "reading": lambda: reading.run(reading.Shelf(sizes.finished), load, setup, **plain),
        "snapshot": lambda: snapshot.run(snapshot.Hold(sizes.held), load, setup, **plain),
        "retention": lambda: retention.run(retention.Old(sizes.old), load, setup, **plain),
        "kill": lambda: kill.run(kill.Kill(sizes.killed), setup, **plain),
        "memory": lambda: memory.run(memory.Soak(sizes.soak), setup, progress=progress),
        "start": lambda: start.run(setup, **plain),
    }
