"""Arming a crash point: one variable, one act, said aloud; without it nothing."""

import signal

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Act, Order, Point, parse_order
from mailworkers.adapters.settings import load
from mailworkers.core.states import Status
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_stops,
    start_armed,
    wait_until_fired,
)
from tests.crash.processes import Roles
from tests.deliveries import accept, new_delivery, status
from tests.eventually import eventually

NEEDED = {
    "MAIL_POSTGRES_PRIMARY_DSN": "host=localhost",
    "MAIL_REDIS_MASTER_ADDR": "localhost:6379",
    "MAIL_SMTP_MODE": "stub",
}
NO_ORDERS = (
    "K-D14",
    "K-D14:",
    ":kill",
    "K-D99:kill",
    "K-D14:explode",
    "K-D14:kill:0",
    "K-D14:kill:x",
    "K-D14:kill:",
    "K-D14:kill:1:1",
    "k-d14:kill",
    "K-D14:kill ",
)


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("K-D14:kill", Order(Point.DOT_SENT, Act.KILL, 1)),
        ("K-D13b:cut-relay", Order(Point.DOT_MARKED, Act.CUT_RELAY, 1)),
        ("K-C1:stop:3", Order(Point.ENTRIES_READ, Act.STOP, 3)),
    ],
)
def test_an_order_names_point_act_and_turn(text: str, order: Order) -> None:
    """The turn is the first where none is given."""
    assert parse_order(text) == order


@pytest.mark.parametrize("text", NO_ORDERS)
def test_what_is_no_order_is_refused_with_an_example(text: str) -> None:
    """A rehearsal that does not take place would prove nothing."""
    with pytest.raises(ValueError, match="for example K-D14:kill"):
        parse_order(text)


def test_a_wrong_order_ends_the_start_with_78_and_names_the_variable(roles: Roles) -> None:
    """As every other setting does; supervisord does not try again."""
    process = roles.start("scheduler", MAIL_CRASH_POINT="K-D99:kill")

    assert process.wait(PATIENCE) == 78
    (line,) = roles.logs().splitlines()
    assert "MAIL_CRASH_POINT='K-D99:kill'" in line


def test_an_armed_point_is_said_aloud() -> None:
    """A warning: in the log of the start, in `mailworkers config` and in `mailworkers doctor`."""
    armed = load({**NEEDED, "MAIL_CRASH_POINT": "K-D14:kill"})

    assert load(NEEDED).warnings == ()
    (warning,) = armed.warnings
    assert warning.startswith("MAIL_CRASH_POINT=K-D14:kill is a rehearsal")


def test_it_happens_once_and_at_the_time_that_was_ordered(
    roles: Roles, conn: db.Connection
) -> None:
    """The second delivery is where the sender dies; the first one was not touched."""
    first, second = new_delivery(), new_delivery()
    accept(conn, first)
    order = Order(Point.LEASED, Act.KILL, turn=2)
    actor = start_armed(roles, "sender", order)
    eventually(lambda: status(conn, first.delivery_id) == Status.SENT, within=PATIENCE)

    accept(conn, second)

    wait_until_fired(actor, order)
    assert actor.wait(PATIENCE) == -signal.SIGKILL
    assert status(conn, second.delivery_id) == Status.SENDING


def test_whoever_outlives_its_point_is_not_hit_again(roles: Roles, conn: db.Connection) -> None:
    """The line on standard error is there once; the warning is the first line of the log."""
    order = Order(Point.MIME_IN_HAND, Act.CUT_REDIS)
    actor = start_armed(roles, "sender", order)
    for _ in range(3):
        accept(conn, new_delivery())
        eventually(lambda: _all_are_sent(conn), within=PATIENCE)

    assert_stops(actor)

    lines = actor.output.read_text().splitlines()
    assert sum(line.startswith("crash point") for line in lines) == 1
    assert "MAIL_CRASH_POINT" in lines[0]


def test_an_order_for_another_role_does_nothing(roles: Roles) -> None:
    """All roles of an installation may have the variable: only those that get there obey."""
    actor = roles.start("scheduler", MAIL_CRASH_POINT="K-D14:kill")

    assert_stops(actor)


def _all_are_sent(conn: db.Connection) -> bool:
    rows = conn.execute("SELECT count(*) FROM deliveries WHERE status <> 'sent'").fetchone()
    return rows == (0,)
