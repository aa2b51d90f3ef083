"""What the clock does, and the schedulers that look at it."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from mailworkers.adapters.store import ExpiredLease, Reclaim
from mailworkers.core.settlement import reclaimed
from mailworkers.core.states import WAITING, Lane
from tests.model.connections import Away
from tests.model.picks import Pick
from tests.model.rows import Row
from tests.model.rules import once, rule
from tests.model.world import World

_SPANS = (1, 5, 30, 120)
_STEPS = (-300, -20, 20, 300)


@rule(3, once)
def wait(world: World, _: None, pick: Pick) -> None:
    """Some time passes."""
    world.clock.advance(timedelta(seconds=_SPANS[pick(len(_SPANS))]))


@rule(5, once)
def wait_until_due(world: World, _: None, _pick: Pick) -> None:
    """The next time comes that any row waits for: a retry, a lease's end, an expiry."""
    world.wait_until_due()


@rule(1, once)
def step_clock(world: World, _: None, pick: Pick) -> None:
    """The database's clock is set."""
    world.clock.step(timedelta(seconds=_STEPS[pick(len(_STEPS))]))


def _if_any(is_due: Callable[[World, Row], bool]) -> Callable[[World], Sequence[None]]:
    """Return what finds one subject where a row is due for it: passes without work are no steps."""

    def subjects(world: World) -> Sequence[None]:
        is_work = not world.is_away and any(is_due(world, row) for row in world.rows)
        return (None,) if is_work else ()

    return subjects


def _is_past(world: World, at: datetime | None) -> bool:
    return at is not None and at <= world.now()


@rule(
    30,
    _if_any(lambda world, row: row.status in WAITING and _is_past(world, row.next_attempt_at)),
)
def promote(world: World, _: None, pick: Pick) -> None:
    """A scheduler makes ready what is due."""
    _ask(world, pick, "promote_due")


@rule(10, _if_any(lambda world, row: not row.finished_at and _is_past(world, row.expires_at)))
def expire(world: World, _: None, pick: Pick) -> None:
    """A scheduler ends what is overdue."""
    _ask(world, pick, "expire_overdue")


def _ask(world: World, pick: Pick, statement: str) -> None:
    try:
        getattr(world.connection(pick), statement)()
    except Away:
        return


@rule(
    12,
    _if_any(
        lambda world, row: row.lease_token is not None and _is_past(world, row.next_attempt_at)
    ),
)
def look_for_ended_leases(world: World, _: None, _pick: Pick) -> None:
    """A scheduler reads which leases have ended; until it acts on that, anything may happen."""
    if found := world.store.expired_leases():
        world.readings.append(found)


@rule(20, lambda world: () if world.is_away else world.readings)
def reclaim(world: World, reading: list[ExpiredLease], pick: Pick) -> None:
    """It decides about what it read, and takes those leases back that are still as they were."""
    world.readings.remove(reading)
    decisions = [
        Reclaim(
            lease.delivery_id,
            lease.lease_token,
            *reclaimed(
                lease.cycle_attempt,
                now=lease.now,
                policy=world.policies[lease.retry_policy],
                chance=0.5,
                is_parked=Lane(lease.lane) in world.parked,
            ),
        )
        for lease in reading
    ]
    try:
        world.connection(pick).reclaim(decisions)
    except Away:
        return
