"""Operations through the internal API: the same questions and changes, for whoever has a token.

Who changes something is, in the audit trail, the token's name. Lists longer than a page are read
page by page.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from http import HTTPStatus
from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from mailworkers.adapters.api_client import ApiClient, Parameters, segment
from mailworkers.adapters.store.histories import Event
from mailworkers.adapters.store.pauses import Pause
from mailworkers.adapters.store.reads import Attempt, Delivery, DeliveryFilter, DeliverySummary
from mailworkers.adapters.store.suppressions import Key, Listing, Suppression
from mailworkers.core.errors import ApiRefused, ConfigError
from mailworkers.core.explanations import Explanation
from mailworkers.core.situations import Situation
from mailworkers.core.states import Lane

_LARGEST_PAGE = 200

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Page(msgspec.Struct, Generic[Item]):
    """Part of a list; `next_cursor` leads to the rest."""

    items: list[Item]
    next_cursor: str | None = None


class HttpOperations:
    """Asks the API at *url*; ConfigError when that is not the URL of one."""

    def __init__(self, url: str, token: str | None) -> None:
        try:
            self._client = ApiClient(url, token)
        except ValueError as error:
            raise ConfigError(f"--api or MAIL_API_URL: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

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
        return list(self._pages("/deliveries", Page[DeliverySummary], parameters, limit))

    def find_delivery(self, delivery_id: UUID) -> Delivery | None:
        """Return one delivery with its recipients."""
        return self._find(f"/deliveries/{delivery_id}", Delivery)

    def list_attempts(self, delivery_id: UUID, limit: int) -> list[Attempt]:
        """Return up to *limit* attempts of a delivery, newest first."""
        return list(self._pages(f"/deliveries/{delivery_id}/attempts", Page[Attempt], (), limit))

    def timeline(self, delivery_id: UUID) -> list[Event] | None:
        """Return what happened to a delivery, oldest first."""
        found = self._find(f"/deliveries/{delivery_id}/timeline", Page[Event])
        return None if found is None else found.items

    def explain(self, delivery_id: UUID) -> Explanation | None:
        """Return in words how it stands with a delivery."""
        return self._find(f"/deliveries/{delivery_id}/explain", Explanation)

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
            "ends_at_ms": _milliseconds(ends_at),
        }
        body = {"reason": reason} | {name: it for name, it in wish.items() if it is not None}
        return self._client.post("/pauses", Pause, body)

    def remove_pause(self, pause_id: int, reason: str) -> Pause | None:
        """End a pause before its time; senders are told."""
        why = [("reason", reason)]
        return _or_none(lambda: self._client.delete(f"/pauses/{pause_id}", Pause, why))

    def list_suppressions(self, canonical: str | None, limit: int) -> list[Suppression]:
        """Return up to *limit* suppressions, or those of one address."""
        if canonical is None:
            return list(self._pages("/suppressions", Page[Suppression], (), limit))
        found = self._find(f"/suppressions/{segment(canonical)}", Page[Suppression])
        return [] if found is None else found.items[:limit]

    def all_suppressions(self) -> Iterator[Suppression]:
        """Yield the whole list, by address and scope."""
        return self._pages("/suppressions", Page[Suppression], (), None)

    def put_suppressions(self, listings: Sequence[Listing], reason: str) -> list[Suppression]:
        """Put *listings* on the list, one by one; return what changed by it."""
        changed = []
        for listing in listings:
            before = self.list_suppressions(listing.canonical, _LARGEST_PAGE)
            body: dict[str, object] = {"reason": listing.reason or reason, "scope": listing.scope}
            if listing.expires_at is not None:
                body["expires_at_ms"] = _milliseconds(listing.expires_at)
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
            found = _or_none(partial(ask, [("reason", reason), ("scope", scope)]))
            gone += found.items if found is not None else []
        return gone

    def _find(self, path: str, kind: type[Answer]) -> Answer | None:
        """Return what is at *path*, None when there is no such thing."""
        return _or_none(lambda: self._client.get(path, kind))

    def _pages(
        self, path: str, kind: type[Page[Item]], parameters: Parameters, limit: int | None
    ) -> Iterator[Item]:
        """Yield up to *limit* items of a list, or all of them."""
        given, left, cursor = list(parameters), limit, None
        while left is None or left > 0:
            size = _LARGEST_PAGE if left is None else min(left, _LARGEST_PAGE)
            page = self._client.get(path, kind, [*given, ("limit", size), ("cursor", cursor)])
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return
            left = None if left is None else left - len(page.items)


def _or_none(ask: Callable[[], Answer]) -> Answer | None:
    """Return the answer, None when it is that there is no such thing."""
    try:
        return ask()
    except ApiRefused as error:
        if error.status != HTTPStatus.NOT_FOUND or error.code != "not_found":
            raise
        return None


def _milliseconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)
