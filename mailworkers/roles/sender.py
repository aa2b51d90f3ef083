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
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from mailworkers.adapters import process, store
from mailworkers.adapters.adoption import Adopter
from mailworkers.adapters.crash_points import Point, reached
from mailworkers.adapters.journal import SenderJournal
from mailworkers.adapters.leasing import Batch, Leasing
from mailworkers.adapters.line import Line
from mailworkers.adapters.outcomes import Outcome, Outcomes, milliseconds, report_ended
from mailworkers.adapters.policies import parked_lanes, retry_policies
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.store import Leased
from mailworkers.adapters.stream import SENDER_WAKE
from mailworkers.core.addresses import needs_smtputf8
from mailworkers.core.adoption import verdict_of_poison
from mailworkers.core.breaker import State
from mailworkers.core.errors import StoreUnavailable
from mailworkers.core.journal import Begin, Dot
from mailworkers.core.replies import Verdict
from mailworkers.core.settlement import Case, decide
from mailworkers.core.states import Lane, PayloadMode, RecipientStatus, Status
from mailworkers.core.watermarks import Sweeps
from mailworkers.core.wire import Envelope, Reply

# No outcome waits longer than this for its batch, no lease for its turn.
LONGEST_BATCH = 1.0
_STRAYS_EVERY = 10.0
_ADOPT_EVERY = timedelta(seconds=5)
_BODY_RATE = 65536  # bytes a second a relay must at least take


class Interrupted(Exception):  # noqa: N818
    """The process was told to stop while a transaction had not reached its final dot."""


class Sender:
    """Leases, delivers, settles."""

    def __init__(self, context: process.Context) -> None:
        settings = context.settings
        self._context = context
        self._settings = settings
        self._policies = retry_policies(settings)
        self._parked = parked_lanes(settings)
        self._is_stub = settings.smtp_mode == "stub"
        self._line = None if self._is_stub else Line(settings, context.telemetry)
        self._journal = SenderJournal(settings.state_dir)
        self._outcomes = Outcomes(context.database, self._journal, context.telemetry)
        self._adopter = Adopter(settings.state_dir, self._policies, self._parked, context.telemetry)
        self._adoption = process.Every(_ADOPT_EVERY)
        self._strays = Sweeps(_STRAYS_EVERY)
        self._leasing = Leasing(settings, self.holder_id, self._parked)
        self._batch = Batch(uuid4(), 0.0, [])
        self._current: Leased | None = None
        self._is_past_dot = False

    @property
    def holder_id(self) -> UUID:
        """Return who holds the leases of this process: its journal."""
        return self._journal.journal_id

    # One step: lease a batch, try each, settle.

    def step(self) -> bool:
        """Lease a batch, try each delivery, settle the outcomes; False when nothing was ready."""
        self._outcomes.settle()
        self._keep_house()
        if self._line_state() is State.OPEN or self._journal.is_full or not self._lease():
            return False
        reached(Point.LEASED)
        started, leased = time.monotonic(), len(self._batch.waiting)
        last = Lane(self._batch.waiting[-1].lane) if leased else Lane.NORMAL
        while self._batch.waiting and self._may_start(self._batch.waiting[0]):
            self._deliver(self._batch.waiting.popleft())
        self._leasing.pace.note(leased - len(self._batch.waiting), time.monotonic() - started, last)
        if self._batch.waiting:
            self._hand_back()
        self._outcomes.settle()
        return True

    def wait(self) -> None:
        """Wait for a wake-up, one poll, or the time of the breaker's probe."""
        pause = self._line.seconds_to_probe() if self._line else 0.0
        if pause > 0:
            self._context.stop.wait(min(timedelta(seconds=pause), self._settings.poll))
        elif not self._context.waker.wait(SENDER_WAKE, self._settings.poll):
            self._context.stop.wait(self._settings.poll)

    def interrupt(self, store_name: str) -> None:
        """What was not started is handed back when the store is there again."""
        if store_name != "redis":
            self._batch.waiting.clear()
            self._current = None
            self._strays = Sweeps(_STRAYS_EVERY)
            self._adoption = process.Every(_ADOPT_EVERY)

    def close(self) -> None:
        """Settle what is known, hand back what was not started, leave the relay politely."""
        is_clean = False
        try:
            self._outcomes.settle()
            self._hand_back()
            is_clean = True
        finally:
            self._journal.close(is_done=is_clean)
            if self._line is not None:
                self._line.close()

    def _keep_house(self) -> None:
        """Adopt the journals of the dead, give up leases whose answer was lost."""
        if self._adoption.is_due():
            self._adopter.adopt(self._context.database.conn)
        if self._strays.is_due(began := time.monotonic()):
            self._hand_back()
            self._strays.note(began, time.monotonic())
        self._journal.renew()
        if self._line is not None:
            self._line.look()
            self._context.heartbeat.detail = {
                "breaker": str(self._line_state()),
                "reason": self._line.reason,
                "transcript": self._line.transcript,
                "lately": self._outcomes.lately.facts(),
            }

    # Leasing.

    def _line_state(self) -> State:
        return self._line.state if self._line is not None else State.CLOSED

    def _lease(self) -> bool:
        """Lease the next batch; True when there is something to deliver or was to be ended."""
        is_probe = self._line_state() is State.HALF_OPEN
        batch = self._leasing.next(self._context.database.conn, is_probe=is_probe)
        if batch is None:
            return False
        self._take(batch)
        if batch.is_full and not is_probe:
            self._context.waker.wake_senders()
        return True

    def _take(self, batch: Batch) -> None:
        """Hold a batch; report the rows that the lease itself has ended."""
        self._batch = batch
        for leased in [row for row in batch.waiting if row.status != Status.SENDING]:
            batch.waiting.remove(leased)
            attempts = self._policies[leased.retry_policy].max_attempts
            report_ended(self._context.telemetry, leased, leased.failure or "", attempts)

    def _hand_back(self) -> None:
        """Give up every lease that is not in the middle of its attempt or waiting to be settled."""
        self._batch.waiting.clear()
        self._outcomes.reconcile()
        held = self._outcomes.delivery_ids
        if self._current is not None:
            held.append(self._current.delivery_id)
        store.hand_back(self._context.database.conn, leased_by=self.holder_id, held=held)

    def _seconds_left(self, leased: Leased) -> float:
        """Return how much of the lease of a row is left, never more than the database thinks."""
        span = self._settings.lease.total_seconds() + leased.mime_size / _BODY_RATE
        return span - self._batch.age()

    def _may_start(self, leased: Leased) -> bool:
        """Whether a transaction may begin now.

        Not when stopping or the breaker opened, not what has expired or its lease cannot cover, and
        not when the batch has taken long: others get the rest, and its outcomes are settled.
        """
        if self._context.stop.is_requested or self._line_state() is State.OPEN:
            return False
        if self._batch.age() > LONGEST_BATCH and self._outcomes.age() > 0:
            return False
        self._tick()
        if not self._batch.waiting:  # the tick has handed them back
            return False
        if leased.expires_at is not None and leased.expires_at <= self._database_now(leased):
            return False
        phases = 3 * self._settings.smtp_timeout.total_seconds()
        dot = self._settings.smtp_dot_timeout.total_seconds()
        return self._seconds_left(leased) > phases + dot + leased.mime_size / _BODY_RATE

    # Delivering.

    def _deliver(self, leased: Leased) -> None:
        """Carry one delivery to the relay and keep its outcome for the settle."""
        mime, leased.mime = leased.mime, None
        if mime is None:
            mime = store.load_mime(self._context.database.conn, leased.delivery_id)
        reached(Point.MIME_IN_HAND)
        self._journal.write(Begin(leased.delivery_id, self._batch.token))
        self._current, self._is_past_dot = leased, False
        started = time.monotonic()
        try:
            verdict = self._attempt(leased, mime)
        except Interrupted:
            verdict = None
        if verdict is not None:
            self._note(leased, verdict, started)
        self._current = None

    def _attempt(self, leased: Leased, mime: bytes | None) -> Verdict:
        """Return what one transaction came to; without its bytes there is nothing to try."""
        if self._line is None:
            raise RuntimeError("in stub mode the lease ends every delivery")
        if mime is None:
            return verdict_of_poison(len(leased.addresses))
        return self._line.attempt(
            _envelope(leased, mime),
            mime,
            is_own_identity=leased.mail_from == self._settings.smtp_from_email,
            before_dot=self._may_dot,
            tick=self._tick,
        )

    def _may_dot(self, replies: tuple[Reply | None, ...]) -> bool:
        """Whether the final dot may go: a sender frozen past its lease must not send it.

        Asked again once the journal says that it goes: whoever was frozen while it was being
        written takes that back.
        """
        leased = self._current
        if leased is None or not self._outlasts_dot(leased):
            return False
        reached(Point.DOT_NOT_MARKED)
        told = replies if any(r is None or r.code // 100 != 2 for r in replies) else ()
        self._journal.write(Dot(leased.delivery_id, self._batch.token, told))
        reached(Point.DOT_MARKED)
        if not self._outlasts_dot(leased):
            self._journal.write(Begin(leased.delivery_id, self._batch.token))
            return False
        self._is_past_dot = True
        return True

    def _outlasts_dot(self, leased: Leased) -> bool:
        """Whether the lease of a row covers the longest wait for the reply to its dot."""
        return self._seconds_left(leased) > self._settings.smtp_dot_timeout.total_seconds()

    def _tick(self) -> None:
        """Between and within transactions: signs of life, old outcomes, leases not started."""
        is_stopping = self._context.stop.is_requested
        if is_stopping and self._current is not None and not self._is_past_dot:
            raise Interrupted
        if self._line is not None:
            self._line.tick()
        try:
            self._context.heartbeat.beat()
            if self._outcomes.age() > LONGEST_BATCH or (is_stopping and self._batch.waiting):
                self._outcomes.settle()
                self._hand_back()
        except StoreUnavailable as error:
            self._context.outages.note_loss(error)
            self._context.database.drop()

    def _note(self, leased: Leased, verdict: Verdict, started: float) -> None:
        """Decide what an attempt means and keep it for the settle."""
        finished = time.monotonic()
        policy = self._policies[leased.retry_policy]
        settlement = decide(
            _case(leased, self._batch.token),
            verdict,
            now=self._database_now(leased),
            policy=policy,
            chance=random.random(),  # noqa: S311
            is_parked=Lane(leased.lane) in self._parked,
            relay=self._line.relay if self._line else "",
            summary=verdict.in_words,
        )
        self._outcomes.add(
            Outcome(
                settlement,
                policy.max_attempts,
                duration_ms=(finished - started) * 1000,
                lateness_ms=_lateness(leased),
                finished=finished,
            )
        )

    def _database_now(self, leased: Leased) -> datetime:
        """Return the database's time: what it said at the lease, and what has passed since."""
        return leased.leased_at + timedelta(seconds=self._batch.age())


def _lateness(leased: Leased) -> float | None:
    """Return by how many milliseconds a retry runs after its time, None for a first try."""
    if leased.due_at is None or leased.attempt_no == 1:
        return None
    return milliseconds(leased.due_at, leased.leased_at)


def _envelope(leased: Leased, mime: bytes) -> Envelope:
    """Return the envelope for the recipients that are still open."""
    # Headers may need SMTPUTF8 where the envelope does not: a Reply-To, a recipient dropped since.
    needs_utf8 = not mime.isascii() or any(map(needs_smtputf8, leased.addresses))
    return Envelope(
        mail_from=leased.mail_from,
        rcpt_to=tuple(leased.addresses),
        size=len(mime),
        smtputf8=needs_utf8 or needs_smtputf8(leased.mail_from),
    )


def _case(leased: Leased, lease_token: UUID) -> Case:
    return Case(
        delivery_id=leased.delivery_id,
        lease_token=lease_token,
        payload_mode=PayloadMode(leased.payload_mode),
        cycle_attempt=leased.cycle_attempt,
        expires_at=leased.expires_at,
        ordinals=leased.ordinals,
        closed=[RecipientStatus(status) for status in leased.closed],
    )


def main(settings: Settings) -> int:
    """Run a sender until it is told to stop; return the exit code."""
    return process.run("sender", settings, Sender)
