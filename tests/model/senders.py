"""What one sender knows and does, line by line; the order of its lines is `roles/sender.py`'s.

A sender can be killed between any two calls of these methods. Whatever a statement raises as `Away`
leaves it as `Sender.interrupt` does.
"""

import enum
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from mailworkers.adapters.store import Leased
from mailworkers.core.journal import Answered, Begin, Dot, Record, Settled
from mailworkers.core.lanes import LaneOrder
from mailworkers.core.replies import Verdict
from mailworkers.core.retry import RetryPolicy
from mailworkers.core.settlement import Case, Settlement, decide
from mailworkers.core.states import Lane, PayloadMode, RecipientStatus, Status
from mailworkers.core.watermarks import Pair, Reading, ReadySince
from mailworkers.core.wire import Reply
from tests.model.adoptions import Adoption
from tests.model.hosts import Host, JournalFile
from tests.model.relay import AfterDot, verdict_after_dot, verdict_of_abort
from tests.model.store import Store

LEASE = timedelta(seconds=150)
DOT_TIMEOUT = 60.0
BUDGET = 3 * 15.0 + DOT_TIMEOUT  # all phases of one transaction


class Line(enum.Enum):
    """How far the transaction of a sender has come."""

    BETWEEN = "between transactions"
    BEGUN = "`begin` is journalled"
    DOTTED = "`dot` is journalled, the dot did not go out"
    SENT = "the dot is out"
    OVER = "the outcome is known, and not journalled"


class Surroundings(Protocol):
    """What a sender needs of the world."""

    policies: dict[str, RetryPolicy]
    parked: frozenset[Lane]

    def now(self) -> datetime: ...
    def boottime(self) -> float: ...


class Sender:
    """A living sender."""

    def __init__(self, name: str, host: Host, journal: JournalFile, world: Surroundings) -> None:
        self.name = name
        self.host = host
        self.journal = journal
        self._world = world
        self.order = LaneOrder(world.parked)
        self.ready = ReadySince()
        self.last_source = ""
        self.token = UUID(int=0)
        self.asked_at = 0.0
        self.batch: deque[Leased] = deque()
        self.line = Line.BETWEEN
        self.current: Leased | None = None
        self.rcpt: tuple[Reply, ...] = ()
        self.answer: AfterDot | None = None
        self.verdict: Verdict | None = None
        self.outcomes: list[Settlement] = []
        self.late: list[Settlement] | None = None  # settled, those missing not yet tried late
        self.is_unmarked = False  # all settled, `settled` not yet journalled
        self.recent: list[Settlement] = []
        self.adoption: Adoption | None = None

    # What it may do next.

    @property
    def is_settling(self) -> bool:
        """Whether it is in the middle of recording outcomes."""
        return self.late is not None or self.is_unmarked

    @property
    def is_free(self) -> bool:
        """Whether it is between transactions, with nothing half done."""
        return self.line is Line.BETWEEN and not self.is_settling and self.adoption is None

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing: the place in a step where it adopts, renews and leases."""
        return self.is_free and not self.outcomes and not self.batch

    @property
    def held(self) -> list[UUID]:
        """Return the deliveries that it must not hand back."""
        held = [outcome.delivery_id for outcome in self.outcomes]
        if self.current is not None:
            held.append(self.current.delivery_id)
        return held

    def seconds_left(self) -> float:
        """Return how much of its leases is left, by the clock that goes on while it is frozen."""
        return LEASE.total_seconds() - (self._world.boottime() - self.asked_at)

    def database_now(self, leased: Leased) -> datetime:
        """Return the database's time as it knows it: what it said at the lease, and what passed."""
        return leased.leased_at + timedelta(seconds=self._world.boottime() - self.asked_at)

    # Leasing.

    def lease(self, store: Store, new_token: UUID, limit: int) -> list[Leased]:
        """Lease the next batch from the lanes whose turn it is, as `adapters/leasing` does."""
        now, order = self._world.boottime(), list(self.order.next())
        since = self.ready.since(now)
        rows = self._lease(store, new_token, limit, order, since)
        if not rows and len(less := self.ready.since(now, is_at_rest=True)) < len(since):
            rows = self._lease(store, new_token, limit, order, less)
        return rows

    def _lease(
        self,
        store: Store,
        new_token: UUID,
        limit: int,
        order: Sequence[tuple[tuple[Lane, ...], int]],
        since: Mapping[Pair, datetime],
    ) -> list[Leased]:
        for lanes, most in order:
            asked_at = self._world.boottime()
            rows = store.lease_ready(
                lease_token=new_token,
                leased_by=self.journal.journal_id,
                lanes=lanes,
                after=self.last_source,
                since=since,
                limit=min(limit, most),
                lease=LEASE,
            )
            now = self._world.boottime()
            is_full = len(rows) == min(limit, most)
            self.ready.note(
                Reading(lanes, self.last_source, since, is_full, now, now),
                {(row.lane, row.source): row.ready_at for row in rows},
            )
            if rows:
                self.token, self.asked_at = new_token, asked_at
                self.last_source = rows[-1].source
                self.batch.extend(row for row in rows if row.status == Status.SENDING)
                return rows
        return []

    def may_start(self) -> bool:
        """Whether the first of the batch may begin: not expired, its lease covers all phases."""
        leased = self.batch[0]
        if leased.expires_at is not None and leased.expires_at <= self.database_now(leased):
            return False
        return self.seconds_left() > BUDGET

    # Delivering.

    def begin(self) -> Leased:
        """Journal that the first of the batch begins."""
        leased = self.batch.popleft()
        self.journal.write(Begin(leased.delivery_id, self.token))
        self.current, self.line = leased, Line.BEGUN
        return leased

    def end_without_dot(self, verdict: Verdict) -> None:
        """The transaction ends before its dot."""
        self.verdict, self.line = verdict, Line.OVER

    def outlasts_dot(self) -> bool:
        """Whether its lease covers the longest wait for the reply to a dot."""
        return self.seconds_left() > DOT_TIMEOUT

    def dot(self, rcpt: tuple[Reply, ...]) -> None:
        """Journal the dot, or give up when the lease does not cover the wait for its reply."""
        if not self.outlasts_dot():
            self.end_without_dot(verdict_of_abort(rcpt))
            return
        self.journal.write(self.dot_record(rcpt))
        self.rcpt, self.line = rcpt, Line.DOTTED

    def take_dot_back(self) -> None:
        """It was frozen while the journal was written: say there that the dot does not go."""
        self.journal.write(Begin(self.leased().delivery_id, self.token))
        self.end_without_dot(verdict_of_abort(self.rcpt))

    def dot_record(self, rcpt: tuple[Reply, ...]) -> Dot:
        """Return the record of a dot: the replies to RCPT only where one is not 2yz."""
        told = rcpt if any(reply.code // 100 != 2 for reply in rcpt) else ()
        leased = self.leased()
        return Dot(leased.delivery_id, self.token, told)

    def send(self, answer: AfterDot) -> list[int]:
        """Send the dot; return the ordinals for which the relay would take the message."""
        self.answer, self.line = answer, Line.SENT
        pairs = zip(self.leased().ordinals, self.rcpt, strict=True)
        return [ordinal for ordinal, reply in pairs if reply.code // 100 == 2]

    def hear(self) -> None:
        """Read the relay's answer to the dot, or learn that there is none."""
        if self.answer is None:
            raise AssertionError("nothing was sent")
        self.verdict = verdict_after_dot(self.rcpt, self.answer.reply, self.answer.broken)
        self.line = Line.OVER

    def note(self) -> None:
        """Decide what the attempt means; keep it in memory, then in the journal."""
        settlement = self.decide()
        self.outcomes.append(settlement)
        self.journal.write(Answered(settlement))
        self._forget()

    def decide(self) -> Settlement:
        """Return what the product makes of the verdict."""
        leased = self.leased()
        if self.verdict is None:
            raise AssertionError("there is no verdict yet")
        return decide(
            Case(
                delivery_id=leased.delivery_id,
                lease_token=self.token,
                payload_mode=PayloadMode(leased.payload_mode),
                cycle_attempt=leased.cycle_attempt,
                expires_at=leased.expires_at,
                ordinals=leased.ordinals,
                closed=[RecipientStatus(status) for status in leased.closed],
            ),
            self.verdict,
            now=self.database_now(leased),
            policy=self._world.policies[leased.retry_policy],
            chance=0.5,
            is_parked=Lane(leased.lane) in self._world.parked,
            relay="relay:25",
            summary="",
        )

    # Settling.

    def settle(self, store: Store) -> None:
        """Settle what waits; those whose lease was taken back follow by `settle_late`."""
        settled = store.settle(self.outcomes)
        self.late = [found for found in self.outcomes if found.delivery_id not in settled]

    def settle_late(self, store: Store) -> None:
        """Correct what was reclaimed meanwhile."""
        if self.late:
            store.settle_late(self.late)
        self.recent += self.outcomes
        self.outcomes, self.late, self.is_unmarked = [], None, True

    def mark(self) -> None:
        """Journal that all is settled."""
        self.journal.write(Settled())
        self.is_unmarked = False

    def reconcile(self, store: Store) -> None:
        """On a new connection, record again what was settled lately: it may have been lost."""
        settled = store.settle(self.recent)
        if late := [found for found in self.recent if found.delivery_id not in settled]:
            store.settle_late(late)

    def hand_back(self, store: Store) -> None:
        """Give up every lease that is neither in its attempt nor waiting to be settled."""
        self.batch.clear()
        if leases := store.leases_of(self.journal.journal_id, self.held):
            store.hand_back(leases)

    # Losing.

    def interrupt(self) -> None:
        """A store is away: outcomes stay, what was not started will be handed back."""
        self.late = None
        self.adoption = None
        self.ready = ReadySince()
        if self.line is Line.BETWEEN:  # within a transaction the tick takes it
            self.batch.clear()

    def give_up(self) -> None:
        """Leave a transaction before its dot, being told to stop."""
        self._forget()

    def next_record(self) -> Record | None:
        """Return what it would journal next, None when that is not known."""
        if self.is_unmarked:
            return Settled()
        match self.line:
            case Line.BETWEEN if self.batch:
                return Begin(self.batch[0].delivery_id, self.token)
            case Line.BEGUN:
                return Dot(self.leased().delivery_id, self.token)
            case Line.OVER:
                return Answered(self.decide())
            case _:
                return None

    def leased(self) -> Leased:
        """Return what the transaction is about."""
        if self.current is None:
            raise AssertionError("there is no transaction")
        return self.current

    def _forget(self) -> None:
        self.current = self.answer = self.verdict = None
        self.rcpt, self.line = (), Line.BETWEEN
