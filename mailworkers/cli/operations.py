"""What commands ask and do, whichever way they reach it: on the stores, or through the API.

`HostOperations` and `HttpOperations` both are this; the records are those of the store, on either
side. StoreUnavailable, ApiUnavailable and ApiRefused pass through: `main` turns them into lines.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Protocol
from uuid import UUID

from mailworkers.adapters.store.histories import Event
from mailworkers.adapters.store.pauses import Pause
from mailworkers.adapters.store.reads import Attempt, Delivery, DeliveryFilter, DeliverySummary
from mailworkers.adapters.store.suppressions import Key, Listing, Suppression
from mailworkers.core.explanations import Explanation
from mailworkers.core.situations import Situation
from mailworkers.core.states import Lane


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
