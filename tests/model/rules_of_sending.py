"""What a sender does while it lives, and what the relay does to it."""

from collections.abc import Callable, Sequence

from mailworkers.core.states import READY
from tests.model.picks import Pick
from tests.model.relay import AFTER_DOT, ENDINGS, OK, RCPT, verdict_before_dot
from tests.model.rules import rule
from tests.model.senders import Line, Sender
from tests.model.world import World

Subjects = Callable[[World], Sequence[Sender]]


def at(line: Line) -> Subjects:
    """Return who is at *line* of a transaction, and not in the middle of settling."""
    return lambda world: [s for s in world.senders if s.line is line and not s.is_settling]


def _may_lease(world: World) -> Sequence[Sender]:
    if not any(row.status in READY for row in world.rows):
        return ()
    return [s for s in world.senders if s.is_idle]


@rule(60, _may_lease)
def lease(world: World, sender: Sender, pick: Pick) -> None:
    """A sender leases the next batch."""
    limit = (1, 200, 2)[pick(3)]
    token = world.new_id()
    world.attempt(sender, lambda: sender.lease(world.connection(pick), token, limit))


@rule(60, lambda world: [s for s in world.senders if s.is_free and s.batch])
def begin(world: World, sender: Sender, pick: Pick) -> None:
    """It begins the first of its batch, or hands back what its lease does not cover."""
    if sender.may_start():
        sender.begin()
    else:
        world.attempt(sender, lambda: sender.hand_back(world.connection(pick)))


@rule(14, at(Line.BEGUN))
def end_without_dot(_world: World, sender: Sender, pick: Pick) -> None:
    """The transaction ends before its dot: no session, a refusal, a reset, silence."""
    leased = sender.leased()
    sender.end_without_dot(verdict_before_dot(pick(ENDINGS), len(leased.ordinals)))


@rule(60, at(Line.BEGUN))
def dot(_world: World, sender: Sender, pick: Pick) -> None:
    """At least one recipient is accepted: the sender is about to send the dot."""
    count = len(sender.leased().ordinals)
    accepted = pick(count)
    rcpt = tuple(OK if n == accepted else RCPT[pick(len(RCPT))] for n in range(count))
    sender.dot(rcpt)


@rule(60, at(Line.DOTTED))
def send(world: World, sender: Sender, pick: Pick) -> None:
    """The dot goes out; the relay takes the message or does not, and will answer or not."""
    if not sender.outlasts_dot():
        sender.take_dot_back()
        return
    world.note_dot(sender)
    answer = AFTER_DOT[pick(len(AFTER_DOT))]
    ordinals = sender.send(answer)
    if answer.takes:
        world.take(sender.leased().delivery_id, ordinals)


@rule(60, at(Line.SENT))
def hear(_world: World, sender: Sender, _pick: Pick) -> None:
    """The sender reads the answer, or that there is none."""
    sender.hear()


@rule(60, at(Line.OVER))
def note(_world: World, sender: Sender, _pick: Pick) -> None:
    """It decides what the attempt means, and journals it."""
    sender.note()


def _may_settle(world: World) -> Sequence[Sender]:
    """Between transactions, or in the tick while a relay keeps it waiting."""
    return [
        s
        for s in world.senders
        if s.outcomes
        and not s.is_settling
        and s.adoption is None
        and s.line in {Line.BETWEEN, Line.BEGUN, Line.SENT}
    ]


@rule(40, _may_settle)
def settle(world: World, sender: Sender, pick: Pick) -> None:
    """It settles what waits."""
    world.attempt(sender, lambda: sender.settle(world.connection(pick)))


@rule(60, lambda world: [s for s in world.senders if s.late is not None])
def settle_late(world: World, sender: Sender, pick: Pick) -> None:
    """What had been reclaimed is corrected."""
    world.attempt(sender, lambda: sender.settle_late(world.connection(pick)))


@rule(60, lambda world: [s for s in world.senders if s.is_unmarked])
def mark(_world: World, sender: Sender, _pick: Pick) -> None:
    """It journals that all is settled."""
    sender.mark()


def _may_hand_back(world: World) -> Sequence[Sender]:
    return [
        s
        for s in world.senders
        if not s.is_settling
        and s.adoption is None
        and s.line in {Line.BETWEEN, Line.BEGUN, Line.SENT}
    ]


@rule(2, lambda world: [s for s in world.senders if s.is_free and s.recent])
def reconcile(world: World, sender: Sender, pick: Pick) -> None:
    """Its connection is a new one: what it settled lately it settles again."""
    world.attempt(sender, lambda: sender.reconcile(world.connection(pick)))


@rule(4, _may_hand_back)
def hand_back(world: World, sender: Sender, pick: Pick) -> None:
    """It gives up what it does not need, and what it does not know of."""
    world.attempt(sender, lambda: sender.hand_back(world.connection(pick)))


@rule(1, lambda world: [s for s in world.senders if s.is_idle])
def renew(_world: World, sender: Sender, _pick: Pick) -> None:
    """Its journal has grown: it is cut to the header while nothing is held."""
    sender.journal.renew()


@rule(20, lambda world: [s for s in world.senders if s.is_idle and s.host.orphans()])
def adopt(world: World, sender: Sender, pick: Pick) -> None:
    """It takes the lock of a dead sender's journal and reads it."""
    orphans = sender.host.orphans()
    world.adopt(sender, orphans[pick(len(orphans))])


@rule(60, lambda world: [s for s in world.senders if s.adoption is not None])
def adopt_further(world: World, sender: Sender, pick: Pick) -> None:
    """The next statement of an adoption."""
    world.attempt(sender, lambda: world.advance_adoption(sender, pick))
