"""Reading: how long lists, searches and pages take beside millions of deliveries.

Asked one after the other on a system at rest; then, under load, what it costs the senders that
somebody has the console open: one overview, which renews itself, and a page a second.
"""

import itertools
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec

from mailworkers.bench.api_process import start_api
from mailworkers.bench.arrivals import Check
from mailworkers.bench.callers import Reader
from mailworkers.bench.commands import Load
from mailworkers.bench.figures import Figure, percentile
from mailworkers.bench.filling import Rows, fill
from mailworkers.bench.flatness import Flatness, measure_part
from mailworkers.bench.machine import describe
from mailworkers.bench.progress import Progress
from mailworkers.bench.report import Report
from mailworkers.bench.testbed import Setup, Testbed

_DAY = 86_400.0
_API, _CONSOLE = "/api/v1/internal", "/console"
# What is asked, by the name of its figure; {late} is a delivery that waits for its next attempt.
ASKED = {
    "api_list": f"{_API}/deliveries?limit=50",
    "api_list_deferred": f"{_API}/deliveries?status=deferred&limit=50",
    "api_list_cancelled": f"{_API}/deliveries?status=cancelled&limit=50",
    "api_search": f"{_API}/deliveries?recipient=person{{person}}@example.com",
    "api_delivery": f"{_API}/deliveries/{{late}}",
    "api_timeline": f"{_API}/deliveries/{{late}}/timeline",
    "api_explain": f"{_API}/deliveries/{{late}}/explain",
    "api_stats": f"{_API}/stats",
    "api_dead_letters": f"{_API}/dead-letters",
    "page_overview": f"{_CONSOLE}/",
    "page_deliveries": f"{_CONSOLE}/deliveries",
    "page_trouble": f"{_CONSOLE}/deliveries?status=trouble",
    "page_search": f"{_CONSOLE}/deliveries?recipient=person{{person}}@example.com",
    "page_delivery": f"{_CONSOLE}/deliveries/{{late}}",
    "page_dead_letters": f"{_CONSOLE}/dead-letters",
    "page_malformed": f"{_CONSOLE}/malformed",
    "page_suppressions": f"{_CONSOLE}/suppressions",
    "page_audit": f"{_CONSOLE}/audit",
    "page_roles": f"{_CONSOLE}/roles",
}
_BETWEEN_PAGES = 1.0  # seconds, as one who clicks on without reading
_OVERVIEW_EVERY = 3  # pages: what the overview's own script does


class Shelf(msgspec.Struct, frozen=True):
    """How many deliveries there are, and how often each question is asked."""

    finished: int = 5_000_000
    deferred: int = 20_000
    times: int = 100


def run(shelf: Shelf, load: Load, setup: Setup, *, repeat: int, progress: Progress) -> Report:
    """Ask everything, then measure *repeat* runs of *load* alone and as many while it is read."""
    chance = random.Random()
    with Testbed(setup, progress) as testbed:
        testbed.roles.stop()
        with progress.step(f"making {shelf.finished:,} deliveries"):
            _fill(testbed, shelf)
        testbed.start_all_roles()
        port = start_api(testbed)
        late = str(testbed.ask(b"SELECT delivery_id FROM deliveries WHERE status = 'deferred'"))
        figures = _ask_everything(testbed, shelf, port, late, chance)
        alone, read = [], []
        for _ in range(repeat):  # in turns: a database just filled grows faster with every run
            alone += measure_part(testbed, load, chance, 1, "nobody reads")
            with _watched(port, late):
                read += measure_part(testbed, load, chance, 1, "the console is open")
        surroundings = describe(testbed)
    settings = {**msgspec.to_builtins(shelf), **msgspec.to_builtins(load), "repeat": repeat}
    figures |= Flatness({"alone": alone, "watched": read}, base="alone").figures(load.messages)
    total = Check.total(one.check for one in (*alone, *read))
    return Report("reading", figures, total, settings, surroundings)


def _fill(testbed: Testbed, shelf: Shelf) -> None:
    """Make what ended in the last 29 days, and what waits for its next attempt tomorrow."""
    spacing = _DAY * 29 / shelf.finished
    ended = Rows("read-ended", shelf.finished, "sent", first_in=-29.5 * _DAY, spacing=spacing)
    waiting = Rows("read-late", shelf.deferred, "deferred", first_in=_DAY, spacing=0.1)
    fill(testbed.conn, ended, waiting)


def _ask_everything(
    testbed: Testbed, shelf: Shelf, port: int, late: str, chance: random.Random
) -> dict[str, Figure | None]:
    reader = Reader(port)
    took: dict[str, list[float]] = {}
    for name, path in ASKED.items():
        with testbed.progress.step(f"reading {name.replace('_', ' ')}"):
            people = (chance.randrange(1, shelf.finished + 1) for _ in range(shelf.times + 3))
            times = [reader.read(path.format(late=late, person=person)) for person in people]
        took[name] = times[3:]  # the first ones open connections and plan statements
    reader.close()
    slowest = max(percentile(times, 0.95) for times in took.values())
    return {
        "slowest_p95_ms": Figure.of([slowest], digits=1),
        **{f"{name}_p95_ms": _p95(times) for name, times in took.items()},
    }


def _p95(times: Sequence[float]) -> Figure:
    """Return the 95th percentile; its spread is the fastest and the slowest answer of all."""
    p95 = round(percentile(times, 0.95), 1)
    return Figure(p95, round(min(times), 1), round(max(times), 1), (p95,))


@contextmanager
def _watched(port: int, late: str) -> Iterator[None]:
    """Let somebody click through the console until the end."""
    reader, is_over = Reader(port), threading.Event()
    paths = [path.format(late=late, person=1) for path in ASKED.values() if _CONSOLE in path]

    def click_on() -> None:
        for number, path in enumerate(itertools.cycle(paths)):
            reader.read(path)
            if number % _OVERVIEW_EVERY == 0:
                reader.read(f"{_CONSOLE}/")
            if is_over.wait(_BETWEEN_PAGES):
                return

    visitor = threading.Thread(target=click_on, name="visitor", daemon=True)
    visitor.start()
    try:
        yield
    finally:
        is_over.set()
        visitor.join()
        reader.close()
