"""The sender: leases ready deliveries, carries each to the relay, settles the outcomes.

One relay session at a time. A lease is committed before the network is touched; outcomes are
settled in batches; no transaction is open while the relay talks. While it waits for a reply it
ticks: old outcomes are settled, leases not started are handed back. It leases about as many as it
sent in the last 50 ms, so that a slow relay never hoards work. Its journal says before each final
dot that it goes, and after each reply what it was.

Killed before the lease commits: nothing happened. Killed after it, before the final dot: the
journal does not speak of a dot, whoever adopts it makes the delivery ready again at once. Killed
between the dot and its reply: the outcome is unknown, and by the policy the delivery is tried again
or parked; in the first case the recipient may get it twice (RFC 1047), nobody can rule that out.
Killed after the reply: the journal has the outcome, the adopter settles it.
"""

import random
import time
from collections import deque
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from mailworkers.adapters import process, store
from mailworkers.adapters.adoption import Adopter
from mailworkers.adapters.journal import SenderJournal
from mailworkers.adapters.outcomes import (
    Outcome,
    case_of,
    complete,
    envelope_of,
    report_ended,
    report_settled,
    summary_of,
)
from mailworkers.adapters.policies import retry_policies
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.smtp import Session
from mailworkers.adapters.store import Leased
from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.core.adoption import verdict_of_poison
from mailworkers.core.breaker import Breaker, State
from mailworkers.core.errors import RelayUnavailable, StoreUnavailable
from mailworkers.core.journal import Answered, Begin, Dot, Settled
from mailworkers.core.lanes import LaneOrder, Pace
from mailworkers.core.replies import Verdict, judge, judge_unavailable
from mailworkers.core.settlement import decide
from mailworkers.core.states import Lane, Status
from mailworkers.core.wire import Reply, UnsafeOnWire

# Outcomes wait at most this long for their batch while the relay keeps us waiting.
OLDEST_OUTCOME = 1.0
_STRAYS_EVERY = timedelta(seconds=10)
_ADOPT_EVERY = timedelta(seconds=5)
_BODY_RATE = 65536  # bytes a second a relay must at least take


class Interrupted(Exception):  # noqa: N818
    """The process was told to stop while a transaction had not reached its final dot."""


class Held:
    """The leases of this process: the rows not started, and when the database's lease of them ends.

    `asked_at` is read on CLOCK_BOOTTIME before the lease statement, so that our end is never later
    than the database's; it goes on while the machine sleeps.
    """

    def __init__(self, token: UUID, asked_at: float, rows: list[Leased]) -> None:
        self.token = token
        self.asked_at = asked_at
        self.waiting = deque(rows)


class Sender:
    """Leases, delivers, settles."""

    def __init__(self, context: process.Context) -> None:
        settings = context.settings
        self._context = context
        self._settings = settings
        self._telemetry = context.telemetry
        self._policies = retry_policies(settings)
        self._is_stub = settings.smtp_mode == "stub"
        self._session = None if self._is_stub else Session(settings.smtp_settings())
        self._parked = frozenset(
            lane for lane in Lane if settings.uncertain_policy[lane.label] == "park"
        )
        self._order = LaneOrder(self._parked)
        self._pace = Pace()
        self._breaker = Breaker()
        self._held = Held(uuid4(), 0.0, [])
        self._current: Leased | None = None
        self._is_past_dot = False
        self._outcomes: list[Outcome] = []
        self._is_settle_doubtful = False
        self._strays = process.Every(_STRAYS_EVERY)
        self._last_source = ""
        self._journal = SenderJournal(settings.state_dir)
        self._adopter = Adopter(settings.state_dir, self._policies, self._parked, context.telemetry)
        self._adoption = process.Every(_ADOPT_EVERY)

    @property
    def holder_id(self) -> UUID:
        """Return who holds the leases of this process: its journal."""
        return self._journal.journal_id

    # One step: lease a batch, try each, settle.

    def step(self) -> bool:
        """Lease a batch, try each delivery, settle the outcomes; False when nothing was ready."""
        self._settle()
        if self._adoption.is_due():
            self._adopter.adopt(self._context.database.conn)
        if self._strays.is_due():
            self._hand_back()
        self._journal.renew()
        state = self._breaker.state(time.monotonic())
        if state is State.OPEN or not self._lease(is_probe=state is State.HALF_OPEN):
            return False
        started = time.monotonic()
        count = len(self._held.waiting)
        while self._held.waiting and self._may_start(self._held.waiting[0]):
            self._deliver(self._held.waiting.popleft())
        count -= len(self._held.waiting)
        if self._held.waiting:
            self._hand_back()
        self._pace.note(count, time.monotonic() - started)
        self._settle()
        return True

    def wait(self) -> None:
        """Wait for a wake-up, one poll, or the time of the breaker's probe."""
        pause = self._breaker.seconds_to_probe(time.monotonic())
        if pause > 0:
            self._context.stop.wait(min(timedelta(seconds=pause), self._settings.poll))
        elif not self._context.waker.wait(SENDER_WAKE, self._settings.poll):
            self._context.stop.wait(self._settings.poll)

    def interrupt(self, store_name: str) -> None:
        """What was not started is handed back when the store is there again."""
        if store_name != "redis":
            self._held.waiting.clear()
            self._current = None
            self._strays = process.Every(_STRAYS_EVERY)

    def close(self) -> None:
        """Settle what is known, hand back what was not started, leave the relay politely."""
        try:
            self._settle()
            self._hand_back()
        finally:
            self._journal.close(is_done=not self._outcomes)
            if self._session is not None:
                self._session.close()

    # Leasing.

    def _lease(self, *, is_probe: bool) -> bool:
        """Lease the next batch; True when there is something to deliver or was to be ended."""
        for lanes, most in self._order.next():
            limit = 1 if is_probe else min(self._pace.limit, most)
            token, asked_at = uuid4(), _boottime()
            rows = store.lease_ready(
                self._context.database.conn,
                lease_token=token,
                leased_by=self.holder_id,
                lanes=lanes,
                after=self._last_source,
                limit=limit,
                lease=self._settings.lease,
                is_stub=self._is_stub,
            )
            if rows:
                self._take(Held(token, asked_at, rows))
                if len(rows) == limit and not is_probe:
                    self._context.waker.wake_senders()
                return True
        return False

    def _take(self, held: Held) -> None:
        """Hold a batch; report the rows that the lease itself has ended."""
        self._held = held
        self._last_source = held.waiting[-1].source
        for leased in [row for row in held.waiting if row.status != Status.SENDING]:
            held.waiting.remove(leased)
            report_ended(
                self._telemetry,
                leased,
                Status(leased.status),
                leased.failure or "",
                self._policies[leased.retry_policy].max_attempts,
            )

    def _seconds_left(self, leased: Leased) -> float:
        """Return how much of the lease of a row is left, never more than the database thinks."""
        span = self._settings.lease.total_seconds() + leased.mime_size / _BODY_RATE
        return self._held.asked_at + span - _boottime()

    def _may_start(self, leased: Leased) -> bool:
        """Whether a transaction may begin: not when stopping, nor what its lease cannot cover."""
        if self._context.stop.is_requested:
            return False
        if self._breaker.state(time.monotonic()) is State.OPEN:
            return False
        phases = 3 * self._settings.smtp_timeout.total_seconds()
        dot = self._settings.smtp_dot_timeout.total_seconds()
        return self._seconds_left(leased) > phases + dot + leased.mime_size / _BODY_RATE

    def _hand_back(self) -> None:
        """Give up every lease that is not in the middle of its attempt or waiting to be settled."""
        self._held.waiting.clear()
        held = [outcome.leased.delivery_id for outcome in self._outcomes]
        if self._current is not None:
            held.append(self._current.delivery_id)
        store.hand_back(self._context.database.conn, leased_by=self.holder_id, held=held)

    # Delivering.

    def _deliver(self, leased: Leased) -> None:
        """Carry one delivery to the relay and keep its outcome for the settle."""
        mime = leased.mime
        if mime is None:
            mime = store.load_mime(self._context.database.conn, leased.delivery_id)
        leased.mime = None
        self._journal.write(Begin(leased.delivery_id, self._held.token))
        self._current, self._is_past_dot = leased, False
        started = time.monotonic()
        try:
            verdict, relay = self._attempt(leased, mime)
        except Interrupted:
            self._current = None
            return
        self._note(leased, verdict, relay, started)
        self._current = None

    def _attempt(self, leased: Leased, mime: bytes) -> tuple[Verdict, str]:
        """Return what one transaction came to, and with which relay."""
        session = self._session
        if session is None:
            raise RuntimeError("in stub mode the lease ends every delivery")
        try:
            if not session.is_usable():
                session.open(tick=self._tick)
            transaction = session.transact(
                envelope_of(leased, mime), mime, before_dot=self._may_dot, tick=self._tick
            )
        except UnsafeOnWire as error:
            self._telemetry.failed("message unsafe on the wire", error)
            return verdict_of_poison(len(leased.ordinals)), session.relay
        except RelayUnavailable as error:
            verdict = judge_unavailable(error.stage, error.reply, timed_out=error.timed_out)
        except (Interrupted, StoreUnavailable):
            session.close()
            raise
        else:
            is_own = leased.mail_from == self._settings.smtp_from_email
            verdict = judge(transaction, own_identity=is_own)
        self._judge_relay(verdict)
        return verdict, session.relay

    def _may_dot(self, replies: tuple[Reply | None, ...]) -> bool:
        """Whether the final dot may go: a sender frozen past its lease must not send it."""
        leased = self._current
        if leased is None:
            return False
        if self._seconds_left(leased) <= self._settings.smtp_dot_timeout.total_seconds():
            return False
        told = replies if any(r is None or r.code // 100 != 2 for r in replies) else ()
        self._journal.write(Dot(leased.delivery_id, self._held.token, told))
        self._is_past_dot = True
        return True

    def _tick(self) -> None:
        """While the relay keeps us waiting: signs of life, old outcomes, leases not started."""
        if self._context.stop.is_requested and not self._is_past_dot:
            raise Interrupted
        oldest = self._outcomes[0].finished if self._outcomes else None
        is_old = oldest is not None and time.monotonic() - oldest > OLDEST_OUTCOME
        try:
            self._context.heartbeat.beat()
            if is_old or (self._context.stop.is_requested and self._held.waiting):
                self._settle()
                self._hand_back()
        except StoreUnavailable as error:
            self._context.outages.note_loss(error)
            self._context.database.drop()

    def _judge_relay(self, verdict: Verdict) -> None:
        """Let the breaker take in what an attempt says about the relay."""
        now = time.monotonic()
        if verdict.trips_breaker:
            reason = str(verdict.reply) if verdict.reply else verdict.attempt_status
            chance = random.random()  # noqa: S311
            if self._breaker.note_fault(verdict.stage, reason, now, chance):
                self._telemetry.relay_fault(verdict.stage, reason)
        elif self._breaker.note_success():
            self._telemetry.relay_recovered()
        state, reason = self._breaker.state(now), self._breaker.reason
        self._context.heartbeat.detail = {"breaker": str(state), "reason": reason}

    # Settling.

    def _note(self, leased: Leased, verdict: Verdict, relay: str, started: float) -> None:
        """Decide what an attempt means and keep it for the settle."""
        finished = time.monotonic()
        policy = self._policies[leased.retry_policy]
        settlement = decide(
            case_of(leased, self._held.token),
            complete(verdict, len(leased.ordinals)),
            now=self._database_now(leased),
            policy=policy,
            chance=random.random(),  # noqa: S311
            is_parked=Lane(leased.lane) in self._parked,
            relay=relay,
            summary=summary_of(verdict),
        )
        self._journal.write(Answered(settlement))
        duration_ms = (finished - started) * 1000
        self._outcomes.append(
            Outcome(leased, settlement, duration_ms, policy.max_attempts, finished)
        )

    def _database_now(self, leased: Leased) -> datetime:
        """Return the database's time: what it said at the lease, and what has passed since."""
        return leased.leased_at + timedelta(seconds=_boottime() - self._held.asked_at)

    def _settle(self) -> None:
        """Record the outcomes that wait; those whose lease was lost are dropped and counted."""
        if not self._outcomes:
            return
        # Until the answer is here, the same outcomes may be settled by this call or not.
        was_doubtful, self._is_settle_doubtful = self._is_settle_doubtful, True
        settlements = [outcome.settlement for outcome in self._outcomes]
        rows = store.settle(self._context.database.conn, settlements)
        self._is_settle_doubtful = False
        outcomes, self._outcomes = self._outcomes, []
        self._journal.write(Settled())
        missing: list[Outcome] = []
        for outcome in outcomes:
            settled = rows.get(outcome.leased.delivery_id)
            if settled is not None:
                report_settled(self._telemetry, outcome, settled)
            else:
                missing.append(outcome)
        self._settle_late(missing, was_doubtful=was_doubtful)

    def _settle_late(self, missing: list[Outcome], *, was_doubtful: bool) -> None:
        """Correct what was taken back before its outcome was recorded, where nothing followed."""
        rows = store.settle_late(
            self._context.database.conn, [outcome.settlement for outcome in missing]
        )
        for outcome in missing:
            corrected = rows.get(outcome.leased.delivery_id)
            if corrected is not None:
                self._telemetry.outcome_corrected(corrected.delivery_id, corrected.status)
            elif not was_doubtful:
                self._telemetry.lease_lost(outcome.leased.delivery_id)


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def main(settings: Settings) -> int:
    """Run a sender until it is told to stop; return the exit code."""
    return process.run("sender", settings, Sender)
