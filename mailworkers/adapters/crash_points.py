"""Crash points: the named places between two lines where a process can be told to die.

`MAIL_CRASH_POINT=K-D14:kill` ends the process that reaches K-D14 right there; `K-D14:kill:3` the
third time it gets there. It happens once, after a line on standard error. This is how it is proved,
and rehearsed, that nothing is lost or doubled wherever a process ends; never set it in production.

A point is marked in the code by one line: `reached` where the process is at it, `when_sent` and
`when_answered` before a call to Postgres or Redis, for places inside of that call, `arrived` where
an answer waits unread. Unset, a mark costs a call and a comparison. What the acts do, and what of
it is simulated, stands in `crash_acts.py`; the ids are those of the fault list, and every row of
`PLACES` is tried with every act by `tests/crash/crash_points`.
"""

import enum
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from mailworkers.adapters.settings import Settings


class Point(enum.StrEnum):
    """A place between two lines."""

    ENTRIES_READ = "K-C1"
    DECODED = "K-C2"
    STORED = "K-C3"
    STORE_COMMITTED = "K-C4"
    NOT_ACKNOWLEDGED = "K-C5"
    ACKNOWLEDGED = "K-C6"
    REFUSAL_STORED = "K-C7"
    WALKING_STALE = "K-C8"
    LEASES_READ = "K-S1"
    PROMOTING = "K-S2"
    PROMOTED = "K-S3"
    NOT_WOKEN = "K-S4"
    RECLAIMING = "K-S5"
    LEASING = "K-D1"
    LEASE_COMMITTED = "K-D2"
    LEASED = "K-D3"
    MIME_IN_HAND = "K-D4"
    CONNECTED = "K-D5"
    GREETED = "K-D6"
    SHAKING_HANDS = "K-D7"
    LOGGED_IN = "K-D8"
    MAIL_ANSWERED = "K-D9"
    RCPT_ANSWERED = "K-D10"
    DATA_ANSWERED = "K-D11"
    IN_BODY = "K-D12"
    DOT_NOT_MARKED = "K-D13"
    DOT_MARKED = "K-D13b"
    DOT_SENT = "K-D14"
    REPLY_UNREAD = "K-D15"
    REPLY_READ = "K-D16"
    OUTCOME_KEPT = "K-D17"
    SETTLING = "K-D18"
    SETTLE_COMMITTED = "K-D19"
    SETTLED = "K-D20"
    QUIT_SAID = "K-D21"
    REQUEST_TAKEN = "K-A1"
    REQUEST_STORED = "K-A2"
    ANSWER_LOST = "K-A3"
    ANSWER_HALF_SENT = "K-A4"
    DELETING = "K-T1"
    BETWEEN_DELETIONS = "K-T2"
    DELETED = "K-T3"


class Place(msgspec.Struct, frozen=True):
    """Where a point lies and what must follow whatever happens there.

    `duplicates`: how many copies too many a kill there may leave under the uncertain policy
    `retry`. Under `park` it is none anywhere.
    """

    role: str
    boundary: str
    follows: str
    duplicates: int = 0


_AGAIN = "the entries come again, each is processed once"
_KNOWN = "the entries come again, are recognised by their keys and acknowledged"
_UNTOUCHED = "handed back, ready at once; no attempt was made"
_BEGUN = "certainly not sent: ready at once, no rung burnt"
_DOUBT = "unknown: tried again, or parked"
_REPEATED = "the caller repeats the command and gets it accepted"
_SAME = "the caller repeats the command and gets the first delivery"

PLACES: Mapping[Point, Place] = {
    Point.ENTRIES_READ: Place("consumer", "entries read, not decoded", _AGAIN),
    Point.DECODED: Place("consumer", "decoded and composed, before BEGIN", _AGAIN),
    Point.STORED: Place("consumer", "rows inserted, before COMMIT", _AGAIN),
    Point.STORE_COMMITTED: Place("consumer", "COMMIT sent, its answer not read", _KNOWN),
    Point.NOT_ACKNOWLEDGED: Place("consumer", "committed, before XACK", _KNOWN),
    Point.ACKNOWLEDGED: Place("consumer", "XACK sent, its answer not read", "nothing comes again"),
    Point.REFUSAL_STORED: Place(
        "consumer", "record of a refusal committed, before XACK", "one record, not two"
    ),
    Point.WALKING_STALE: Place(
        "consumer", "between two parts of an XAUTOCLAIM walk", "walked anew, none is skipped"
    ),
    # What is due is selected and moved by one statement, so this is where selected rows are in
    # hand: the leases that ended.
    Point.LEASES_READ: Place(
        "scheduler", "ended leases selected, before their reclaim", "the next pass reclaims them"
    ),
    Point.PROMOTING: Place(
        "scheduler", "due rows updated, before the statement commits", "made ready once"
    ),
    Point.PROMOTED: Place(
        "scheduler", "due rows committed as ready, the answer not read", "made ready once"
    ),
    Point.NOT_WOKEN: Place(
        "scheduler", "committed, before waking senders", "senders find it within a poll"
    ),
    Point.RECLAIMING: Place(
        "scheduler", "in the statement that takes leases back", "all of it or nothing"
    ),
    Point.LEASING: Place("sender", "rows leased, before the statement commits", _UNTOUCHED),
    Point.LEASE_COMMITTED: Place("sender", "lease committed, its answer not read", _UNTOUCHED),
    Point.LEASED: Place("sender", "leased, before anything is done about it", _UNTOUCHED),
    # Rendering is intake's: a sender has the message when it has its bytes.
    Point.MIME_IN_HAND: Place("sender", "the message in hand, before `begin`", _UNTOUCHED),
    Point.CONNECTED: Place("sender", "connected, before the banner", _BEGUN),
    Point.GREETED: Place("sender", "after EHLO", _BEGUN),
    Point.SHAKING_HANDS: Place("sender", "in the TLS handshake", _BEGUN),
    Point.LOGGED_IN: Place("sender", "after AUTH, where there is one", _BEGUN),
    Point.MAIL_ANSWERED: Place("sender", "after MAIL", _BEGUN),
    Point.RCPT_ANSWERED: Place("sender", "after a RCPT", _BEGUN),
    Point.DATA_ANSWERED: Place("sender", "after 354", _BEGUN),
    Point.IN_BODY: Place("sender", "in the body", _BEGUN),
    # A body up to 64 KiB goes out together with its dot: after K-D13b.
    Point.DOT_NOT_MARKED: Place("sender", "large body sent, `dot` not journalled", _BEGUN),
    Point.DOT_MARKED: Place("sender", "`dot` journalled, dot not sent", _DOUBT),
    Point.DOT_SENT: Place("sender", "dot sent, no reply", _DOUBT, duplicates=1),
    Point.REPLY_UNREAD: Place("sender", "reply in the kernel, not read", _DOUBT, duplicates=1),
    Point.REPLY_READ: Place("sender", "reply read, not journalled", _DOUBT, duplicates=1),
    Point.OUTCOME_KEPT: Place("sender", "outcome journalled, before the settle", "settled"),
    Point.SETTLING: Place("sender", "settled, before the statement commits", "settled"),
    Point.SETTLE_COMMITTED: Place(
        "sender", "settle committed, its answer not read", "settled once"
    ),
    Point.SETTLED: Place("sender", "settle answered, before `settled` is journalled", "no change"),
    # By now the next delivery has begun, if it is for that one that the session was given up.
    Point.QUIT_SAID: Place("sender", "after QUIT", "no change; what has begun: as K-D5"),
    Point.REQUEST_TAKEN: Place("api", "request composed, before BEGIN", _REPEATED),
    Point.REQUEST_STORED: Place("api", "rows inserted, before COMMIT", _REPEATED),
    Point.ANSWER_LOST: Place("api", "COMMIT sent, its answer not read", _SAME),
    Point.ANSWER_HALF_SENT: Place("api", "headers of the answer sent, its body not", _SAME),
    Point.DELETING: Place(
        "retention", "rows deleted, before the statement commits", "children and parents together"
    ),
    Point.BETWEEN_DELETIONS: Place("retention", "between two batches", "the next run goes on"),
    Point.DELETED: Place(
        "retention", "deleted, before the line that tells", "what is gone is seen by what is left"
    ),
}


class Act(enum.StrEnum):
    """What happens at the point; `cut` is of every connection, the others of one kind."""

    KILL = "kill"
    STOP = "stop"
    TERM = "term"
    CUT = "cut"
    CUT_POSTGRES = "cut-postgres"
    CUT_REDIS = "cut-redis"
    CUT_RELAY = "cut-relay"
    CUT_CLIENT = "cut-client"


class Order(msgspec.Struct, frozen=True):
    """Do *act* when *point* is reached for the *turn*-th time."""

    point: Point
    act: Act
    turn: int = 1


_ORDER = re.compile(r"(?P<point>[^:]+):(?P<act>[^:]+)(?::(?P<turn>[1-9][0-9]{0,8}))?", re.ASCII)


def parse_order(text: str) -> Order:
    """Return what `POINT:ACT` or `POINT:ACT:TURN` orders, as a form of a setting does."""
    found = _ORDER.fullmatch(text)
    try:
        if found:
            return Order(Point(found["point"]), Act(found["act"]), int(found["turn"] or 1))
    except ValueError:
        pass
    raise ValueError(
        "is not POINT:ACT or POINT:ACT:TURN; unset it, or write a point of docs/reliability.md and "
        f"one of {', '.join(Act)}, for example K-D14:kill"
    )


class HasFileno(Protocol):
    """A connection that can be waited for."""

    def fileno(self) -> int:
        """Return its file descriptor."""


class _Armed(Protocol):
    def reach(self, point: Point) -> None: ...
    def await_answer(self, point: Point, source: HasFileno) -> None: ...
    def watch(self, point: Point, client: object, *, is_answered: bool) -> None: ...


_armed: _Armed | None = None


def arm(order: Order | None, settings: "Settings") -> None:
    """Carry out *order* in this process, once; None disarms."""
    global _armed
    _armed = None
    if order is not None:
        from mailworkers.adapters.crash_acts import Armed

        _armed = Armed(order, settings)


def reached(point: Point) -> None:
    """Say that the process is at *point*."""
    if _armed is not None:
        _armed.reach(point)


def arrived(point: Point, source: HasFileno) -> None:
    """Say that the next thing is to read an answer from *source*: *point* is when it has come."""
    if _armed is not None:
        _armed.await_answer(point, source)


def when_sent(point: Point, client: object) -> None:
    """Put *point* into the next call of *client*, a connection to Postgres or a client of Redis:
    when all of it has gone out and before its answer is waited for."""
    if _armed is not None:
        _armed.watch(point, client, is_answered=False)


def when_answered(point: Point, client: object) -> None:
    """Put *point* into the next call of *client*: when its answer has come and was not read."""
    if _armed is not None:
        _armed.watch(point, client, is_answered=True)
