"""A million deliveries, as a month of work leaves them; the server makes them itself, in seconds.

700,000 ended during the last 31 days, 200,000 wait for a time to come, 99,000 are ready (the oldest
half of them for a source that is paused) and 1,000 are being sent. Delivery ids are in no order, as
those of producers are.
"""

from mailworkers.adapters import db

_MADE = """
INSERT INTO sources (source) VALUES ('newsletter'), ('shop');
INSERT INTO pauses (source, reason, created_by) VALUES ('newsletter', 'complaints', 'test');

CREATE TEMPORARY TABLE made AS
SELECT n, md5(n::text)::uuid AS delivery_id,
    CASE WHEN n <= 900000 THEN n % 3 WHEN n <= 950000 THEN 2 ELSE n / 6 % 3 END AS lane,
    CASE WHEN n BETWEEN 900001 AND 950000 THEN 'newsletter'
         ELSE ('{api,authsession,notification,resend,shop,newsletter}'::text[])[n % 6 + 1]
    END AS source,
    CASE WHEN n <= 700000 THEN CASE WHEN n % 1000 < 5 THEN 'dead_letter'
                                    WHEN n % 1000 < 13 THEN 'failed'
                                    WHEN n % 1000 < 15 THEN 'uncertain'
                                    WHEN n % 1000 < 25 THEN 'suppressed'
                                    WHEN n % 1000 < 35 THEN 'cancelled' ELSE 'sent' END
         WHEN n <= 820000 THEN 'scheduled' WHEN n <= 900000 THEN 'deferred'
         WHEN n <= 999000 THEN CASE WHEN n % 4 = 0 THEN 'rendered' ELSE 'queued' END
         ELSE 'sending' END AS status,
    -- A steady stream of what has ended; what is scheduled was made on any day of the month.
    now() - interval '1 minute'
        - CASE WHEN n <= 700000 THEN (700000 - n) * interval '31 days' / 700000
               WHEN n <= 820000 THEN n % 30000 * interval '87 seconds'
               ELSE (1000000 - n) * interval '100 milliseconds' END AS created_at
FROM generate_series(1, 1000000, {step}) n;
"""

_DELIVERIES = """
INSERT INTO deliveries (delivery_id, source, lane, status, payload_mode, mail_from, idempotency_key,
    retry_policy, mime_size, created_at, cycle_attempt, attempt_no, next_attempt_at, ready_at,
    expires_at, lease_token, leased_by, finished_at)
SELECT delivery_id, source, lane, status,
    CASE status WHEN 'rendered' THEN 'template' ELSE 'rendered' END,
    'shop@example.org', 'key-' || n, 'ladder', 2000, created_at, tries, tries,
    -- One of a hundred is due; one of ten leases has ended.
    CASE status WHEN 'scheduled' THEN now() + (n % 100 - 0.5) * interval '7 hours'
                WHEN 'deferred' THEN now() + (n % 100 - 0.5) * interval '10 minutes'
                WHEN 'sending' THEN now() + (n % 10 - 0.5) * interval '10 minutes'
    END + n * interval '1 microsecond',
    CASE WHEN status IN ('queued', 'rendered') THEN created_at END,
    -- One of five ends by itself; one of two hundred of those is overdue.
    CASE WHEN n % 5 = 0 THEN now() + (n / 5 % 200 - 0.5) * interval '1 hour' END,
    CASE status WHEN 'sending' THEN delivery_id END,
    CASE status WHEN 'sending' THEN md5('sender' || n % 20)::uuid END,
    CASE WHEN n <= 700000 THEN created_at + interval '1 minute' END
FROM made CROSS JOIN LATERAL (
    SELECT CASE WHEN status IN ('sent', 'failed', 'uncertain', 'sending') THEN 1
                WHEN status = 'deferred' THEN 1 + n % 3
                WHEN status = 'dead_letter' THEN 6 ELSE 0 END AS tries
) counted;
"""

_CHILDREN = """
-- Every twentieth has three recipients.
INSERT INTO delivery_recipients (delivery_id, ordinal, kind, address, canonical, status)
SELECT delivery_id, ordinal, 'to', person || '@example.com', person || '@example.com',
    CASE WHEN n > 700000 THEN 'open' WHEN status = 'sent' THEN 'accepted'
         WHEN status = 'failed' THEN 'refused' WHEN status = 'dead_letter' THEN 'exhausted'
         ELSE status END
FROM made
CROSS JOIN LATERAL generate_series(0, CASE WHEN n % 20 = 0 THEN 2 ELSE 0 END) ordinal
CROSS JOIN LATERAL (SELECT 'person' || (n * 7919::bigint + ordinal) % 300000 AS person) named;

INSERT INTO delivery_payloads (delivery_id, mime)
SELECT delivery_id, convert_to('Subject: ' || n || E'\\r\\n\\r\\n' || repeat('hello ', 20), 'UTF8')
FROM made
WHERE created_at > now() - interval '7 days' OR n > 700000
   OR status IN ('failed', 'dead_letter', 'uncertain');

INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, status, outcome, stage, reply_code,
    summary, relay, lease_token, leased_by, started_at, finished_at)
SELECT delivery_id, number, number,
    CASE status WHEN 'sending' THEN 'in_progress' WHEN 'sent' THEN 'provider_accepted'
                ELSE 'provider_deferred' END,
    CASE status WHEN 'sent' THEN 'success' WHEN 'sending' THEN NULL ELSE 'transient_error' END,
    'end_of_data', 250, 'said by the relay', 'relay.example.org:25', delivery_id, delivery_id,
    created_at, CASE WHEN status <> 'sending' THEN created_at END
FROM deliveries CROSS JOIN LATERAL generate_series(1, attempt_no) number;

INSERT INTO idempotency_reservations (source, idempotency_key, fingerprint, delivery_id, created_at)
SELECT source, 'key-' || n, sha256(n::text::bytea), delivery_id, created_at
FROM made WHERE created_at > now() - interval '8 days' OR n > 700000;

INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason, created_at)
SELECT delivery_id, CASE status WHEN 'failed' THEN 'permanent' ELSE 'exhausted' END, 1, 1,
    'said by the relay', created_at
FROM made WHERE status IN ('failed', 'dead_letter');
"""

_OTHERS = """
INSERT INTO suppressed_addresses (canonical, scope, reason, created_by)
SELECT CASE WHEN n % 20 = 0 THEN 'person' ELSE 'gone' END || n || '@example.com',
    CASE WHEN n % 3 = 0 THEN 'shop' ELSE '*' END, 'complaint', 'test'
FROM generate_series(1, 30000, {step}) n;

INSERT INTO malformed_commands (stream, stream_entry_id, failure_code, detail, raw, raw_size,
    is_complete, received_at)
SELECT 'mail:delivery_commands', n || '-0', 'invalid_json', 'not JSON', '\\x80', 1, true,
    now() - n * interval '2 minutes'
FROM generate_series(1, 22320, {step}) n;

INSERT INTO processes (process_id, role, host, pid, version)
SELECT md5('sender' || n)::uuid, 'sender', 'a-host', n, '1.0' FROM generate_series(0, 19) n;
"""

# How each key and index is taken away, and put back: foreign keys go first and come back last. They
# are not looked at again, since that takes as long as checking each row.
_KEYS_AND_INDEXES = """
SELECT 'ALTER TABLE ' || owner || ' DROP CONSTRAINT ' || conname,
    'ALTER TABLE ' || owner || ' ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
    || CASE contype WHEN 'f' THEN ' NOT VALID' ELSE '' END
FROM pg_constraint CROSS JOIN LATERAL (SELECT conrelid::regclass::text AS owner) named
WHERE connamespace = 'mail'::regnamespace AND contype IN ('p', 'u', 'f')
UNION ALL
SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'mail'::regnamespace)
  AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
"""
# Children before their parent: a table that is logged must not refer to one that is not.
_LARGE = (
    "dead_letters",
    "attempts",
    "delivery_payloads",
    "delivery_recipients",
    "deliveries",
    "idempotency_reservations",
)


def fill(conn: db.Connection) -> None:
    """Put the million into the empty database of *conn*, a superuser's, and leave it vacuumed.

    For speed alone nothing is logged, and keys and indexes are made at the end.
    """
    for table in _LARGE:
        conn.execute(f"ALTER TABLE {table} SET UNLOGGED")
    ways = conn.execute(_KEYS_AND_INDEXES).fetchall()
    ways.sort(key=lambda way: "FOREIGN KEY" not in way[1])
    for drop, _ in ways:
        conn.execute(drop)
    fill_thinly(conn, step=1)
    conn.execute("SET maintenance_work_mem = '256MB'")
    for _, create in reversed(ways):
        conn.execute(create)
    conn.execute("VACUUM ANALYZE")


def fill_thinly(conn: db.Connection, *, step: int) -> None:
    """Put every *step*-th of the million in, and tell the planner nothing about it.

    Foreign keys are not checked: *conn* must be a superuser's.
    """
    conn.execute("SET session_replication_role = replica")
    for statements in (_MADE, _DELIVERIES, _CHILDREN, _OTHERS):
        conn.execute(statements.replace("{step}", str(step)))
    conn.execute("SET session_replication_role = origin")
