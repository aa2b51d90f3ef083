"""The line to the relay as one sender knows it: its session, and what the breaker makes of it."""

import random
from collections.abc import Callable

import msgspec

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.shared_breaker import SharedBreaker
from mailworkers.adapters.smtp import Session
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.core.adoption import verdict_of_poison
from mailworkers.core.breaker import State
from mailworkers.core.errors import RelayUnavailable
from mailworkers.core.replies import RecipientVerdict, Result, Verdict, judge, judge_unavailable
from mailworkers.core.wire import Envelope, Reply, UnsafeOnWire

_SHOWN, _WIDTH = 30, 200  # lines of a transcript, and characters of one, for a heartbeat


class Line:
    """One session at a time with the relay, kept between messages."""

    def __init__(self, settings: Settings, telemetry: Telemetry) -> None:
        self._session = Session(settings.smtp_settings())
        self._telemetry = telemetry
        self._breaker = SharedBreaker(settings, self.relay)
        self._faulty: tuple[str, ...] = ()

    @property
    def relay(self) -> str:
        """Return the relay as `host:port`."""
        return self._session.relay

    @property
    def state(self) -> State:
        """Return what the breaker lets through now."""
        return self._breaker.state()

    def look(self) -> None:
        """Take in what other senders have found out about the relay."""
        self._breaker.look()

    def tick(self) -> None:
        """Say, while a message is under way, that we are still at it."""
        self._breaker.keep_probe()

    @property
    def reason(self) -> str:
        """Return why the breaker is not closed, "" when it is."""
        return self._breaker.reason

    @property
    def transcript(self) -> tuple[str, ...]:
        """Return how the last session ended that spoke against the relay; () when it is well."""
        return tuple(line[:_WIDTH] for line in self._faulty) if self.reason else ()

    def seconds_to_probe(self) -> float:
        """Return how long nothing may pass, 0 when something may."""
        return self._breaker.seconds_to_probe()

    def attempt(
        self,
        envelope: Envelope,
        mime: bytes,
        *,
        is_own_identity: bool,
        before_dot: Callable[[tuple[Reply | None, ...]], bool],
        tick: Callable[[], None],
    ) -> Verdict:
        """Return what one transaction came to, for every recipient of *envelope*.

        What *before_dot* and *tick* raise comes out as it is; the session is closed then.
        """
        recipients = len(envelope.rcpt_to)
        try:
            if not self._session.is_usable():
                self._session.open(tick=tick)
            transaction = self._session.transact(envelope, mime, before_dot=before_dot, tick=tick)
        except UnsafeOnWire as error:
            self._telemetry.failed("message unsafe on the wire", error)
            return verdict_of_poison(recipients)
        except RelayUnavailable as error:
            verdict = judge_unavailable(
                error.stage, error.reply, timed_out=error.timed_out, reason=error.reason
            )
            nobody = (RecipientVerdict(Result.DEFERRED, verdict.reply),) * recipients
            verdict = msgspec.structs.replace(verdict, recipients=nobody)
        except BaseException:
            self._session.close()
            raise
        else:
            verdict = judge(transaction, own_identity=is_own_identity)
        self._judge_relay(verdict)
        return verdict

    def _judge_relay(self, verdict: Verdict) -> None:
        """Let the breaker take in what an attempt says about the relay."""
        if not verdict.trips_breaker:
            if self._breaker.note_success():
                self._telemetry.relay_recovered()
            return
        self._faulty = self._session.transcript[-_SHOWN:]
        reason = verdict.reason or str(verdict.reply or verdict.in_words)
        chance = random.random()  # noqa: S311
        if self._breaker.note_fault(verdict.stage, reason, chance):
            self._telemetry.relay_fault(verdict.stage, reason)

    def close(self) -> None:
        """Leave the relay politely."""
        self._session.close()
        self._breaker.close()
