"""Operations on the stores that this host's settings name."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from mailworkers.adapters.policies import retry_policies
from mailworkers.adapters.store import histories, pauses, reads, suppressions
from mailworkers.adapters.store.delivery_pages import page_deliveries
from mailworkers.adapters.store.histories import Event
from mailworkers.adapters.store.pauses import Pause
from mailworkers.adapters.store.reads import Attempt, Delivery, DeliveryFilter, DeliverySummary
from mailworkers.adapters.store.suppressions import Key, Listing, Suppression
from mailworkers.cli.acting import actor, wake_senders
from mailworkers.cli.host_reviews import HostReviews
from mailworkers.cli.host_verbs import HostVerbs
from mailworkers.cli.paging import all_pages
from mailworkers.core.explanations import Explanation
from mailworkers.core.situations import Situation
from mailworkers.core.states import Lane

_PAGE = 1000


class HostOperations(HostVerbs, HostReviews):
    """Asks and changes the stores, as the API does; connections are opened when they are needed."""

    def look(self) -> Situation:
        """Return how the whole service stands."""
        return self._observer.look()

    def find_deliveries(
        self, wanted: DeliveryFilter, canonical: str | None, limit: int
    ) -> list[DeliverySummary]:
        """Return up to *limit* deliveries, newest first."""
        if canonical is None:
            return all_pages(
                lambda before, left: page_deliveries(self._conn, wanted, before=before, limit=left),
                limit,
            )
        return reads.list_deliveries_to(self._conn, canonical, wanted, before=None, limit=limit)

    def find_delivery(self, delivery_id: UUID) -> Delivery | None:
        """Return one delivery with its recipients."""
        found = reads.find_delivery(self._conn, delivery_id)
        if found is None:
            return None
        recipients = reads.list_recipients(self._conn, delivery_id)
        return msgspec.structs.replace(found, recipients=recipients)

    def list_attempts(self, delivery_id: UUID, limit: int) -> list[Attempt]:
        """Return up to *limit* attempts of a delivery, newest first."""
        return reads.list_attempts(self._conn, delivery_id, before_no=None, limit=limit)

    def timeline(self, delivery_id: UUID) -> list[Event] | None:
        """Return what happened to a delivery, oldest first."""
        found = reads.find_delivery(self._conn, delivery_id)
        return None if found is None else histories.timeline(self._conn, found)

    def explain(self, delivery_id: UUID) -> Explanation | None:
        """Return in words how it stands with a delivery."""
        found = reads.find_delivery(self._conn, delivery_id)
        if found is None:
            return None
        return histories.explain_delivery(self._conn, found, retry_policies(self._settings))

    def list_pauses(self) -> list[Pause]:
        """Return the pauses that hold now, oldest first."""
        return pauses.list_pauses(self._conn)

    def add_pause(
        self, lane: Lane | None, source: str | None, ends_at: datetime | None, reason: str
    ) -> Pause:
        """Hold back a lane, a source, both together or everything."""
        return pauses.add_pause(
            self._conn, lane=lane, source=source, actor=actor(), reason=reason, ends_at=ends_at
        )

    def remove_pause(self, pause_id: int, reason: str) -> Pause | None:
        """End a pause before its time; senders are told."""
        ended = pauses.remove_pause(self._conn, pause_id, actor=actor(), reason=reason)
        if ended is not None:
            wake_senders()
        return ended

    def list_suppressions(self, canonical: str | None, limit: int) -> list[Suppression]:
        """Return up to *limit* suppressions, or those of one address."""
        return suppressions.list_suppressions(self._conn, canonical=canonical, limit=limit)

    def all_suppressions(self) -> Iterator[Suppression]:
        """Yield the whole list, by address and scope."""
        after = None
        while page := suppressions.list_suppressions(self._conn, after=after, limit=_PAGE):
            yield from page
            after = (page[-1].canonical, page[-1].scope)

    def put_suppressions(self, listings: Sequence[Listing], reason: str) -> list[Suppression]:
        """Put *listings* on the list; return what changed by it."""
        return suppressions.put_suppressions(self._conn, listings, actor=actor(), reason=reason)

    def remove_suppressions(self, keys: Sequence[Key], reason: str) -> list[Suppression]:
        """Take (canonical, scope) pairs off the list; return what stood there."""
        return suppressions.remove_suppressions(self._conn, keys, actor=actor(), reason=reason)
