"""A million deliveries, as a month of work leaves them; the server makes them itself, in seconds.

700,000 ended during the last 31 days, 200,000 wait for a time to come, 99,000 are ready and 1,000 are
being sent. Delivery ids are in no order, as those of producers are.
"""

from mailworkers.adapters import db

# The oldest 50,000 of the ready ones belong to it, and to the lane `bulk`.
PAUSED_SOURCE = "newsletter"

_DELIVERIES = """
INSERT INTO sources (source) VALUES ('newsletter'), ('shop');
INSERT INTO pauses (source, reason, created_by) VALUES ('newsletter', 'too many complaints', 'test');

CREATE TEMPORARY TABLE made AS
SELECT n, md5(n::text)::uuid AS delivery_id,
    CASE WHEN n <= 900000 THEN n % 3 WHEN n <= 950000 THEN 2 ELSE n / 6 % 3 END AS lane,
    CASE WHEN n BETWEEN 900001 AND 950000 THEN 'newsletter'
         ELSE ('{api,authsession,notification,resend,shop,newsletter}'::text[])[n % 6 + 1] END AS source,
    CASE WHEN n <= 700000 THEN CASE WHEN n % 1000 < 5 THEN 'dead_letter'
                                    WHEN n % 1000 < 13 THEN 'failed'
                                    WHEN n % 1000 < 15 THEN 'uncertain'
                                    WHEN n % 1000 < 25 THEN 'suppressed'
                                    WHEN n % 1000 < 35 THEN 'cancelled' ELSE 'sent' END
         WHEN n <= 820000 THEN 'scheduled' WHEN n <= 900000 THEN 'deferred'
         WHEN n <= 999000 THEN CASE WHEN n % 4 = 0 THEN 'rendered' ELSE 'queued' END
         ELSE 'sending' END AS status,
    -- A steady stream for the ended; what waits was made on any day of the month.
    now() - CASE WHEN n <= 700000 THEN (700000 - n) * interval '31 days' / 700000
                 WHEN n <= 820000 THEN (n % 30) * interval '1 day'
                 ELSE (1000000 - n) * interval '100 ms' END - interval '1 minute' AS created_at
FROM generate_series(1, 1000000) n;

INSERT INTO deliveries (delivery_id, source, lane, status, payload_mode, mail_from, idempotency_key,
    retry_policy, mime_size, created_at, cycle_attempt, attempt_no, next_attempt_at, ready_at,
    expires_at, lease_token, leased_by, finished_at)
SELECT delivery_id, source, lane, status,
    CASE status WHEN 'rendered' THEN 'template' ELSE 'rendered' END,
    'shop@example.org', 'key-' || n, 'ladder', 2000, created_at, tries, tries,
    -- One of a hundred is due; one of ten leases has ended.
    CASE WHEN status = 'scheduled' THEN now() + (n % 100 - 0.5) * interval '7 hours'
         WHEN status = 'deferred' THEN now() + (n % 100 - 0.5) * interval '10 minutes'
         WHEN status = 'sending' THEN now() + (n % 10 - 0.5) * interval '10 minutes' END,
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
SELECT d.delivery_id, number, number,
    CASE WHEN d.status = 'sending' THEN 'in_progress' WHEN d.status = 'sent' THEN 'provider_accepted'
         ELSE 'provider_deferred' END,
    CASE WHEN d.status = 'sent' THEN 'success' WHEN d.status <> 'sending' THEN 'transient_error' END,
    'end_of_data', 250, 'said by the relay', 'relay.example.org:25', d.delivery_id, d.delivery_id,
    d.created_at, CASE WHEN d.status <> 'sending' THEN d.created_at END
FROM deliveries d CROSS JOIN LATERAL generate_series(1, d.attempt_no) number
WHERE d.attempt_no > 0;

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
FROM generate_series(1, 30000) n;

INSERT INTO malformed_commands (stream, stream_entry_id, failure_code, detail, raw, raw_size,
    is_complete, received_at)
SELECT 'mail:delivery_commands', n || '-0', 'invalid_payload', 'not JSON', '\\x80', 1, true,
    now() - n * interval '2 minutes'
FROM generate_series(1, 22000) n;

INSERT INTO processes (process_id, role, host, pid, version)
SELECT md5('sender' || n)::uuid, 'sender', 'a-host', n, '1.0' FROM generate_series(0, 19) n;
"""

# What can be taken away and put back around a filling: all but what a foreign key needs.
_INDEXES = """
SELECT 'ALTER TABLE ' || t || ' DROP CONSTRAINT ' || conname,
    'ALTER TABLE ' || t || ' ADD CONSTRAINT ' || conname || ' ' || pg_get_constraintdef(oid)
FROM pg_constraint CROSS JOIN LATERAL (SELECT conrelid::regclass::text AS t) named
WHERE connamespace = 'mail'::regnamespace AND contype IN ('p', 'u')
  AND conindid NOT IN (SELECT conindid FROM pg_constraint WHERE contype = 'f')
UNION ALL
SELECT 'DROP INDEX ' || indexrelid::regclass, pg_get_indexdef(indexrelid)
FROM pg_index
WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'mail'::regnamespace)
  AND indexrelid NOT IN (SELECT conindid FROM pg_constraint)
"""
# Children before their parent: a lasting table must not refer to an unlogged one.
_UNLOGGED = ("dead_letters", "attempts", "delivery_payloads", "delivery_recipients", "deliveries",
             "idempotency_reservations")


def fill(conn: db.Connection) -> None:
    """Fill the empty database of *conn*, whose user may do anything, and leave it vacuumed.

    For speed alone foreign keys are not looked at, indexes are made at the end, nothing is logged.
    """
    conn.execute("SET session_replication_role = replica")
    conn.execute("SET maintenance_work_mem = '256MB'")
    for table in _UNLOGGED:
        conn.execute(f"ALTER TABLE {table} SET UNLOGGED")
    indexes = conn.execute(_INDEXES).fetchall()
    for drop, _ in indexes:
        conn.execute(drop)
    for statements in (_DELIVERIES, _CHILDREN, _OTHERS):
        conn.execute(statements)
    for _, create in indexes:
        conn.execute(create)
    conn.execute("VACUUM ANALYZE")
