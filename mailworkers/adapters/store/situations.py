"""What Postgres says of how the whole service stands, for `status`, `top` and `GET /status`."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from mailworkers.adapters.db import Connection, run
from mailworkers.adapters.store import reads
from mailworkers.adapters.store.overview import EndCount
from mailworkers.adapters.store.pauses import list_pauses
from mailworkers.core.situations import (
    SILENCE,
    LaneView,
    MailView,
    PauseView,
    Rates,
    RelayView,
    RoleView,
    SilentProcess,
    Trouble,
)
from mailworkers.core.states import Lane, Status

_LATELY = timedelta(minutes=1)
_KEPT = timedelta(minutes=10)  # how long one hears of a process that fell silent
_MOST_TROUBLES = 5


class Sign(msgspec.Struct, frozen=True):
    """The last sign of life of one process; `detail` is what it said of itself."""

    role: str
    host: str
    pid: int
    version: str
    started_at: datetime
    beat_at: datetime
    detail: dict[str, Any]
    is_alive: bool


def list_signs(
    conn: Connection, *, silence: timedelta = SILENCE, kept: timedelta = _KEPT
) -> list[Sign]:
    """Return living processes, and those that fell silent within *kept* and were not replaced."""
    return [Sign(*row) for row in run(conn, "list_signs", silence=silence, kept=kept)]


def count_accepted(conn: Connection, *, span: timedelta) -> int:
    """Return how many deliveries were accepted within *span*."""
    count: int = run(conn, "count_accepted", span=span)[0][0]
    return count


def count_ended(conn: Connection, *, span: timedelta) -> list[EndCount]:
    """Return how many deliveries ended within *span*, by status."""
    return [EndCount(status, count) for status, count in run(conn, "count_ended", span=span)]


def list_troubles(conn: Connection, *, limit: int) -> list[Trouble]:
    """Return up to *limit* each of the newest dead letters and refused entries."""
    rows = run(conn, "list_troubles", limit=limit)
    return [Trouble(at, kind, words, delivery_id) for at, kind, words, delivery_id in rows]


def read_mail(conn: Connection, roles: Sequence[str]) -> MailView:
    """Return how it stands with the mail, and with the processes of *roles*."""
    signs = list_signs(conn)
    senders = [sign for sign in signs if sign.role == "sender" and sign.is_alive]
    dead, malformed = run(conn, "count_unreviewed")[0]
    return MailView(
        roles=[_role(role, [sign for sign in signs if sign.role == role]) for role in roles],
        lanes=_lanes(conn),
        rates=_rates(conn, senders),
        relay=_relay(senders or signs),
        pauses=[msgspec.convert(msgspec.to_builtins(p), PauseView) for p in list_pauses(conn)],
        troubles=_troubles(conn, signs),
        open_dead_letters=dead,
        malformed=malformed,
    )


def _role(role: str, signs: Sequence[Sign]) -> RoleView:
    alive = [sign for sign in signs if sign.is_alive]
    silent = [
        SilentProcess(sign.host, sign.detail.get("process", role), sign.pid, sign.beat_at)
        for sign in signs
        if not sign.is_alive
    ]
    return RoleView(
        role=role,
        alive=len(alive),
        started_at=min((sign.started_at for sign in alive), default=None),
        versions=sorted({sign.version for sign in alive}),
        silent=silent,
    )


def _lanes(conn: Connection) -> list[LaneView]:
    live, oldest = reads.count_live(conn), reads.oldest_due(conn)
    return [
        LaneView(
            lane=lane.label,
            counts={status: n for (status, label), n in live.items() if label == lane.label},
            oldest_due_ms=oldest.get(lane.label, 0.0),
        )
        for lane in Lane
    ]


def _rates(conn: Connection, senders: Iterable[Sign]) -> Rates:
    ended = {found.status: found.count for found in count_ended(conn, span=_LATELY)}
    return Rates(
        accepted=count_accepted(conn, span=_LATELY),
        sent=ended.get(Status.SENT, 0),
        deferred=sum(sign.detail.get("lately", {}).get("deferred", 0) for sign in senders),
        failed=ended.get(Status.FAILED, 0) + ended.get(Status.DEAD_LETTER, 0),
    )


def _relay(signs: Sequence[Sign]) -> RelayView:
    """Return what senders say of the relay: the one that is worst off speaks."""
    broken = [sign for sign in signs if sign.detail.get("breaker", "closed") != "closed"]
    speaker = next(iter(broken or signs), None)
    if speaker is None:
        return RelayView("", "", "")
    told = speaker.detail
    return RelayView(told.get("works_with", ""), told.get("breaker", ""), told.get("reason", ""))


def _troubles(conn: Connection, signs: Iterable[Sign]) -> list[Trouble]:
    """Return what failed last, newest first: attempts by the senders' own account, and the rest."""
    found = list_troubles(conn, limit=_MOST_TROUBLES)
    for sign in signs:
        for error in sign.detail.get("lately", {}).get("errors", ()):
            at = datetime.fromisoformat(error["at"]).astimezone(UTC)
            found.append(Trouble(at, "attempt", error["words"], error["delivery_id"]))
    newest = sorted(found, key=lambda trouble: trouble.at)
    # The same error of the same delivery, again and again, is one.
    each = {(it.kind, it.delivery_id, it.words): it for it in newest}
    return sorted(each.values(), key=lambda it: it.at, reverse=True)[:_MOST_TROUBLES]
