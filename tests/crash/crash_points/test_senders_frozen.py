"""A sender is frozen at each of its points for longer than its lease, then goes on.

Waiting is all of it, so the senders of one policy are frozen together: one after the other is
brought to its point and stopped; then a healthy one takes over with a scheduler; then they are
woken one by one. What became of each is a test of its own.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from uuid import UUID

import msgspec
import pytest
import redis
from psycopg import sql

from mailworkers.adapters import db
from mailworkers.adapters.crash_points import Act, Order, Point
from mailworkers.core.states import FINAL, Status
from mailworkers.embedded.servers import Servers
from tests.certificates import Certificates
from tests.crash.crash_points.cells import ONCE, PARK, SENDER, Cell, Expected, cells
from tests.crash.crash_points.rehearsal import (
    assert_nothing_leased,
    assert_stops,
    end_of,
    journals,
    parametrized,
    start_armed,
    statement_held,
    thaw,
    wait_until_fired,
)
from tests.crash.crash_points.scenes import (
    ENCRYPTED,
    accept_for,
    environ_for,
    named_delivery,
    set_relay,
    turn_of,
)
from tests.crash.processes import Process, Roles, environ_of
from tests.deliveries import accept
from tests.eventually import eventually
from tests.relay import Relay

pytestmark = pytest.mark.timeout(600)

# As short as a busy machine bears: 3 x 1 s + 1 s and the margin.
SHORT = {"MAIL_LEASE": "5s", "MAIL_SMTP_TIMEOUT": "1s", "MAIL_SMTP_DOT_TIMEOUT": "1s"}
# Lease and 5 s more, and the time of a body; then the shortest pause before another try.
RECLAIMED_WITHIN = 15.0
SENT_AGAIN_WITHIN = 30.0
# Promised are 5 s; this machine has others to serve.
WORKS_WITHIN = 10.0


class Frozen(msgspec.Struct):
    """One sender that stands still; how its delivery ended before it went on, and after."""

    process: Process
    subject: UUID
    before: Expected | None = None
    after: Expected | None = None
    went_on: bool = False


class Ward:
    """All frozen senders of one policy, and what they need."""

    def __init__(
        self, roles: Roles, conn: db.Connection, relays: tuple[Relay, Relay], policy: str
    ) -> None:
        self._roles = roles
        self._conn = conn
        self._relays = relays
        self._policy = policy
        roles.environ["MAIL_UNCERTAIN_POLICY"] = policy
        self.frozen: dict[Point, Frozen] = {}

    def freeze(self, point: Point) -> None:
        """Bring a sender to *point* and stop it there."""
        relay = self._relays[point in ENCRYPTED]
        set_relay(point, relay)
        subject = accept_for(self._conn, point)
        order = Order(point, Act.STOP, turn_of(point))
        with statement_held(self._conn, point):
            process = start_armed(self._roles, "sender", order, **environ_for(point, relay))
            wait_until_fired(process, order)
        self.frozen[point] = Frozen(process, subject)

    def let_others_work(self) -> None:
        """Let healthy roles finish what the frozen ones hold; then the healthy sender stops."""
        for relay in self._relays:
            relay.forgets()
        sender = self._roles.start("sender")
        scheduler = self._roles.start("scheduler")
        eventually(lambda: self._count(Status.SENDING) == 0, within=RECLAIMED_WITHIN)
        eventually(lambda: self._count(*FINAL) == self._count(), within=SENT_AGAIN_WITHIN)
        assert_stops(sender)
        assert_stops(scheduler)
        for frozen in self.frozen.values():
            frozen.before = end_of(self._conn, frozen.subject, *self._relays)

    def wake(self) -> None:
        """Let one after the other go on, alone; whether it works is seen by a new delivery."""
        for frozen in self.frozen.values():
            thaw(frozen.process)
            fresh = named_delivery()
            accept(self._conn, fresh)
            with contextlib.suppress(AssertionError):
                eventually(partial(self._is_sent, fresh.delivery_id), within=WORKS_WITHIN)
                frozen.went_on = True
            assert_stops(frozen.process)
        for frozen in self.frozen.values():
            frozen.after = end_of(self._conn, frozen.subject, *self._relays)
        assert_nothing_leased(self._conn)
        assert journals(self._roles) == []

    def _is_sent(self, delivery_id: UUID) -> bool:
        return end_of(self._conn, delivery_id, *self._relays) == ONCE

    def _count(self, *statuses: Status) -> int:
        rows = self._conn.execute(
            "SELECT count(*) FROM deliveries WHERE status = ANY (%s)",
            [list(statuses or Status)],
        ).fetchone()
        return int(rows[0]) if rows else 0


MakeWard = Callable[[str], Ward]


@pytest.fixture(scope="module")
def ward(
    servers: Servers,
    _migrated: sql.Composed,
    certificates: Certificates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[MakeWard]:
    """Return what gives the ward of a policy, all of whose senders were frozen and woken again."""
    wards: dict[str, Ward] = {}
    with contextlib.ExitStack() as stack:

        def make(policy: str) -> Ward:
            if policy not in wards:
                wards[policy] = _rehearse(policy)
            return wards[policy]

        def _rehearse(policy: str) -> Ward:
            conn = stack.enter_context(db.connect(servers.postgres_dsn))
            conn.execute(_migrated)
            with redis.Redis(unix_socket_path=str(servers.places.keyvalue_socket)) as client:
                client.flushall()
            relays = (Relay(), Relay(certificates))
            for relay in relays:
                stack.enter_context(relay)
            directory = tmp_path_factory.mktemp(policy)
            environ = environ_of(servers, relays[0], directory) | SHORT
            found = Ward(stack.enter_context(Roles(environ, directory)), conn, relays, policy)
            for point in SENDER if policy == "retry" else PARK:
                found.freeze(point)
            found.let_others_work()
            found.wake()
            return found

        yield make


@pytest.mark.parametrize("cell", parametrized(cells("sender", Act.STOP)))
def test_a_sender_frozen_past_its_lease_takes_nothing_back(ward: MakeWard, cell: Cell) -> None:
    """It sends no dot and undoes nothing that others have done meanwhile, and it works on.

    What it knows is recorded where nobody knew it: of a parked delivery, that it was sent after
    all, or that its attempt was none.
    """
    frozen = ward(cell.policy).frozen[cell.point]

    assert frozen.went_on
    assert frozen.after == cell.expected
    if cell.policy == "retry":
        assert frozen.before == frozen.after
