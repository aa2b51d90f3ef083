"""Offering messages one by one at a steady pace, and how long each took.

Measured from two moments: the XADD, and the acceptance (the row's `created_at`, set just before the
COMMIT), until the sink has the final dot. All clocks are this machine's.
"""

import time
from collections.abc import Sequence
from datetime import datetime

import msgspec

from mailworkers.bench.arrivals import Arrival
from mailworkers.bench.commands import Batch
from mailworkers.bench.testbed import Testbed

_ACCEPTED = "SELECT delivery_id::text, created_at FROM deliveries WHERE delivery_id = ANY (%s)"
_MILLISECOND = 1e6  # ns


class Times(msgspec.Struct, frozen=True):
    """Milliseconds that messages took to the sink, since their XADD and since their acceptance."""

    from_xadd: list[float]
    from_accepted: list[float]


def offer(testbed: Testbed, batch: Batch, *, pause: float) -> list[int]:
    """Put the commands of *batch* one by one, *pause* seconds apart; return when, in ns."""
    put_at = []
    due = time.monotonic()
    for command in batch.commands:
        time.sleep(max(0.0, due - time.monotonic()))
        put_at.append(testbed.producer.put([command]))
        due += pause
    return put_at


def times(
    testbed: Testbed, batch: Batch, put_at: Sequence[int], arrivals: Sequence[Arrival]
) -> Times:
    """Return how long those of *batch* took that are among *arrivals*."""
    arrived = {arrival.message_id: arrival.at_ns for arrival in arrivals}
    ids = {name[1:].partition("@")[0]: name for name in batch.message_ids}
    rows = testbed.conn.execute(_ACCEPTED, [list(ids)])
    accepted = {ids[delivery_id]: _nanoseconds(at) for delivery_id, at in rows}
    came = [name for name in batch.message_ids if name in arrived]
    put = dict(zip(batch.message_ids, put_at, strict=True))
    return Times(
        [(arrived[name] - put[name]) / _MILLISECOND for name in came],
        [(arrived[name] - accepted[name]) / _MILLISECOND for name in came],
    )


def _nanoseconds(at: datetime) -> int:
    return round(at.timestamp() * 1e9)
