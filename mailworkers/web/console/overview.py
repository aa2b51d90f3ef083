"""The first page: how the service does, and what needs somebody."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
from litestar import Response, get

from mailworkers.adapters.store.overview import Process
from mailworkers.adapters.supervisor_files import ROLES
from mailworkers.core.counts import plural
from mailworkers.core.states import WAITING, Lane, Status
from mailworkers.web.console import charts
from mailworkers.web.console.asking import ask
from mailworkers.web.console.pages import page
from mailworkers.web.console.watch import Seen, Watch
from mailworkers.web.console.words import milliseconds
from mailworkers.web.orders import WebRequest
from mailworkers.web.overview import get_roles
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs

# Due mail that waits longer than this has a reason somebody should know.
_LATE_MS = 60_000
_MAIL_STOPS_WITHOUT = {"sender", "scheduler", "consumer"}
Kind = Literal["bad", "warn", "busy"]


class Banner(msgspec.Struct, frozen=True):
    """Something that somebody should know now; *link* leads to where it can be looked at."""

    kind: Kind
    title: str
    text: str
    link: str = ""


class LaneRow(msgspec.Struct, frozen=True):
    """How one lane does: counts of what is ready, being sent and waiting for its time."""

    lane: str
    ready: int
    sending: int
    waiting: int
    oldest_ms: float


@get("/", guards=[needs("read")], before_request=check_query)
async def show_overview(request: WebRequest) -> Response[str]:
    """Show charts, queues and whatever needs somebody; the page asks for itself anew."""
    watch: Watch = request.app.state.watch
    seen = await asyncio.to_thread(watch.seen)
    live: Counter[str] = Counter()
    for found in seen.stats.live:
        live[found.lane] += found.count
    return page(
        request,
        "overview.html",
        banners=list(banners(seen)),
        charts=[
            charts.throughput(seen.stretches),
            charts.depth(seen.stretches, live),
            charts.outcomes(seen.stretches),
            charts.took(seen.stretches),
        ],
        lanes=list(_lanes(seen)),
        stats=seen.stats,
        roles=_roles(seen.processes),
    )


def _lanes(seen: Seen) -> Iterator[LaneRow]:
    counts = {(found.status, found.lane): found.count for found in seen.stats.live}
    for lane in (lane.label for lane in Lane):
        waiting = sum(counts.get((status, lane), 0) for status in WAITING)
        sending = counts.get((Status.SENDING, lane), 0)
        ready = counts.get((Status.QUEUED, lane), 0) + counts.get((Status.RENDERED, lane), 0)
        yield LaneRow(lane, ready, sending, waiting, seen.stats.oldest_due_ms.get(lane, 0.0))


def _roles(processes: list[Process]) -> list[tuple[str, int]]:
    alive = Counter(found.role for found in processes)
    return [(role, alive[role]) for role in ROLES]


def banners(seen: Seen) -> Iterator[Banner]:
    """Yield what somebody should know now, the worst first."""
    yield from _about_the_relay(seen.processes)
    for role, alive in _roles(seen.processes):
        if not alive:
            text = "No sign of life for a minute. supervisorctl status shows whether it runs."
            kind: Kind = "bad" if role in _MAIL_STOPS_WITHOUT else "warn"
            yield Banner(kind, f"No {role} is alive", text, "roles")
    for pause in seen.pauses:
        of_lane = f"lane {pause.lane}" if pause.lane else ""
        of_source = f"source {pause.source}" if pause.source else ""
        held = " of ".join(part for part in (of_lane, of_source) if part) or "all mail"
        words = f"{pause.reason} ({pause.created_by})"
        yield Banner("warn", f"{held[:1].upper()}{held[1:]} is paused", words, "pauses")
    for lane, age in seen.stats.oldest_due_ms.items():
        if age > _LATE_MS:
            title = f"Mail in lane {lane} is late"
            text = f"The oldest that is due has waited {milliseconds(age)}."
            yield Banner("warn", title, text, "deliveries?status=ready&lane=" + lane)


def _about_the_relay(processes: list[Process]) -> Iterator[Banner]:
    senders = [found for found in processes if found.role == "sender"]
    away = [found for found in senders if found.detail.get("breaker", "closed") != "closed"]
    if not away:
        return
    is_all = len(away) == len(senders)
    who = "No sender reaches it" if is_all else f"{len(away)} of {plural(len(senders), 'sender')}"
    reason = next((str(found.detail["reason"]) for found in away if found.detail.get("reason")), "")
    text = f"{who}{': ' if reason else ''}{reason}. Mail waits and no attempt is used up."
    yield Banner(
        "bad" if is_all else "warn",
        "The relay is down" if is_all else "The relay fails some senders",
        text,
        "roles",
    )


@get("/roles", guards=[needs("read")], before_request=check_query)
async def show_roles(request: WebRequest) -> Response[str]:
    """Show every process that is alive, and what it says of itself."""
    found: Any = await ask(get_roles, request)
    return page(
        request,
        "roles.html",
        processes=found.items,
        missing=[role for role, alive in _roles(found.items) if not alive],
    )
