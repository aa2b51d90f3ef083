"""Rows by the hundred thousand, made by the server itself: what months of work would leave.

They are those the roles make: delivery, recipient, attempt, reservation, and the bytes where they
are still needed. No role may run meanwhile: with many rows, keys and indexes are taken away first
and made at the end.
"""

import msgspec

from mailworkers.adapters import db
from mailworkers.bench.commands import FROM

_MANY = 100_000
PREFIX = "filled."  # of the Message-IDs

_NUMBERS = "CREATE TEMPORARY TABLE made (n integer, delivery_id uuid, at timestamptz)"
_MADE = """
INSERT INTO made
SELECT n, md5(%(name)s || n)::uuid,
    clock_timestamp() + make_interval(secs => %(first_in)s + n * %(spacing)s)
FROM generate_series(1, %(count)s) n
"""
_DELIVERIES = """
INSERT INTO deliveries (delivery_id, source, lane, status, payload_mode, mail_from, idempotency_key,
    retry_policy, mime_size, created_at, cycle_attempt, attempt_no, next_attempt_at, ready_at,
    finished_at)
SELECT delivery_id, 'notification', %(lane)s, %(status)s, 'rendered', %(mail_from)s,
    %(name)s || n, 'ladder', length(%(text)s) + 200, least(at, clock_timestamp()), tries, tries,
    CASE WHEN %(status)s IN ('scheduled', 'deferred') THEN at END,
    CASE WHEN %(status)s = 'queued' THEN at END, CASE WHEN %(status)s = 'sent' THEN at END
FROM made
CROSS JOIN LATERAL (SELECT (%(status)s IN ('sent', 'deferred'))::int AS tries) counted
"""
_RECIPIENTS = """
INSERT INTO delivery_recipients (delivery_id, ordinal, kind, address, canonical, status)
SELECT delivery_id, 0, 'to', person || '@example.com', person || '@example.com',
    CASE %(status)s WHEN 'sent' THEN 'accepted' ELSE 'open' END
FROM made CROSS JOIN LATERAL (SELECT 'person' || n AS person) named
"""
_PAYLOADS = """
INSERT INTO delivery_payloads (delivery_id, mime)
SELECT delivery_id, convert_to(
    E'From: ' || %(mail_from)s || E'\\r\\nTo: person' || n || E'@example.com\\r\\n'
    || 'Subject: Order ' || n
    || E' has shipped\\r\\nMessage-ID: <' || %(prefix)s || delivery_id || E'@example.org>\\r\\n'
    || E'Date: Sun, 22 Nov 2026 10:00:00 +0000\\r\\nMIME-Version: 1.0\\r\\n'
    || E'Content-Type: text/plain; charset="utf-8"\\r\\n\\r\\n' || %(text)s, 'UTF8')
FROM made WHERE %(status)s <> 'sent'
"""
_ATTEMPTS = """
INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome, stage, reply_code,
    summary, relay, lease_token, leased_by, started_at, finished_at)
SELECT delivery_id, 1, 1,
    CASE %(status)s WHEN 'sent' THEN 'provider_accepted' ELSE 'provider_deferred' END,
    CASE %(status)s WHEN 'sent' THEN 'success' ELSE 'transient_error' END,
    'end_of_data', CASE %(status)s WHEN 'sent' THEN 250 ELSE 451 END, 'said by the relay',
    'relay.example.org:25', delivery_id, delivery_id, least(at, clock_timestamp()),
    least(at, clock_timestamp())
FROM made WHERE %(status)s IN ('sent', 'deferred')
"""
_RESERVATIONS = """
INSERT INTO idempotency_reservations (source, idempotency_key, fingerprint, delivery_id, created_at)
SELECT 'notification', %(name)s || n, sha256(n::text::bytea), delivery_id,
    least(at, clock_timestamp())
FROM made WHERE at > clock_timestamp() - interval '7 days'
"""
_ALL = (_MADE, _DELIVERIES, _RECIPIENTS, _PAYLOADS, _ATTEMPTS, _RESERVATIONS)

# How each key and index is taken away, and put back: foreign keys go first and come back last. They
# are not looked at again, since that takes as long as checking each row.
_KEYS_AND_INDEXES = """
SELECT 'ALTER TABLE ' || owner || ' DROP CONSTRAINT ' || conname,
    'ALTER TABLE ' || owner || ' ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
    || CASE WHEN contype = 'f' AND convalidated THEN ' NOT VALID' ELSE '' END,
    contype = 'f' AS is_foreign
FROM pg_constraint CROSS JOIN LATERAL (SELECT conrelid::regclass::text AS owner) named
WHERE connamespace = 'mail'::regnamespace AND contype IN ('p', 'u', 'f')
  AND conrelid IN (SELECT unnest(%(tables)s::regclass[]))
UNION ALL
SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid), false
FROM pg_index
WHERE indrelid IN (SELECT unnest(%(tables)s::regclass[]))
  AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
"""
_TABLES = (
    "deliveries",
    "delivery_recipients",
    "delivery_payloads",
    "attempts",
    "dead_letters",
    "idempotency_reservations",
)


class Rows(msgspec.Struct, frozen=True):
    """*count* deliveries in one status: `sent`, `queued`, `scheduled` or `deferred`.

    The first has its time (end, readiness or next attempt) *first_in* seconds from now, each next
    one *spacing* seconds later. *name* makes their ids: two fillings need two.
    """

    name: str
    count: int
    status: str
    lane: int = 1
    first_in: float = 0.0
    spacing: float = 1e-6
    text: str = "hello\r\n"


def fill(conn: db.Connection, *rows: Rows, rebuild_from: int = _MANY) -> None:
    """Put *rows* in, let the server look at its tables (VACUUM ANALYZE), and write all of it back.

    From *rebuild_from* rows on, keys and indexes are made at the end, for which nobody else may use
    the tables. Foreign keys are not checked: *conn* must be a superuser's.
    """
    conn.execute("SET statement_timeout = 0")  # millions take their time
    is_rebuilt = sum(one.count for one in rows) >= rebuild_from
    ways = _take_away(conn) if is_rebuilt else []
    conn.execute("SET session_replication_role = replica")
    conn.execute(_NUMBERS)
    for one in rows:
        conn.execute("TRUNCATE made")
        values = {**msgspec.structs.asdict(one), "mail_from": FROM, "prefix": PREFIX}
        for statement in _ALL:
            conn.execute(statement, values)
    conn.execute("DROP TABLE made")
    conn.execute("SET session_replication_role = origin")
    conn.execute("SET maintenance_work_mem = '256MB'")
    for create in reversed(ways):
        conn.execute(create)
    conn.execute("VACUUM ANALYZE")
    # They are the past. What is measured afterwards must not wait for their way to the disk.
    conn.execute("CHECKPOINT")
    conn.execute("RESET statement_timeout")


def filled_ids(conn: db.Connection, name: str) -> list[str]:
    """Return the Message-IDs of the rows that were filled in under *name*."""
    rows = conn.execute(
        "SELECT delivery_id FROM deliveries WHERE starts_with(idempotency_key, %s)", [name]
    )
    return [f"<{PREFIX}{delivery_id}@example.org>" for (delivery_id,) in rows]


def _take_away(conn: db.Connection) -> list[str]:
    """Drop keys and indexes; return the statements that make them, foreign keys first."""
    ways = conn.execute(_KEYS_AND_INDEXES, {"tables": list(_TABLES)}).fetchall()
    ways.sort(key=lambda way: not way[2])
    for drop, _, _ in ways:
        conn.execute(drop)
    return [create for _, create, _ in ways]
