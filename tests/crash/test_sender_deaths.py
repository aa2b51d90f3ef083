"""A sender is killed at every stage of its transaction: lost? twice? stuck?

The scripted relay kills the sender by its process id at an exact place; then another sender is
started on the same state directory, as supervisord would do it.
"""

import os
import signal
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from mailworkers.adapters import db, store
from mailworkers.core.states import Status
from tests.conversation import Action, Conversation
from tests.crash.processes import Process, Roles
from tests.deliveries import accept, attempts, new_delivery, row, status
from tests.eventually import eventually
from tests.relay import Relay, accepting, hang

# More than a narrow relay takes without reading: its sender cannot come as far as the dot.
_LARGE = b"Subject: large\r\n\r\n" + (b"all the same " * 5 + b"\r\n") * 3000
BEFORE_THE_DOT = ("CONNECT", "BANNER", "EHLO", "MAIL", "RCPT", "DATA", "BODY")


class Killer:
    """Kills a sender from inside the relay, once or several times, then lets it be."""

    def __init__(self, times: int = 1) -> None:
        self.victim: Process | None = None
        self._left = times

    def __call__(self, conversation: Conversation) -> None:
        """Kill the victim and say nothing more; when there is none left to kill, go on."""
        if self._left and self.victim is not None:
            self._left -= 1
            os.kill(self.victim.pid, signal.SIGKILL)
            hang(conversation)


def _kill_at(relay: Relay, stage: str, action: Action) -> None:
    """Script the relay to do *action* at *stage* once, and then what it always does."""
    script: dict[str, Any] = {stage: [action]}
    relay.says(**script)


@pytest.fixture
def narrow_relay(roles: Roles) -> Iterator[Relay]:
    """Return the relay of the senders that are started from now on, one with a small window."""
    with Relay(narrow=True) as started:
        roles.environ["MAIL_SMTP_ADDR"] = started.addr
        yield started


def _sent(conn: db.Connection, delivery_id: UUID) -> bool:
    return status(conn, delivery_id) == Status.SENT


@pytest.mark.parametrize("stage", BEFORE_THE_DOT)
def test_a_sender_killed_before_the_dot_doubles_nothing_and_costs_nothing(
    roles: Roles, narrow_relay: Relay, conn: db.Connection, stage: str
) -> None:
    """The next sender knows from the journal that nothing went: sent at once, no rung burnt."""
    killer = Killer()
    _kill_at(narrow_relay, stage, killer)
    killer.victim = roles.start("sender")
    new = new_delivery(mime=_LARGE)
    accept(conn, new)
    assert killer.victim.wait() == -signal.SIGKILL

    roles.start("sender")
    eventually(lambda: _sent(conn, new.delivery_id), within=10)

    assert len(narrow_relay.accepted) == 1
    assert attempts(conn, new.delivery_id) == [
        (1, "abandoned", "transient_error"),
        (2, "provider_accepted", "success"),
    ]
    assert row(conn, new.delivery_id)["cycle_attempt"] == 1


@pytest.mark.parametrize("was_taken_over", [True, False])
def test_a_sender_killed_between_the_dot_and_its_reply_leaves_a_doubt(
    roles: Roles, relay: Relay, conn: db.Connection, was_taken_over: bool
) -> None:
    """Tried again by the ladder: at most one copy more, and the attempt says why."""
    killer = Killer()
    _kill_at(relay, "DOT", accepting(killer) if was_taken_over else killer)
    killer.victim = roles.start("sender")
    new = new_delivery()
    accept(conn, new)
    assert killer.victim.wait() == -signal.SIGKILL

    roles.start("sender")
    roles.start("scheduler")
    eventually(lambda: _sent(conn, new.delivery_id), within=10)

    assert len(relay.accepted) == (2 if was_taken_over else 1)
    assert len({message.raw for message in relay.accepted}) == 1
    assert attempts(conn, new.delivery_id) == [
        (1, "abandoned", "unknown"),
        (2, "provider_accepted", "success"),
    ]


def test_under_park_a_doubt_is_never_sent_again(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """`uncertain`, one copy, an operator decides."""
    roles.environ["MAIL_UNCERTAIN_POLICY"] = "park"
    killer = Killer()
    _kill_at(relay, "DOT", accepting(killer))
    killer.victim = roles.start("sender")
    new = new_delivery()
    accept(conn, new)
    assert killer.victim.wait() == -signal.SIGKILL

    roles.start("sender")
    eventually(lambda: status(conn, new.delivery_id) == Status.UNCERTAIN, within=10)

    assert len(relay.accepted) == 1


def test_outcomes_that_were_read_survive_the_sender(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """Three of a batch were answered, the sender dies over the fourth: none of them is doubled."""
    news = [new_delivery() for _ in range(12)]
    for new in news[:8]:
        accept(conn, new)
    killer = Killer()
    relay.says(MAIL=["250 ok"] * 10 + [killer])
    killer.victim = roles.start("sender")
    eventually(lambda: all(_sent(conn, new.delivery_id) for new in news[:8]))
    accept(conn, *news[8:])
    assert killer.victim.wait() == -signal.SIGKILL

    roles.start("sender")
    eventually(lambda: all(_sent(conn, new.delivery_id) for new in news), within=10)

    assert len(relay.accepted) == 12
    assert len({message.raw for message in relay.accepted}) == 12


def test_a_delivery_over_which_three_senders_die_is_poison(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """It fails with cause `poison`; the mail behind it goes; requeued it has a fresh start."""
    killer = Killer(times=3)
    relay.says(DATA=[killer] * 3)
    poison, other = new_delivery(), new_delivery()
    accept(conn, poison)
    for _ in range(3):
        killer.victim = roles.start("sender")
        assert killer.victim.wait() == -signal.SIGKILL
    accept(conn, other)

    roles.start("sender")
    eventually(lambda: _sent(conn, other.delivery_id), within=10)

    after = row(conn, poison.delivery_id)
    assert (after["status"], after["failure"]) == (Status.FAILED, "poison")
    assert conn.execute("SELECT cause FROM dead_letters").fetchall() == [("poison",)]

    store.requeue(conn, [poison.delivery_id], actor="test", reason="the sender was mended")
    eventually(lambda: _sent(conn, poison.delivery_id), within=10)


def test_sigterm_finishes_the_transaction_and_leaves_nothing_leased(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """Exit 0, no row left behind, no journal either."""
    news = [new_delivery() for _ in range(50)]
    accept(conn, *news)
    sender = roles.start("sender")
    eventually(lambda: len(relay.accepted) > 5)

    sender.signal(signal.SIGTERM)

    assert sender.wait() == 0
    sent = conn.execute("SELECT count(*) FROM deliveries WHERE status = 'sent'").fetchone()
    ready = conn.execute("SELECT count(*) FROM deliveries WHERE status = 'queued'").fetchone()
    assert sent is not None
    assert ready is not None
    assert sent[0] + ready[0] == 50
    assert sent[0] == len(relay.accepted)


def test_sigterm_while_the_relay_stalls_before_the_dot_aborts_at_once(
    roles: Roles, relay: Relay, conn: db.Connection
) -> None:
    """Nothing has gone out, so nothing is waited for: ready again, without an attempt."""
    relay.says(MAIL=hang)
    new = new_delivery()
    accept(conn, new)
    sender = roles.start("sender")
    eventually(lambda: status(conn, new.delivery_id) == Status.SENDING)

    sender.signal(signal.SIGTERM)

    assert sender.wait(5) == 0
    assert status(conn, new.delivery_id) == Status.QUEUED
    assert attempts(conn, new.delivery_id) == []
