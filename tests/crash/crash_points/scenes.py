"""What must be there for a sender to come to each of its points, and one rehearsal of it."""

from pathlib import Path
from uuid import UUID, uuid4

import msgspec

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Order, Point
from mailworkers.core.deliveries import NewDelivery
from tests.crash.crash_points.cells import ONCE, Cell
from tests.crash.crash_points.rehearsal import (
    PATIENCE,
    assert_ends,
    assert_nothing_leased,
    assert_stops,
    end_of,
    journals,
    start_armed,
    statement_held,
    wait_until_fired,
)
from tests.crash.processes import Process, Roles
from tests.deliveries import accept, new_delivery
from tests.eventually import eventually
from tests.relay import CAPABILITIES, Relay, accepting, late

ENCRYPTED = frozenset({Point.SHAKING_HANDS, Point.LOGGED_IN})
_WITHOUT_PIPELINING = frozenset({Point.MAIL_ANSWERED, Point.RCPT_ANSWERED})
# Their dot goes out by itself, under a deadline of its own.
_LARGE = frozenset({Point.IN_BODY, Point.DOT_NOT_MARKED, Point.DOT_MARKED})
_LARGE_BODY = (b"all the same " * 5 + b"\r\n") * 3000  # 201 kB: more than goes out at once


def set_relay(point: Point, relay: Relay) -> None:
    """Let *relay* do what brings a sender to *point*, once."""
    relay.forgets()
    if point in _WITHOUT_PIPELINING:
        relay.offers(*(word for word in CAPABILITIES if word != "PIPELINING"))
    if point is Point.QUIT_SAID:  # the session is given up for the second message
        relay.offers(*CAPABILITIES, "LIMITS MAILMAX=1")
    if point is Point.DOT_SENT:  # the reply is certainly not there yet
        relay.says(DOT=[accepting(late(0.5, "250 2.0.0 Ok"))])
    if point is Point.SHAKING_HANDS:  # nor the relay's part of the handshake
        relay.says(TLS=[late(0.3, lambda _: None)])
    if point is Point.LOGGED_IN:
        relay.users = {"shop": "secret"}


def environ_for(point: Point, relay: Relay) -> dict[str, str]:
    """Return the settings a sender needs to come to *point* at *relay*."""
    if point not in ENCRYPTED:
        return {"MAIL_SMTP_ADDR": relay.addr}
    assert relay.certificates
    return {
        "MAIL_SMTP_ADDR": f"localhost:{relay.port}",
        "MAIL_SMTP_TLS": "starttls",
        "MAIL_SMTP_CA_FILE": str(relay.certificates.ca),
        "MAIL_SMTP_USERNAME": "shop" if point is Point.LOGGED_IN else "",
        "MAIL_SMTP_PASSWORD": "secret" if point is Point.LOGGED_IN else "",
    }


def turn_of(point: Point) -> int:
    """Return which time the point is meant: of three recipients the second, else the first."""
    return 2 if point is Point.RCPT_ANSWERED else 1


def named_delivery(recipients: int = 1, body: bytes = b"hello\r\n") -> NewDelivery:
    """Return a new delivery that is known at the relay by its recipients."""
    delivery_id = uuid4()
    return new_delivery(
        *(f"{delivery_id}-{number}@example.com" for number in range(recipients)),
        delivery_id=delivery_id,
        mime=b"Subject: " + str(delivery_id).encode() + b"\r\n\r\n" + body,
    )


def accept_for(conn: db.Connection, point: Point) -> UUID:
    """Accept what brings a sender to *point*; return the delivery it is at then."""
    if point is Point.QUIT_SAID:
        accept(conn, named_delivery())
    subject = named_delivery(
        recipients=3 if point is Point.RCPT_ANSWERED else 1,
        body=_LARGE_BODY if point in _LARGE else b"hello\r\n",
    )
    accept(conn, subject)
    return subject.delivery_id


class Scene(msgspec.Struct):
    """One rehearsal of a sender."""

    roles: Roles
    conn: db.Connection
    relay: Relay
    running: list[Process] = []
    orphaned: list[Path] = []

    def play(self, cell: Cell) -> tuple[Process, UUID, list[str]]:
        """Bring a sender to the point of *cell* and let it happen there.

        Return the sender, the delivery it was at, and what was cut.
        """
        point, order = cell.point, Order(cell.point, cell.act, turn_of(cell.point))
        self.roles.environ |= environ_for(point, self.relay)
        self.roles.environ["MAIL_UNCERTAIN_POLICY"] = cell.policy
        set_relay(point, self.relay)
        subject = accept_for(self.conn, point)
        with statement_held(self.conn, point):
            actor = start_armed(self.roles, "sender", order)
            kinds = wait_until_fired(actor, order)
        return actor, subject, kinds

    def bury(self) -> None:
        """Note the journals that are there: of whoever was killed, to be adopted by others."""
        self.orphaned = journals(self.roles)

    def go_on(self, *roles: str) -> None:
        """Start the roles that supervisord would have running."""
        self.running += [self.roles.start(role) for role in roles]

    def assert_ends(self, cell: Cell, subject: UUID) -> None:
        """All is over as predicted, and nothing is left behind."""
        assert_ends(self.conn, subject, cell.expected, self.relay)
        eventually(lambda: _all_are_over(self.conn), within=PATIENCE)
        eventually(lambda: not any(path.exists() for path in self.orphaned), within=PATIENCE)
        for process in self.running:
            assert_stops(process)
        assert_nothing_leased(self.conn)
        assert end_of(self.conn, subject, self.relay) == cell.expected
        _assert_others_once(self.conn, subject, self.relay)
        assert journals(self.roles) == []


def _all_are_over(conn: db.Connection) -> bool:
    rows = conn.execute("SELECT count(*) FROM deliveries WHERE finished_at IS NULL").fetchone()
    return rows == (0,)


def _assert_others_once(conn: db.Connection, subject: UUID, relay: Relay) -> None:
    """Whatever was under way beside it has arrived once."""
    others = conn.execute(
        "SELECT delivery_id FROM deliveries WHERE delivery_id <> %s", [subject]
    ).fetchall()
    for (other,) in others:
        assert end_of(conn, other, relay) == ONCE
