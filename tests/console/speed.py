"""How long pages take when there is much: `python -m tests.console.speed [COUNT]`.

Starts servers of its own with a million deliveries (or a COUNT of them), asks for each page
thirty times, one after the other, and says what one reading for the overview costs.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mailworkers.adapters import db
from mailworkers.adapters.store.overview import read_stats
from mailworkers.adapters.store.pulse import Pulse
from mailworkers.embedded.binaries import Source
from mailworkers.embedded.servers import Servers, start_servers
from tests.console.conftest import visitor_of
from tests.store import volume
from tests.web.conftest import RunningApi, make_settings

_TIMES = 30
_WHOLE = 1_000_000
PAGES = [
    "/",
    "/deliveries",
    "/deliveries?status=trouble",
    "/deliveries?status=cancelled",
    "/deliveries?status=sending",
    "/deliveries?status=ready&lane=bulk",
    "/deliveries?recipient=person77@example.com",
    "/deliveries/{late}",
    "/dead-letters",
    "/malformed",
    "/suppressions",
    "/audit",
    "/roles",
]


def timed(work: Callable[[], object], times: int = _TIMES) -> list[float]:
    """Return how long *work* took, in milliseconds, shortest first."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        took.append((time.perf_counter() - began) * 1000)
    return sorted(took)


def fill(dsn: str, count: int) -> str:
    """Make *count* deliveries; return the id of one that waits."""
    with db.connect(dsn) as conn:
        conn.execute("SET statement_timeout = 0")
        if count >= _WHOLE:
            volume.fill(conn)
        else:
            volume.fill_thinly(conn, step=_WHOLE // count)
        row = conn.execute("SELECT delivery_id FROM deliveries WHERE status = 'deferred' LIMIT 1")
        return str(row.fetchall()[0][0])


def measure(servers: Servers, home: Path, late: str) -> None:
    """Print a line for each page, and what the overview's reading costs."""
    api = RunningApi(make_settings(servers, home), servers.postgres_dsn)
    with visitor_of(api) as visitor:
        for path in PAGES:
            asked = path.format(late=late)
            assert visitor.get(asked).status_code == 200
            took = timed(lambda asked=asked: visitor.get(asked))  # type: ignore[misc]
            print(f"{path:45} p50 {took[14]:7.1f} ms  p95 {took[28]:7.1f} ms")
    with db.connect(servers.postgres_dsn) as conn:
        pulse = Pulse()
        took = timed(lambda: (read_stats(conn), pulse.read(conn)), 10)
    api.close()
    share = took[4] / max(2000.0, took[4] * 11)
    print(f"one reading for the overview: {took[4]:.0f} ms, at most {share:.1%} of the time")


def main(count: int) -> None:
    """Make the volume, measure, take everything away."""
    home = Path(tempfile.mkdtemp(prefix="mail-speed-"))
    home.chmod(0o711)
    try:
        with start_servers(home, source=Source.AUTO, durable=False) as servers:
            db.migrate(servers.postgres_dsn)
            measure(servers, home, fill(servers.postgres_dsn, count))
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else _WHOLE)
