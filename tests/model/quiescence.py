"""Peace: all faults end, everybody goes on, and everything must come to its end."""

from collections.abc import Callable

from tests.model.book import RULES
from tests.model.invariants import check, check_end
from tests.model.picks import Pick
from tests.model.senders import Line, Sender
from tests.model.violations import Violation
from tests.model.world import World

_ROUNDS = 60
_LINES = {
    Line.BEGUN: "dot",
    Line.DOTTED: "send",
    Line.SENT: "hear",
    Line.OVER: "note",
}


def quiesce(world: World) -> None:
    """Let *world* come to rest, checking every step, and check what is left."""
    world.is_away = False
    for sender in list(world.senders):
        _finish(world, sender)
    while world.in_flight:
        _do(world, world.in_flight.pop(0))
    for host in world.hosts:
        sender = next((s for s in world.senders if s.host is host), None) or world.spawn(host)
        while host.orphans():
            _act(world, "adopt", sender)
            _finish(world, sender)
    for _ in range(_ROUNDS):
        if all(row.finished_at for row in world.rows):
            check_end(world)
            return
        _round(world)
    raise Violation(f"I-02: it never ends: {[row for row in world.rows if not row.finished_at]}")


def _round(world: World) -> None:
    """What every role does when it is its time."""
    for statement in ("promote", "expire", "look_for_ended_leases"):
        _act(world, statement, None)
    while world.readings:
        _act(world, "reclaim", world.readings[0])
    for sender in world.senders:
        _act(world, "hand_back", sender)
        _act(world, "lease", sender)
        _finish(world, sender)
    world.wait_until_due()


def _finish(world: World, sender: Sender) -> None:
    """Let *sender* go on until it holds nothing; the relay takes everything."""
    while name := _next(sender):
        _act(world, name, sender)


def _next(sender: Sender) -> str | None:
    """Return the rule that *sender* follows next when nothing hinders it."""
    if sender.late is not None:
        return "settle_late"
    if sender.is_unmarked:
        return "mark"
    if sender.adoption is not None:
        return "adopt_further"
    if sender.line in _LINES:
        return _LINES[sender.line]
    if sender.batch:
        return "begin"
    return "settle" if sender.outcomes else None


def _act(world: World, name: str, subject: object) -> None:
    _do(world, lambda: RULES[name].act(world, subject, Pick(0)))


def _do(world: World, act: Callable[[], object]) -> None:
    world.clock.tick()
    act()
    check(world)
