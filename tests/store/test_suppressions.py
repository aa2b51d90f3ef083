"""The list of addresses that get no mail: what puts them on, takes them off, and says so."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from mailworkers.adapters import db
from mailworkers.adapters.store import lease_ready
from mailworkers.adapters.store.operator_actions import list_actions
from mailworkers.adapters.store.suppressions import (
    Listing,
    delete_expired_suppressions,
    list_suppressions,
    put_suppressions,
    remove_suppressions,
)
from mailworkers.core.states import Lane, Status
from tests.deliveries import accept, new_delivery, status

AGO = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2099, 1, 1, tzinfo=UTC)


def put(conn: db.Connection, *listings: Listing) -> list[str]:
    """Put *listings* on the list; return the addresses that changed."""
    changed = put_suppressions(conn, listings, actor="ada", reason="they asked")
    return [suppression.canonical for suppression in changed]


def lease_all(conn: db.Connection) -> None:
    """Lease whatever is ready."""
    lease_ready(
        conn,
        lease_token=uuid4(),
        leased_by=uuid4(),
        lanes=list(Lane),
        after="",
        since={},
        limit=10,
        lease=timedelta(minutes=3),
        is_stub=False,
    )


def trail(conn: db.Connection) -> list[tuple[Any, ...]]:
    """Return the audit trail, oldest first."""
    lines = list_actions(conn, subject=None, before_id=None, limit=50)
    return [
        (line.actor, line.action, line.subject, line.before, line.after, line.reason)
        for line in reversed(lines)
    ]


def test_what_is_put_on_the_list_holds_for_the_next_lease(conn: db.Connection) -> None:
    """Mail that was accepted before the address was listed does not go out."""
    new = new_delivery("bob@example.com")
    accept(conn, new)

    put(conn, Listing("bob@example.com", "complaint"))
    lease_all(conn)

    assert status(conn, new.delivery_id) == Status.SUPPRESSED


def test_a_source_may_have_a_list_of_its_own(conn: db.Connection) -> None:
    """Who wants no newsletter still gets the invoice."""
    letter = new_delivery("bob@example.com", source="newsletter")
    invoice = new_delivery("bob@example.com", source="billing")
    accept(conn, letter, invoice)

    put(conn, Listing("bob@example.com", "unsubscribed", scope="newsletter"))
    lease_all(conn)

    assert status(conn, letter.delivery_id) == Status.SUPPRESSED
    assert status(conn, invoice.delivery_id) == Status.SENDING


def test_a_change_of_the_list_leaves_a_line_and_no_change_none(conn: db.Connection) -> None:
    """Who, what, before, after, why."""
    first = Listing("bob@example.com", "complaint")
    assert put(conn, first) == ["bob@example.com"]
    assert put(conn, first) == []
    assert put(conn, Listing("bob@example.com", "bounced", expires_at=LATER)) == ["bob@example.com"]

    complaint = {"reason": "complaint", "created_by": "ada", "expires_at": None}
    bounced = {"reason": "bounced", "created_by": "ada", "expires_at": LATER.isoformat()}
    subject = "suppression bob@example.com *"
    assert trail(conn) == [
        ("ada", "suppress", subject, None, complaint, "they asked"),
        ("ada", "suppress", subject, complaint, bounced, "they asked"),
    ]


def test_what_is_taken_off_is_told_and_mail_goes_again(conn: db.Connection) -> None:
    """Taking off what is not there does nothing and says nothing."""
    put(conn, Listing("bob@example.com", "complaint"))

    gone = remove_suppressions(
        conn,
        [("bob@example.com", "*"), ("eve@example.com", "*")],
        actor="ada",
        reason="they came back",
    )

    assert [suppression.canonical for suppression in gone] == ["bob@example.com"]
    assert list_suppressions(conn, limit=10) == []
    assert [line[1] for line in trail(conn)] == ["suppress", "unsuppress"]
    new = new_delivery("bob@example.com")
    accept(conn, new)
    lease_all(conn)
    assert status(conn, new.delivery_id) == Status.SENDING


def test_the_list_is_read_in_pages_without_gap_or_repeat(conn: db.Connection) -> None:
    """By address and scope; an import of many is one call."""
    put(conn, *(Listing(f"person{n:03}@example.com", "imported") for n in range(250)))
    seen, after = [], None
    while page := list_suppressions(conn, after=after, limit=100):
        seen += [suppression.canonical for suppression in page]
        after = (page[-1].canonical, page[-1].scope)

    assert seen == [f"person{n:03}@example.com" for n in range(250)]


def test_the_last_word_about_an_address_counts(conn: db.Connection) -> None:
    """One import may name an address twice."""
    put(conn, Listing("bob@example.com", "first"), Listing("bob@example.com", "second"))

    assert [found.reason for found in list_suppressions(conn, limit=10)] == ["second"]


def test_what_has_expired_is_not_shown_and_is_forgotten(conn: db.Connection) -> None:
    """It holds nobody back from the moment its time is over, and goes with the next cleanup."""
    put(conn, Listing("bob@example.com", "holiday", expires_at=AGO))
    put(conn, Listing("eve@example.com", "complaint"))

    assert [found.canonical for found in list_suppressions(conn, limit=10)] == ["eve@example.com"]
    assert delete_expired_suppressions(conn, limit=10) == 1
    assert delete_expired_suppressions(conn, limit=10) == 0
