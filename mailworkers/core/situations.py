"""How the whole service stands, and what of it is wrong: what `status` and `top` show.

The records are filled where the stores are asked; what is wrong about them is decided here.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

# A process makes a sign of life every 5 s; after three missed ones it is called silent.
SILENCE = timedelta(seconds=15)
# How long the oldest due mail of a lane may wait before that is wrong. Bulk is meant to wait.
LONGEST_WAITS = {
    "auth": timedelta(seconds=30),
    "normal": timedelta(minutes=5),
    "bulk": timedelta(hours=1),
}
LONGEST_UNREAD = timedelta(seconds=60)
POSTGRES, REDIS = "postgres", "redis"


class StoreView(msgspec.Struct, frozen=True):
    """Whether a store answers; `detail` says how, or why not."""

    name: str
    is_there: bool
    detail: str


class SilentProcess(msgspec.Struct, frozen=True):
    """A process that stopped giving signs of life without saying good-bye; nobody took its name."""

    host: str
    process: str
    pid: int
    beat_at: datetime


class RoleView(msgspec.Struct, frozen=True):
    """The processes of one role; `started_at` is when the oldest living one began."""

    role: str
    alive: int
    started_at: datetime | None = None
    versions: list[str] = []
    silent: list[SilentProcess] = []


class LaneView(msgspec.Struct, frozen=True):
    """What lives in one lane: how much by status, and how long the oldest due mail has waited."""

    lane: str
    counts: dict[str, int]
    oldest_due_ms: float


class Rates(msgspec.Struct, frozen=True):
    """Deliveries of the last minute. `deferred` counts attempts that are repeated later."""

    accepted: int
    sent: int
    deferred: int
    failed: int


class RelayView(msgspec.Struct, frozen=True):
    """What the senders say of the relay; `breaker` is empty while no sender is alive."""

    works_with: str
    breaker: str
    reason: str


class PauseView(msgspec.Struct, frozen=True):
    """What is held back, on purpose."""

    pause_id: int
    lane: str | None
    source: str | None
    reason: str
    created_by: str
    created_at: datetime
    ends_at: datetime | None


class Trouble(msgspec.Struct, frozen=True):
    """Something that failed lately: an `attempt`, a `dead_letter` or a `malformed` entry."""

    at: datetime
    kind: str
    words: str
    delivery_id: str = ""


class MailView(msgspec.Struct, frozen=True):
    """What Postgres says. The two counts at the end are what nobody has looked after yet."""

    roles: list[RoleView]
    lanes: list[LaneView]
    rates: Rates
    relay: RelayView
    pauses: list[PauseView]
    troubles: list[Trouble]
    open_dead_letters: int
    malformed: int


class StreamView(msgspec.Struct, frozen=True):
    """What Redis says: entries nobody has read and for how long, entries in consumers' hands.

    None where there is no group yet, or Redis keeps it to itself.
    """

    name: str
    waiting: int | None = None
    oldest_waiting_ms: float | None = None
    in_hand: int | None = None


class Problem(msgspec.Struct, frozen=True):
    """Something that is wrong now, and what to do next."""

    what: str
    advice: str


class Situation(msgspec.Struct, frozen=True):
    """The whole service at one moment; `mail` or `stream` is None while its store is away."""

    at: datetime
    stores: list[StoreView]
    mail: MailView | None = None
    stream: StreamView | None = None
    problems: list[Problem] = []


def judge(situation: Situation) -> list[Problem]:
    """Return what is wrong, the gravest first; empty when all is well.

    Wrong is a store that is away, a role without a living process, a silent process, a breaker that
    is not closed, mail that is overdue though nobody paused it, commands that nobody reads.
    What was done on purpose (pauses), and what waits for a person's review, is not.
    """
    return [
        *_of_stores(situation.stores),
        *(_of_mail(situation.mail) if situation.mail is not None else ()),
        *(_of_stream(situation.stream) if situation.stream is not None else ()),
    ]


def _of_stores(stores: list[StoreView]) -> Iterator[Problem]:
    for store in stores:
        if not store.is_there:
            yield Problem(f"{store.name}: {store.detail}", "mailworkers doctor")


def _of_mail(mail: MailView) -> Iterator[Problem]:
    if missing := [view.role for view in mail.roles if not view.alive]:
        advice = "start it: mailworkers supervise, or look at `supervisorctl status`"
        yield Problem(f"no {', no '.join(missing)} is alive", advice)
    if mail.relay.breaker not in ("", "closed"):
        reason = f": {mail.relay.reason}" if mail.relay.reason else ""
        yield Problem(f"breaker {mail.relay.breaker}{reason}", "mailworkers doctor asks the relay")
    for view in mail.roles:
        for silent in view.silent:
            what = f"{silent.process} on {silent.host} (pid {silent.pid}) is silent"
            yield Problem(what, "frozen or killed: mailworkers doctor on that host")
    yield from _overdue(mail)


def _overdue(mail: MailView) -> Iterator[Problem]:
    """What is due for too long, unless somebody holds its lane or a part of it back."""
    if any(pause.lane is None for pause in mail.pauses):
        return
    held = {pause.lane for pause in mail.pauses}
    for view in mail.lanes:
        waited = timedelta(milliseconds=view.oldest_due_ms)
        if view.lane not in held and waited > LONGEST_WAITS[view.lane]:
            what = f"{view.lane} mail has been due for {in_short(waited)}"
            yield Problem(what, "mailworkers deliveries list, then explain")


def _of_stream(stream: StreamView) -> Iterator[Problem]:
    waited = timedelta(milliseconds=stream.oldest_waiting_ms or 0)
    if stream.waiting and waited > LONGEST_UNREAD:
        what = f"{stream.waiting} commands unread, the oldest for {in_short(waited)}"
        yield Problem(what, "is a consumer alive, and Postgres fast enough?")


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def in_short(span: timedelta) -> str:
    """Return *span* in its two largest units: `3h 12m`, `45s`; below a second `0s`."""
    seconds = max(0, int(span.total_seconds()))
    parts = []
    for unit, size in _UNITS:
        if seconds >= size:
            parts.append(f"{seconds // size}{unit}")
            seconds %= size
        elif parts:
            break
    return " ".join(parts[:2]) or "0s"
