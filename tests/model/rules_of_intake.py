"""What producers and operators do."""

from collections.abc import Sequence
from datetime import timedelta

from mailworkers.core.deliveries import NewDelivery, NewRecipient
from mailworkers.core.states import REQUEUEABLE, Lane, PayloadMode, Status
from tests.model.connections import Away
from tests.model.picks import Pick
from tests.model.rows import Row
from tests.model.rules import once, rule
from tests.model.world import World

MOST_DELIVERIES = 3
_LANES = (Lane.NORMAL, Lane.AUTH, Lane.BULK)


def _may_accept(world: World) -> Sequence[None]:
    return (None,) if len(world.news) < MOST_DELIVERIES else ()


@rule(12, _may_accept)
def accept(world: World, _: None, pick: Pick) -> None:
    """A command comes: of any lane and mode, for one to three, at once or later, for a time."""
    number = len(world.news)
    recipients = pick(3) + 1
    lane = _LANES[pick(3)]
    mode = (PayloadMode.RENDERED, PayloadMode.TEMPLATE)[pick(2)]
    is_scheduled = pick(5) == 1
    expires_in = (None, None, 40, 200, 900)[pick(5)]
    policy = "auth" if lane is Lane.AUTH else ("ladder", "exponential")[pick(2)]
    now = world.now()
    new = NewDelivery(
        delivery_id=world.new_id(),
        source=f"s{number}",
        lane=lane,
        status=Status.SCHEDULED if is_scheduled else mode.ready,
        payload_mode=mode,
        mail_from="shop@example.org",
        idempotency_key=f"key-{number}",
        fingerprint=bytes([number]),
        retry_policy=policy,
        next_attempt_at=now + timedelta(seconds=20) if is_scheduled else None,
        expires_at=now + timedelta(seconds=expires_in) if expires_in else None,
        mime=b"",
        recipients=tuple(
            NewRecipient("to", f"p{n}@s{number}.example", f"p{n}@s{number}.example")
            for n in range(recipients)
        ),
    )
    world.news.append(new)
    world.store.accept([new])


@rule(1, lambda world: world.news)
def repeat_command(world: World, new: NewDelivery, _pick: Pick) -> None:
    """A producer that got no answer says the same again."""
    world.store.accept([new])


@rule(1, lambda world: world.news)
def list_address(world: World, new: NewDelivery, pick: Pick) -> None:
    """A recipient complains, and is put on the suppression list."""
    world.store.suppress(new.recipients[pick(len(new.recipients))].canonical)


@rule(2, lambda world: [row for row in world.rows if not row.finished_at])
def cancel(world: World, row: Row, pick: Pick) -> None:
    """An operator withdraws a delivery."""
    _operate(world, pick, "cancel", row)


@rule(16, lambda world: [row for row in world.rows if row.status in REQUEUEABLE])
def requeue(world: World, row: Row, pick: Pick) -> None:
    """An operator has a delivery tried again, in a new cycle, perhaps for a longer time."""
    longer = (None, timedelta(seconds=300))[pick(2)]
    world.orders[row.delivery_id] += 1
    _operate(world, pick, "requeue", row, longer and world.now() + longer)


def _operate(world: World, pick: Pick, verb: str, row: Row, *more: object) -> None:
    try:
        getattr(world.connection(pick), verb)(row.delivery_id, *more)
    except Away:
        return


@rule(1, once)
def delete_old(world: World, _: None, _pick: Pick) -> None:
    """Retention deletes what ended a while ago."""
    world.forget(timedelta(minutes=2))


@rule(1, once)
def change_policy(world: World, _: None, _pick: Pick) -> None:
    """Senders are restarted with another uncertain policy."""
    world.change_policy()
