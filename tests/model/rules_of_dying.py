"""Deaths, freezes, losses: every fault that the protocol is for."""

from collections.abc import Sequence
from datetime import timedelta

from tests.model.hosts import Host, JournalFile
from tests.model.picks import Pick
from tests.model.rules import rule
from tests.model.senders import Line, Sender
from tests.model.world import World

MOST_SENDERS = 3


@rule(4, lambda world: world.hosts if len(world.senders) < MOST_SENDERS else ())
def spawn(world: World, host: Host, _pick: Pick) -> None:
    """A sender starts."""
    world.spawn(host)


@rule(4, lambda world: world.senders)
def kill(world: World, sender: Sender, _pick: Pick) -> None:
    """SIGKILL, wherever it is."""
    world.bury(sender)


@rule(3, lambda world: [s for s in world.senders if s.next_record() is not None])
def kill_while_writing(world: World, sender: Sender, pick: Pick) -> None:
    """SIGKILL in the middle of a write to the journal: what the record announces did not happen."""
    record = sender.next_record()
    if record is not None:
        sender.journal.tear(record, pick(1 << 16))
    world.bury(sender)


@rule(1, lambda world: [s for s in world.senders if s.is_free or s.line is Line.BEGUN])
def stop(world: World, sender: Sender, pick: Pick) -> None:
    """SIGTERM: outcomes settled, leases handed back, the journal removed; if the store allows."""
    world.stop(sender, pick)


@rule(4, lambda world: [s for s in world.senders if s.batch or s.current])
def freeze(world: World, sender: Sender, _pick: Pick) -> None:
    """A sender stands still for longer than its lease; so it finds itself when it goes on."""
    left = timedelta(seconds=sender.seconds_left() + 1)
    world.clock.advance(max(left, timedelta(seconds=1)))


@rule(1, lambda world: [h for h in world.hosts if h.journals])
def reboot(world: World, host: Host, pick: Pick) -> None:
    """The machine loses its power: processes die, journals keep what reached the disk."""
    for sender in [s for s in world.senders if s.host is host]:
        world.bury(sender)
    for journal in host.journals:
        if pick(2):
            journal.lose(pick(1 << 16))
    host.reboot()


@rule(1, lambda world: [h for h in world.hosts if h.journals])
def lose_host(world: World, host: Host, _pick: Pick) -> None:
    """A host is gone with its disk."""
    for sender in [s for s in world.senders if s.host is host]:
        world.bury(sender)
    host.journals.clear()


@rule(1, lambda world: [j for h in world.hosts for j in h.orphans()])
def rot(_world: World, journal: JournalFile, pick: Pick) -> None:
    """A bit of a journal turns on the disk."""
    journal.rot(pick(1 << 16))


@rule(1, lambda world: () if world.is_away else (None,))
def lose_store(world: World, _: None, _pick: Pick) -> None:
    """Postgres goes away."""
    world.is_away = True


@rule(20, lambda world: (None,) if world.is_away else ())
def return_store(world: World, _: None, _pick: Pick) -> None:
    """And comes back."""
    world.is_away = False


def _landing(world: World) -> Sequence[None]:
    return (None,) if world.in_flight and not world.is_away else ()


@rule(10, _landing)
def land(world: World, _: None, pick: Pick) -> None:
    """A statement whose process gave it up is done after all."""
    world.in_flight.pop(pick(len(world.in_flight)))()


@rule(2, _landing)
def fail_to_land(world: World, _: None, pick: Pick) -> None:
    """Or never."""
    world.in_flight.pop(pick(len(world.in_flight)))
