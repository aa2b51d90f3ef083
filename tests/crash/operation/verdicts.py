"""What every fault must leave behind: nothing lost, no copy too many without a doubt on record."""

import time
from collections import Counter
from collections.abc import Callable
from uuid import UUID

from mailworkers.adapters import db
from tests.relay import Relay


def copies(relay: Relay) -> Counter[str]:
    """Return how often the relay took the message of each delivery, by its recipient's name."""
    return Counter(message.rcpt_to[0].split("@")[0] for message in relay.accepted)


def count(conn: db.Connection, status: str) -> int:
    """Return how many deliveries have *status*."""
    row = conn.execute("SELECT count(*) FROM deliveries WHERE status = %s", [status]).fetchone()
    return int(row[0]) if row else 0


def doubts(conn: db.Connection) -> Counter[str]:
    """Return how many attempts of each delivery ended without anybody knowing how, by its id."""
    rows = conn.execute(
        "SELECT delivery_id, count(*) FROM attempts WHERE outcome = 'unknown' GROUP BY 1"
    ).fetchall()
    return Counter({str(delivery_id): number for delivery_id, number in rows})


def assert_each_arrived(conn: db.Connection, relay: Relay, ids: list[str]) -> None:
    """All of *ids* are `sent`, each came at least once, and more often only where in doubt."""
    came, unknown = copies(relay), doubts(conn)

    assert set(came) == set(ids)
    assert count(conn, "sent") == len(ids)
    assert {key: number for key, number in came.items() if number > 1 + unknown[key]} == {}
    assert_attempts_are_in_order(conn)


def assert_attempts_are_in_order(conn: db.Connection) -> None:
    """Attempts of a delivery are 1..n without a gap, and as many as its row says (I-08)."""
    wrong = conn.execute(
        "SELECT d.delivery_id, d.attempt_no, array_agg(a.attempt_no ORDER BY a.attempt_no)"
        " FROM deliveries d JOIN attempts a USING (delivery_id) GROUP BY 1, 2"
        " HAVING array_agg(a.attempt_no ORDER BY a.attempt_no)"
        " <> ARRAY(SELECT generate_series(1, d.attempt_no))"
    ).fetchall()

    assert wrong == []


def throughout(predicate: Callable[[], bool], *, seconds: float) -> None:
    """Assert that *predicate* is true now and stays so: what must not happen has time to."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert predicate()
        time.sleep(0.05)


def make_due(conn: db.Connection, *delivery_ids: UUID) -> None:
    """Let retries that wait be due now: nobody needs to sit out the ladder."""
    conn.execute(
        "UPDATE deliveries SET next_attempt_at = clock_timestamp() WHERE status = 'deferred'"
        " AND (%(all)s OR delivery_id = ANY (%(ids)s))",
        {"all": not delivery_ids, "ids": list(delivery_ids)},
    )
