"""The one table: each crash point, each act, and what must be found when all is over.

A cell that is missing here has a reason in `LEFT_OUT`; tests/house/test_crash_points.py holds that.
"""

from collections.abc import Iterator, Mapping

import msgspec

from mailworkers.adapters.crash_points import PLACES, Act, Point
from mailworkers.core.states import AttemptOutcome, AttemptStatus, Status


class Expected(msgspec.Struct, frozen=True):
    """How a delivery ends: its status, its copies at the relay, status and outcome of its attempts.

    `rungs` is how many of these count on the retry ladder, the last one included.
    """

    status: str
    copies: int
    attempts: tuple[tuple[AttemptStatus, AttemptOutcome], ...]
    rungs: int


class Cell(msgspec.Struct, frozen=True):
    """One experiment: *act* at *point* under *policy*, and its predicted end."""

    point: Point
    act: Act
    policy: str
    expected: Expected

    @property
    def name(self) -> str:
        """Return what the test is called."""
        return f"{self.point}-{self.act}" + ("-park" if self.policy == "park" else "")


_ACCEPTED = (AttemptStatus.PROVIDER_ACCEPTED, AttemptOutcome.SUCCESS)
_BEGUN = (AttemptStatus.ABANDONED, AttemptOutcome.TRANSIENT_ERROR)
_VANISHED = (AttemptStatus.ABANDONED, AttemptOutcome.UNKNOWN)
_CUT = (AttemptStatus.TRANSPORT_FAILED, AttemptOutcome.TRANSIENT_ERROR)
_LATE = (AttemptStatus.TIMED_OUT, AttemptOutcome.TRANSIENT_ERROR)
_REPLY_LOST = (AttemptStatus.TRANSPORT_FAILED, AttemptOutcome.UNKNOWN)

# Sent by one attempt; whatever was leased and not begun has left no trace.
ONCE = Expected(Status.SENT, 1, (_ACCEPTED,), rungs=1)
# The journal says that the dot did not go: tried again at once, for nothing.
BEGUN = Expected(Status.SENT, 1, (_BEGUN, _ACCEPTED), rungs=1)
# Nobody can know whether it went: it had not ...
DOUBTED = Expected(Status.SENT, 1, (_VANISHED, _ACCEPTED), rungs=2)
# ... or it had: the copy too many.
DOUBLED = Expected(Status.SENT, 2, (_VANISHED, _ACCEPTED), rungs=2)
# The relay's fault before MAIL, which costs nothing, and from MAIL on, which is a try.
UNGREETED = Expected(Status.SENT, 1, (_CUT, _ACCEPTED), rungs=1)
CUT_OFF = Expected(Status.SENT, 1, (_CUT, _ACCEPTED), rungs=2)
# Lived to see that its reply was lost.
ANSWER_CUT = Expected(Status.SENT, 2, (_REPLY_LOST, _ACCEPTED), rungs=2)
# Parked, not having gone or having gone; or known too late not to have gone, or its reply lost.
PARKED_UNSENT = Expected(Status.UNCERTAIN, 0, (_VANISHED,), rungs=1)
PARKED_SENT = Expected(Status.UNCERTAIN, 1, (_VANISHED,), rungs=1)
PARKED_BEGUN = Expected(Status.UNCERTAIN, 0, (_BEGUN,), rungs=1)
PARKED_LATE = Expected(Status.UNCERTAIN, 0, (_LATE,), rungs=1)
PARKED_CUT = Expected(Status.UNCERTAIN, 1, (_REPLY_LOST,), rungs=1)
# Other roles.
WAITING = Expected(Status.QUEUED, 0, (), rungs=0)
TAKEN_BACK = Expected(Status.DEFERRED, 0, (_VANISHED,), rungs=1)
GONE = Expected("(deleted)", 0, (), rungs=0)

# fmt: off
_SENDER = (Act.KILL, Act.STOP, Act.TERM, Act.CUT, Act.CUT_POSTGRES, Act.CUT_REDIS, Act.CUT_RELAY)
# stop: frozen for longer than its lease, so that it is reclaimed as unknown. At K-D17 the outcome
# is in a journal that is locked while its sender is frozen: the copy that a freeze may cost.
SENDER: Mapping[Point, tuple[Expected | None, ...]] = {
    #                      kill     stop     term  cut         -postgres -redis -relay
    Point.LEASING:        (ONCE,    DOUBTED, ONCE, ONCE,       ONCE,     ONCE,  None),
    Point.LEASE_COMMITTED:(ONCE,    DOUBTED, ONCE, ONCE,       ONCE,     ONCE,  None),
    Point.LEASED:         (ONCE,    DOUBTED, ONCE, ONCE,       ONCE,     ONCE,  None),
    Point.MIME_IN_HAND:   (ONCE,    DOUBTED, ONCE, ONCE,       ONCE,     ONCE,  None),
    Point.CONNECTED:      (BEGUN,   DOUBTED, ONCE, UNGREETED,  ONCE,     ONCE,  UNGREETED),
    Point.GREETED:        (BEGUN,   DOUBTED, ONCE, UNGREETED,  ONCE,     ONCE,  UNGREETED),
    Point.SHAKING_HANDS:  (BEGUN,   DOUBTED, ONCE, UNGREETED,  ONCE,     ONCE,  UNGREETED),
    Point.LOGGED_IN:      (BEGUN,   DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.MAIL_ANSWERED:  (BEGUN,   DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.RCPT_ANSWERED:  (BEGUN,   DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.DATA_ANSWERED:  (BEGUN,   DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.IN_BODY:        (BEGUN,   DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.DOT_NOT_MARKED: (BEGUN,   DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.DOT_MARKED:     (DOUBTED, DOUBTED, ONCE, CUT_OFF,    ONCE,     ONCE,  CUT_OFF),
    Point.DOT_SENT:       (DOUBLED, DOUBLED, ONCE, ANSWER_CUT, ONCE,     ONCE,  ANSWER_CUT),
    Point.REPLY_UNREAD:   (DOUBLED, DOUBLED, ONCE, ANSWER_CUT, ONCE,     ONCE,  ANSWER_CUT),
    Point.REPLY_READ:     (DOUBLED, DOUBLED, ONCE, ONCE,       ONCE,     ONCE,  ONCE),
    Point.OUTCOME_KEPT:   (ONCE,    DOUBLED, ONCE, ONCE,       ONCE,     ONCE,  ONCE),
    Point.SETTLING:       (ONCE,    ONCE,    ONCE, ONCE,       ONCE,     ONCE,  ONCE),
    Point.SETTLE_COMMITTED:(ONCE,   ONCE,    ONCE, ONCE,       ONCE,     ONCE,  ONCE),
    Point.SETTLED:        (ONCE,    ONCE,    ONCE, ONCE,       ONCE,     ONCE,  ONCE),
    Point.QUIT_SAID:      (BEGUN,   DOUBTED, ONCE, ONCE,       ONCE,     ONCE,  None),
}
_PARKED = (Act.KILL, Act.STOP, Act.TERM, Act.CUT, Act.CUT_POSTGRES, Act.CUT_RELAY)
# Around the dot the other policy: never a second copy. The lost mark of K-D13 and K-D13b loses no
# mail: whoever lives to see it knows that the dot did not go. What was frozen is parked; what its
# sender comes to tell is still heard: it was `sent`, or the attempt was none.
PARK: Mapping[Point, tuple[Expected | None, ...]] = {
    #                      kill           stop           term  cut         -postgres -relay
    Point.IN_BODY:        (BEGUN,         PARKED_LATE,   ONCE, CUT_OFF,    ONCE,     CUT_OFF),
    Point.DOT_NOT_MARKED: (BEGUN,         PARKED_BEGUN,  ONCE, CUT_OFF,    ONCE,     CUT_OFF),
    Point.DOT_MARKED:     (PARKED_UNSENT, PARKED_BEGUN,  ONCE, CUT_OFF,    ONCE,     CUT_OFF),
    Point.DOT_SENT:       (PARKED_SENT,   ONCE,          ONCE, PARKED_CUT, ONCE,     PARKED_CUT),
    Point.REPLY_UNREAD:   (PARKED_SENT,   ONCE,          ONCE, PARKED_CUT, ONCE,     PARKED_CUT),
    Point.REPLY_READ:     (PARKED_SENT,   ONCE,          ONCE, ONCE,       ONCE,     ONCE),
    Point.OUTCOME_KEPT:   (ONCE,          ONCE,          ONCE, ONCE,       ONCE,     ONCE),
    Point.SETTLING:       (ONCE,          ONCE,          ONCE, ONCE,       ONCE,     ONCE),
}
# fmt: on

_STORES = (Act.KILL, Act.STOP, Act.TERM, Act.CUT, Act.CUT_POSTGRES, Act.CUT_REDIS)
_ALONE = (Act.KILL, Act.STOP, Act.TERM, Act.CUT, Act.CUT_POSTGRES)
# The other roles do the same whatever happens to them: the acts, and what is predicted by point.
OTHERS: Mapping[str, tuple[tuple[Act, ...], Mapping[Point, Expected]]] = {
    "consumer": (
        _STORES,
        {point: ONCE for point, place in PLACES.items() if place.role == "consumer"},
    ),
    "scheduler": (
        _STORES,
        {
            Point.LEASES_READ: TAKEN_BACK,
            Point.PROMOTING: ONCE,
            Point.PROMOTED: ONCE,
            Point.NOT_WOKEN: ONCE,
            Point.RECLAIMING: TAKEN_BACK,
        },
    ),
    "api": (
        (*_STORES, Act.CUT_CLIENT),
        {point: WAITING for point, place in PLACES.items() if place.role == "api"},
    ),
    "retention": (
        _ALONE,
        {point: GONE for point, place in PLACES.items() if place.role == "retention"},
    ),
}


def _cells() -> Iterator[Cell]:
    for acts, table, policy in ((_SENDER, SENDER, "retry"), (_PARKED, PARK, "park")):
        for point, row in table.items():
            for act, expected in zip(acts, row, strict=True):
                if expected is not None:
                    yield Cell(point, act, policy, expected)
    for others, predicted in OTHERS.values():
        for point, expected in predicted.items():
            for act in others:
                yield Cell(point, act, "retry", expected)


CELLS = tuple(_cells())

_NO_RELAY_YET = "there is no connection to the relay: not yet, or given up with QUIT"
_REASONS: Mapping[tuple[str, Act], str] = {
    ("consumer", Act.CUT_RELAY): "a consumer has no connection to the relay",
    ("consumer", Act.CUT_CLIENT): "a consumer has no clients",
    ("scheduler", Act.CUT_RELAY): "a scheduler has no connection to the relay",
    ("scheduler", Act.CUT_CLIENT): "a scheduler has no clients",
    ("sender", Act.CUT_CLIENT): "a sender has no clients",
    ("api", Act.CUT_RELAY): "the api has no connection to the relay",
    ("retention", Act.CUT_REDIS): "retention does not use Redis",
    ("retention", Act.CUT_RELAY): "retention has no connection to the relay",
    ("retention", Act.CUT_CLIENT): "retention has no clients",
}


def _left_out() -> Iterator[tuple[tuple[Point, Act], str]]:
    for point, place in PLACES.items():
        for act in Act:
            if reason := _REASONS.get((place.role, act)):
                yield (point, act), reason
    for point, row in SENDER.items():
        if row[_SENDER.index(Act.CUT_RELAY)] is None:
            yield (point, Act.CUT_RELAY), _NO_RELAY_YET


# Why a cell of the full table, every point with every act, is not there.
LEFT_OUT = dict(_left_out())


def cells(role: str, *acts: Act) -> list[Cell]:
    """Return the cells of *role* with these acts."""
    return [cell for cell in CELLS if PLACES[cell.point].role == role and cell.act in acts]
