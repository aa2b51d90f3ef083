"""The world: everything that lives in one schedule, and what happens to several at once."""

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TypeVar, cast
from uuid import UUID

from mailworkers.adapters.store import ExpiredLease
from mailworkers.core.deliveries import NewDelivery
from mailworkers.core.lanes import LaneOrder
from mailworkers.core.retry import RetryPolicy, exponential, ladder
from mailworkers.core.states import WAITING, Lane, Status
from tests.model.adoptions import Adoption
from tests.model.clock import Clock
from tests.model.connections import Away, Connection
from tests.model.hosts import Host, JournalFile
from tests.model.memory import MemoryStore
from tests.model.picks import Pick
from tests.model.rows import Row
from tests.model.senders import Line, Sender
from tests.model.store import Store
from tests.model.violations import Violation

T = TypeVar("T")

PARKED = (
    frozenset[Lane](),
    frozenset[Lane](),
    frozenset(Lane),
    frozenset({Lane.AUTH}),
)
POLICIES: dict[str, RetryPolicy] = {
    "ladder": ladder("ladder", (timedelta(seconds=5),)),
    "exponential": exponential(attempts=3),
    "auth": ladder("auth", ()),
}
_TIMED = WAITING | {Status.SENDING}
_IDS = tuple(UUID(int=number) for number in range(1, 5000))


class World:
    """Clock, stores, hosts, senders and relay of one schedule."""

    # Of what the world is made; a test may plant something else.
    host: type[Host] = Host
    journal: type[JournalFile] = JournalFile
    adoption: type[Adoption] = Adoption

    def __init__(
        self, parked: frozenset[Lane], store: Callable[[Clock], Store] | None = None
    ) -> None:
        self.clock = Clock()
        self.store: Store = store(self.clock) if store else MemoryStore(self.clock.now)
        self.policies = POLICIES
        self.parked = parked
        self.copies: Counter[tuple[UUID, int]] = Counter()  # the relay's own ledger
        self.hosts = (self.host("a"), self.host("b"))
        self.senders: list[Sender] = []
        self.news: list[NewDelivery] = []
        self.ended: dict[UUID, Row] = {}  # deleted since
        self.readings: list[list[ExpiredLease]] = []  # what schedulers read and did not yet act on
        self.in_flight: list[Callable[[], object]] = []
        self.is_away = False
        self.always_parked = parked
        self.orders: Counter[UUID] = Counter()  # how often an operator had it tried again
        self._ids = iter(_IDS)

    def new_id(self) -> UUID:
        """Return an id that nothing has."""
        return next(self._ids)

    def now(self) -> datetime:
        """Return the database's time."""
        return self.clock.now()

    def boottime(self) -> float:
        """Return the seconds that have passed, frozen or not."""
        return self.clock.boottime

    @property
    def rows(self) -> list[Row]:
        """Return what the database holds."""
        return list(self.store.rows.values())

    def connection(self, pick: Pick) -> Store:
        """Return a connection whose statements may get no answer, as *pick* has it."""
        return cast("Store", Connection(self, pick))

    def spawn(self, host: Host) -> Sender:
        """Start a sender on *host*."""
        journal = self.journal(self.new_id(), host.boot_id)
        host.journals.append(journal)
        sender = Sender(f"{host.name}{len(host.journals)}", host, journal, self)
        self.senders.append(sender)
        return sender

    def bury(self, sender: Sender) -> None:
        """Let a sender be dead: the kernel frees its locks, nothing else happens."""
        sender.journal.is_locked = False
        self.release(sender)
        self.senders.remove(sender)

    def release(self, sender: Sender) -> None:
        """Let go of the journal that a sender was adopting."""
        if sender.adoption is not None:
            sender.adoption.release()
            sender.adoption = None

    def adopt(self, sender: Sender, journal: JournalFile) -> None:
        """Let *sender* lock and read an orphan."""
        sender.adoption = self.adoption(sender.host, journal, self.policies, self.parked)

    def advance_adoption(self, sender: Sender, pick: Pick) -> None:
        """Let *sender* do the next statement of its adoption."""
        adoption = sender.adoption
        if adoption is not None:
            adoption.advance(self.connection(pick))
            if adoption.is_over:
                sender.adoption = None

    def stop(self, sender: Sender, pick: Pick) -> None:
        """Let *sender* end in order: what it knows is settled, what it holds handed back."""
        if sender.line is Line.BEGUN:
            sender.give_up()
        try:
            if sender.outcomes:
                sender.settle(self.connection(pick))
                sender.settle_late(self.connection(pick))
                sender.mark()
            sender.hand_back(self.connection(pick))
            sender.host.remove(sender.journal)
        except Away:
            pass
        self.bury(sender)

    def note_dot(self, sender: Sender) -> None:
        """Raise Violation when a dot goes out without a lease, or before its time.

        Nobody can help either when the database's clock was set.
        """
        if self.clock.was_set:
            return
        delivery_id = sender.leased().delivery_id
        row = self.store.rows.get(delivery_id)
        if row is None or row.lease_token != sender.token:
            raise Violation(f"F-L04: a dot goes out without a lease: {row}")
        send_at = next(n.next_attempt_at for n in self.news if n.delivery_id == delivery_id)
        if send_at is not None and send_at > self.now():
            raise Violation(f"I-10: a dot goes out before its send_at: {row}")

    def take(self, delivery_id: UUID, ordinals: list[int]) -> None:
        """Let the relay take one copy for each of *ordinals*: before any answer."""
        self.store.touched.add(delivery_id)
        for ordinal in ordinals:
            self.copies[delivery_id, ordinal] += 1

    def forget(self, keep: timedelta) -> None:
        """Delete what ended *keep* ago; the model remembers it."""
        before = dict(self.store.rows)
        self.store.delete_deliveries(keep)
        self.ended.update({key: row for key, row in before.items() if key not in self.store.rows})

    def change_policy(self) -> None:
        """Give every sender and scheduler another uncertain policy."""
        self.parked = frozenset() if self.parked else frozenset(Lane)
        self.always_parked = frozenset()
        for sender in self.senders:
            sender.order = LaneOrder(self.parked)

    def wait_until_due(self) -> None:
        """Let time pass until the next time that a row waits for."""
        now = self.now()
        times = [row.next_attempt_at for row in self.rows if row.status in _TIMED]
        times += [row.expires_at for row in self.rows if row.expires_at and not row.finished_at]
        if later := [at for at in times if at and at > now]:
            self.clock.advance(min(later) - now)

    def attempt(self, sender: Sender, act: Callable[[], T]) -> T | None:
        """Let *sender* do something that needs the store; None when it lost it."""
        try:
            return act()
        except Away:
            self.release(sender)
            sender.interrupt()
            return None
