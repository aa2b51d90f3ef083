"""Pages of deliveries: nothing is skipped or repeated, and no filter is slow."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from mailworkers.adapters import db
from mailworkers.adapters.store.delivery_pages import page_deliveries
from mailworkers.adapters.store.reads import DeliveryFilter, list_deliveries
from mailworkers.core.states import Lane, Status
from tests.deliveries import put

START = datetime(2026, 1, 1, tzinfo=UTC)
MIXED = (Status.DEFERRED, Status.FAILED, Status.SENT, Status.QUEUED, Status.SENDING)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a page look at four, not at ten thousand."""
    monkeypatch.setattr("mailworkers.adapters.store.delivery_pages._MOST_LOOKED_AT", 4)


def put_many(conn: db.Connection, count: int = 30) -> None:
    """Put deliveries of every status and lane, a second apart."""
    for number in range(count):
        put(
            conn,
            list(Status)[number % len(Status)],
            lane=number % 3,
            created_at=START + timedelta(seconds=number // 2),
        )


def pages(conn: db.Connection, wanted: DeliveryFilter, limit: int = 3) -> Iterator[list[UUID]]:
    """Yield the ids of page after page."""
    before = None
    while True:
        found = page_deliveries(conn, wanted, before=before, limit=limit)
        yield [item.delivery_id for item in found.items]
        before = found.next
        if before is None:
            return


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"statuses": MIXED},
        {"statuses": (Status.CANCELLED,)},
        {"statuses": (Status.UNCERTAIN, Status.DEAD_LETTER), "lanes": (Lane.BULK,)},
        {"lanes": (Lane.AUTH,)},
        {"sources": ("notification",), "statuses": tuple(Status)},
        {"created_to": START + timedelta(seconds=5), "statuses": MIXED},
    ],
)
def test_the_pages_together_are_the_whole_list(conn: db.Connection, wanted: dict[str, Any]) -> None:
    """In order, nothing skipped, nothing repeated, however little a page looks at."""
    put_many(conn)
    asked = DeliveryFilter(**wanted)

    seen = [found for page in pages(conn, asked) for found in page]

    assert seen == [d.delivery_id for d in list_deliveries(conn, asked, before=None, limit=99)]
    assert seen


def test_a_filter_that_nothing_passes_gives_empty_pages_to_the_end(conn: db.Connection) -> None:
    """Each has looked at so many; the last one says that there are no more."""
    put_many(conn, 10)

    found = list(pages(conn, DeliveryFilter(template_id="nobody-has-this")))

    assert found == [[], [], []]


def test_no_page_is_longer_than_was_asked_for(conn: db.Connection) -> None:
    """Whatever its parts give together."""
    put_many(conn)

    assert all(len(page) <= 3 for page in pages(conn, DeliveryFilter(statuses=tuple(Status))))
