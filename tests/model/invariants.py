"""What must hold after every step; ids are those of docs/reliability.md."""

from collections.abc import Iterable

from mailworkers.core.states import (
    FINAL,
    READY,
    WAITING,
    AttemptOutcome,
    RecipientStatus,
    Status,
    closing_status,
)
from tests.model.rows import Row
from tests.model.violations import Violation
from tests.model.world import World

_IN_TROUBLE = {Status.FAILED, Status.DEAD_LETTER}


def check(world: World) -> None:
    """Raise Violation when what changed since the last check breaks a promise."""
    if len(world.store.rows) + len(world.ended) != len(world.news):
        raise Violation("I-01: an accepted delivery is gone")
    touched = world.store.touched
    while touched:
        row = world.store.rows.get(touched.pop())
        if row is not None:
            _check_row(row)
            _check_copies(world, row)


def _require(holds: bool, what: str, row: Row) -> None:
    if not holds:
        raise Violation(f"{what}: {row}")


def _check_row(row: Row) -> None:
    """The columns agree with each other, the children with their parent."""
    status, is_final = row.status, row.status in FINAL
    is_sending = status is Status.SENDING
    _require(
        is_sending == (row.lease_token is not None) == (row.leased_by is not None),
        "I-02: a lease if and only if it is sending",
        row,
    )
    _require(is_final == (row.finished_at is not None), "I-02: an end if and only if final", row)
    _require(
        row.next_attempt_at is not None or not (is_sending or status in WAITING),
        "I-02: what waits has a time",
        row,
    )
    _require(row.ready_at is not None or status not in READY, "I-02: what is ready has a time", row)
    _check_recipients(row, is_final=is_final)
    _check_attempts(row, is_sending=is_sending)
    open_letters = sum(letter.is_open for letter in row.dead_letters)
    _require(open_letters == (status in _IN_TROUBLE), "I-03: dead letters match", row)


def _check_recipients(row: Row, *, is_final: bool) -> None:
    is_open = RecipientStatus.OPEN in row.recipients
    _require(is_open != is_final, "I-14: somebody is open if and only if it lives", row)
    if is_final:
        _require(
            closing_status(row.recipients) is row.status,
            "I-14: the recipients give the status",
            row,
        )


def _check_attempts(row: Row, *, is_sending: bool) -> None:
    _require(len(row.attempts) == row.attempt_no, "I-08: attempts are 1..n", row)
    _require(0 <= row.cycle_attempt <= row.attempt_no, "I-08: a cycle is part of all", row)
    open_attempts = [number for number, a in enumerate(row.attempts, 1) if a.outcome is None]
    _require(
        open_attempts == ([row.attempt_no] if is_sending else []),
        "I-08: the last attempt is open if and only if it is sending",
        row,
    )
    if is_sending:
        _require(
            row.attempts[-1].lease_token == row.lease_token, "I-08: one lease, one attempt", row
        )


def _check_copies(world: World, row: Row) -> None:
    """What the sink has is what the rows say, as far as anybody can know."""
    unknown = sum(attempt.outcome is AttemptOutcome.UNKNOWN for attempt in row.attempts)
    for ordinal, status in enumerate(row.recipients):
        copies = world.copies[row.delivery_id, ordinal]
        if status is RecipientStatus.ACCEPTED:
            _require(copies > 0, "I-05: who is accepted has it", row)
        _require(copies <= 1 + unknown, "I-06: a copy too many needs an unknown attempt", row)
        if row.lane in world.always_parked:
            _require(
                copies <= 1 + world.orders[row.delivery_id], "under park there is one copy", row
            )
    if RecipientStatus.ACCEPTED in row.recipients:
        _require(
            any(attempt.outcome is AttemptOutcome.SUCCESS for attempt in row.attempts),
            "I-03: who is accepted was accepted by an attempt",
            row,
        )


def check_end(world: World) -> None:
    """Raise Violation when something that must be over is not."""
    check(world)
    for row in _all_rows(world):
        _check_row(row)
        _check_copies(world, row)
        _require(row.status in FINAL, "I-02: everything comes to an end", row)
        unknown = any(attempt.outcome is AttemptOutcome.UNKNOWN for attempt in row.attempts)
        for ordinal, status in enumerate(row.recipients):
            if world.copies[row.delivery_id, ordinal]:
                _require(
                    status is RecipientStatus.ACCEPTED or unknown,
                    "I-05: what is at the sink is accepted, or in doubt",
                    row,
                )


def _all_rows(world: World) -> Iterable[Row]:
    yield from world.store.rows.values()
    yield from world.ended.values()
