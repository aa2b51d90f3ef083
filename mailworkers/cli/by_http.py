"""Operations through the internal API: the same questions and changes, for whoever has a token.

Who changes something is, in the audit trail, the token's name. Lists longer than a page are read
page by page.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from mailworkers.adapters.api_client import segment
from mailworkers.adapters.store.histories import Event
from mailworkers.adapters.store.pauses import Pause
from mailworkers.adapters.store.reads import Attempt, Delivery, DeliveryFilter, DeliverySummary
from mailworkers.adapters.store.suppressions import Key, Listing, Suppression
from mailworkers.cli.http_pages import LARGEST_PAGE, Page, milliseconds, or_none
from mailworkers.cli.http_reviews import HttpReviews
from mailworkers.cli.http_verbs import HttpVerbs
from mailworkers.core.explanations import Explanation
from mailworkers.core.situations import Situation
from mailworkers.core.states import Lane


class HttpOperations(HttpVerbs, HttpReviews):
    """Asks the API at *url*; ConfigError when that is not the URL of one."""

    def look(self) -> Situation:
        """Return how the whole service stands, as the API sees it."""
        return self._client.get("/status", Situation)

    def find_deliveries(
        self, wanted: DeliveryFilter, canonical: str | None, limit: int
    ) -> list[DeliverySummary]:
        """Return up to *limit* deliveries, newest first."""
        parameters = [
            *(("status", status) for status in wanted.statuses),
            *(("source", source) for source in wanted.sources),
            *(("lane", lane.label) for lane in wanted.lanes),
            ("recipient", canonical),
            ("template", wanted.template_id),
            ("from", wanted.created_from and wanted.created_from.isoformat()),
            ("to", wanted.created_to and wanted.created_to.isoformat()),
        ]
        return self.pages("/deliveries", Page[DeliverySummary], parameters, limit)

    def find_delivery(self, delivery_id: UUID) -> Delivery | None:
        """Return one delivery with its recipients."""
        return self.find(f"/deliveries/{delivery_id}", Delivery)

    def list_attempts(self, delivery_id: UUID, limit: int) -> list[Attempt]:
        """Return up to *limit* attempts of a delivery, newest first."""
        return self.pages(f"/deliveries/{delivery_id}/attempts", Page[Attempt], (), limit)

    def timeline(self, delivery_id: UUID) -> list[Event] | None:
        """Return what happened to a delivery, oldest first."""
        found = self.find(f"/deliveries/{delivery_id}/timeline", Page[Event])
        return None if found is None else found.items

    def explain(self, delivery_id: UUID) -> Explanation | None:
        """Return in words how it stands with a delivery."""
        return self.find(f"/deliveries/{delivery_id}/explain", Explanation)

    def list_pauses(self) -> list[Pause]:
        """Return the pauses that hold now, oldest first."""
        return self._client.get("/pauses", Page[Pause]).items

    def add_pause(
        self, lane: Lane | None, source: str | None, ends_at: datetime | None, reason: str
    ) -> Pause:
        """Hold back a lane, a source, both together or everything."""
        wish = {
            "lane": lane.label if lane is not None else None,
            "source": source,
            "ends_at_ms": milliseconds(ends_at),
        }
        body = {"reason": reason} | {name: it for name, it in wish.items() if it is not None}
        return self._client.post("/pauses", Pause, body)

    def remove_pause(self, pause_id: int, reason: str) -> Pause | None:
        """End a pause before its time; senders are told."""
        why = [("reason", reason)]
        return or_none(lambda: self._client.delete(f"/pauses/{pause_id}", Pause, why))

    def list_suppressions(self, canonical: str | None, limit: int) -> list[Suppression]:
        """Return up to *limit* suppressions, or those of one address."""
        if canonical is None:
            return self.pages("/suppressions", Page[Suppression], (), limit)
        found = self.find(f"/suppressions/{segment(canonical)}", Page[Suppression])
        return [] if found is None else found.items[:limit]

    def all_suppressions(self) -> Iterator[Suppression]:
        """Yield the whole list, by address and scope."""
        return self.whole("/suppressions", Page[Suppression])

    def put_suppressions(self, listings: Sequence[Listing], reason: str) -> list[Suppression]:
        """Put *listings* on the list, one by one; return what changed by it."""
        changed = []
        for listing in listings:
            before = self.list_suppressions(listing.canonical, LARGEST_PAGE)
            body: dict[str, object] = {"reason": listing.reason or reason, "scope": listing.scope}
            if listing.expires_at is not None:
                body["expires_at_ms"] = milliseconds(listing.expires_at)
            path = f"/suppressions/{segment(listing.canonical)}"
            made = self._client.put(path, Suppression, body)
            if made not in before:
                changed.append(made)
        return changed

    def remove_suppressions(self, keys: Sequence[Key], reason: str) -> list[Suppression]:
        """Take (canonical, scope) pairs off the list; return what stood there."""
        gone: list[Suppression] = []
        for canonical, scope in keys:
            path = f"/suppressions/{segment(canonical)}"
            ask = partial(self._client.delete, path, Page[Suppression])
            found = or_none(partial(ask, [("reason", reason), ("scope", scope)]))
            gone += found.items if found is not None else []
        return gone
