"""What commands ask and do, whichever way they reach it: on the stores, or through the API.

`HostOperations` and `HttpOperations` both are this; the records are those of the store, on either
side. StoreUnavailable, ApiUnavailable and ApiRefused pass through: `main` turns them into lines.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

import msgspec

from mailworkers.adapters.store.dead_letters import DeadLetter, DeadLetterFilter
from mailworkers.adapters.store.histories import Event
from mailworkers.adapters.store.malformed import MalformedCommand, MalformedFilter
from mailworkers.adapters.store.pauses import Pause
from mailworkers.adapters.store.reads import Attempt, Delivery, DeliveryFilter, DeliverySummary
from mailworkers.adapters.store.replays import Replay, ReplayPlan
from mailworkers.adapters.store.suppressions import Key, Listing, Suppression
from mailworkers.core.explanations import Explanation
from mailworkers.core.situations import Situation
from mailworkers.core.states import Lane


class Done(msgspec.Struct, frozen=True):
    """What a verb made of a delivery: its status, or `pending`; *hindrance*: nothing was changed,
    and *words* say why."""

    status: str
    hindrance: str | None = None
    words: str = ""


class Clone(msgspec.Struct, frozen=True):
    """The delivery that a resend made, or made before; none where there is a *refusal*."""

    delivery_id: UUID | None
    is_replay: bool = False
    is_suppressed: bool = False
    refusal: str | None = None
    words: str = ""


class Taken(msgspec.Struct, frozen=True):
    """The delivery that a refused entry became; without one *reason*, and *words* for people."""

    delivery_id: UUID | None
    is_new: bool = False
    reason: str | None = None
    words: str = ""


class Operations(Protocol):
    """Questions answer None where there is no such thing; changes leave a line in the trail."""

    def look(self) -> Situation:
        """Return how the whole service stands."""

    def find_deliveries(
        self, wanted: DeliveryFilter, canonical: str | None, limit: int
    ) -> list[DeliverySummary]:
        """Return up to *limit* deliveries, newest first; with *canonical* those to this address."""

    def find_delivery(self, delivery_id: UUID) -> Delivery | None:
        """Return one delivery with its recipients."""

    def list_attempts(self, delivery_id: UUID, limit: int) -> list[Attempt]:
        """Return up to *limit* attempts of a delivery, newest first."""

    def timeline(self, delivery_id: UUID) -> list[Event] | None:
        """Return what happened to a delivery, oldest first."""

    def explain(self, delivery_id: UUID) -> Explanation | None:
        """Return in words how it stands with a delivery."""

    def cancel(self, delivery_id: UUID, reason: str) -> Done | None:
        """Withdraw a delivery before it is sent."""

    def requeue(self, delivery_id: UUID, reason: str, expires_at: datetime | None) -> Done | None:
        """Send a delivery again that is in trouble."""

    def resend(
        self, delivery_id: UUID, reason: str, key: str | None, expires_at: datetime | None
    ) -> Clone | None:
        """Send what an ended delivery says anew; the same *key* twice sends once."""

    def list_dead_letters(self, wanted: DeadLetterFilter, limit: int) -> list[DeadLetter]:
        """Return up to *limit* dead letters, newest first."""

    def find_dead_letter(self, number: int) -> DeadLetter | None:
        """Return one dead letter, also one that is none any more."""

    def resolve_dead_letter(self, number: int, note: str) -> DeadLetter | None:
        """Note that one was seen to; None also where it is no dead letter any more."""

    def plan_replay(
        self, wanted: DeadLetterFilter, rate: float, expires_at: datetime | None, reason: str
    ) -> ReplayPlan:
        """Return what a replay would do; nothing is changed."""

    def order_replay(
        self, wanted: DeadLetterFilter, rate: float, expires_at: datetime | None, reason: str
    ) -> Replay | None:
        """Have dead letters sent again at *rate* a second; None where none can be."""

    def list_replays(self, limit: int) -> list[Replay]:
        """Return up to *limit* replays, newest first."""

    def find_replay(self, replay_id: int) -> Replay | None:
        """Return one replay and what became of its deliveries."""

    def cancel_replay(self, replay_id: int, reason: str) -> Replay | None:
        """Have what a replay left scheduled put back."""

    def list_malformed(self, wanted: MalformedFilter, limit: int) -> list[MalformedCommand]:
        """Return up to *limit* refused entries, newest first."""

    def find_malformed(self, number: int) -> MalformedCommand | None:
        """Return one refused entry, without what stood in it."""

    def read_malformed(self, number: int) -> dict[str, str] | None:
        """Return what stood in a refused entry, None where it was not kept."""

    def replay_malformed(self, number: int, reason: str, *, is_dry: bool) -> Taken | None:
        """Judge a refused entry again, and accept it if nothing speaks against it.

        A dry run says what would become of it.
        """

    def list_pauses(self) -> list[Pause]:
        """Return the pauses that hold now, oldest first."""

    def add_pause(
        self, lane: Lane | None, source: str | None, ends_at: datetime | None, reason: str
    ) -> Pause:
        """Hold back a lane, a source, both together or everything."""

    def remove_pause(self, pause_id: int, reason: str) -> Pause | None:
        """End a pause before its time; senders are told."""

    def list_suppressions(self, canonical: str | None, limit: int) -> list[Suppression]:
        """Return up to *limit* suppressions, or those of one address."""

    def all_suppressions(self) -> Iterator[Suppression]:
        """Yield the whole list, by address and scope."""

    def put_suppressions(self, listings: Sequence[Listing], reason: str) -> list[Suppression]:
        """Put *listings* on the list; return what changed by it."""

    def remove_suppressions(self, keys: Sequence[Key], reason: str) -> list[Suppression]:
        """Take (canonical, scope) pairs off the list; return what stood there."""

    def close(self) -> None:
        """Let go of connections."""
