-- What people, services and the monitor ask. Nothing here writes or locks.

-- name: list_deliveries
-- (reads)
-- A page of deliveries, newest first, after a position: those wanted among the next so many of these
-- statuses. Not prepared: with its parameters known the planner drops the conditions that are not
-- asked for and takes the index that fits the rest.
SELECT page.*, recipients.addresses
FROM (
    SELECT delivery_id, source, lane, status, payload_mode, template_id, template_version, locale,
        cycle_attempt, attempt_no, failure,
        CASE WHEN status IN ('scheduled', 'deferred') THEN next_attempt_at END AS waits_until,
        expires_at, created_at, finished_at
    FROM (
        SELECT * FROM deliveries
        WHERE (%(statuses)b::text[] IS NULL OR status = ANY (%(statuses)b::text[]))
          AND (%(created_from)b::timestamptz IS NULL OR created_at >= %(created_from)b::timestamptz)
          AND (%(created_to)b::timestamptz IS NULL OR created_at < %(created_to)b::timestamptz)
          AND (%(before_at)b::timestamptz IS NULL
               OR (created_at, delivery_id) < (%(before_at)b::timestamptz, %(before_id)b::uuid))
        ORDER BY created_at DESC, delivery_id DESC LIMIT %(most)s
    ) looked_at
    WHERE (%(wanted_statuses)b::text[] IS NULL OR status = ANY (%(wanted_statuses)b::text[]))
      AND (%(sources)b::text[] IS NULL OR source = ANY (%(sources)b::text[]))
      AND (%(lanes)b::smallint[] IS NULL OR lane = ANY (%(lanes)b::smallint[]))
      AND (%(template_id)b::text IS NULL OR template_id = %(template_id)b::text)
    ORDER BY created_at DESC, delivery_id DESC LIMIT %(limit)s
) page CROSS JOIN LATERAL (
    SELECT array_agg(r.address ORDER BY r.ordinal) AS addresses
    FROM delivery_recipients r WHERE r.delivery_id = page.delivery_id
) recipients
ORDER BY page.created_at DESC, page.delivery_id DESC;

-- name: deliveries_looked_at
-- (reads)
-- Where a page of `list_deliveries` stopped looking; no row when it has seen them all.
SELECT created_at, delivery_id FROM deliveries
WHERE (%(statuses)b::text[] IS NULL OR status = ANY (%(statuses)b::text[]))
  AND (%(created_from)b::timestamptz IS NULL OR created_at >= %(created_from)b::timestamptz)
  AND (%(created_to)b::timestamptz IS NULL OR created_at < %(created_to)b::timestamptz)
  AND (%(before_at)b::timestamptz IS NULL
       OR (created_at, delivery_id) < (%(before_at)b::timestamptz, %(before_id)b::uuid))
ORDER BY created_at DESC, delivery_id DESC OFFSET %(most)s - 1 LIMIT 1;

-- name: list_deliveries_to
-- (reads)
-- The same for one recipient: starts from the recipient's rows, however many deliveries there are.
SELECT page.*, recipients.addresses
FROM (
    SELECT d.delivery_id, d.source, d.lane, d.status, d.payload_mode, d.template_id,
        d.template_version, d.locale, d.cycle_attempt, d.attempt_no, d.failure,
        CASE WHEN d.status IN ('scheduled', 'deferred') THEN d.next_attempt_at END AS waits_until,
        d.expires_at, d.created_at, d.finished_at
    FROM delivery_recipients r JOIN deliveries d USING (delivery_id)
    WHERE r.canonical = %(canonical)b::text
      AND (%(statuses)b::text[] IS NULL OR d.status = ANY (%(statuses)b::text[]))
      AND (%(sources)b::text[] IS NULL OR d.source = ANY (%(sources)b::text[]))
      AND (%(lanes)b::smallint[] IS NULL OR d.lane = ANY (%(lanes)b::smallint[]))
      AND (%(template_id)b::text IS NULL OR d.template_id = %(template_id)b::text)
      AND (%(created_from)b::timestamptz IS NULL OR d.created_at >= %(created_from)b::timestamptz)
      AND (%(created_to)b::timestamptz IS NULL OR d.created_at < %(created_to)b::timestamptz)
      AND (%(before_at)b::timestamptz IS NULL
           OR (d.created_at, d.delivery_id) < (%(before_at)b::timestamptz, %(before_id)b::uuid))
    ORDER BY d.created_at DESC, d.delivery_id DESC LIMIT %(limit)s
) page CROSS JOIN LATERAL (
    SELECT array_agg(r.address ORDER BY r.ordinal) AS addresses
    FROM delivery_recipients r WHERE r.delivery_id = page.delivery_id
) recipients
ORDER BY page.created_at DESC, page.delivery_id DESC;

-- name: find_delivery
-- (reads)
-- Everything about one delivery but its content. next_attempt_at is the end of the lease while it is
-- sending, and stays behind when it is ready: only what the status gives a meaning is answered.
SELECT delivery_id, source, lane, status, payload_mode, template_id, template_version, locale,
    mail_from, idempotency_key, resend_of, cycle_attempt, attempt_no, retry_policy, failure,
    CASE WHEN status IN ('scheduled', 'deferred') THEN next_attempt_at END,
    CASE WHEN status IN ('queued', 'rendered') THEN ready_at END,
    CASE WHEN status = 'sending' THEN next_attempt_at END,
    expires_at, cancel_requested_at, mime_size, created_at, finished_at, traceparent
FROM deliveries WHERE delivery_id = %(delivery_id)b::uuid;

-- name: list_recipients
-- (reads)
-- The recipients of one delivery, in the order of its envelope.
SELECT kind, address, status, reply_code, enhanced_code
FROM delivery_recipients WHERE delivery_id = %(delivery_id)b::uuid ORDER BY ordinal;

-- name: list_attempts
-- (reads)
-- A page of the attempts of one delivery, newest first.
SELECT attempt_no, cycle_attempt, status, outcome, stage, reply_code, enhanced_code, summary, relay,
    started_at, finished_at
FROM attempts
WHERE delivery_id = %(delivery_id)b::uuid
  AND (%(before_no)b::integer IS NULL OR attempt_no < %(before_no)b::integer)
ORDER BY attempt_no DESC LIMIT %(limit)s;

-- name: find_mime
-- (reads)
-- The bytes of one delivery, as long as they are kept.
SELECT mime FROM delivery_payloads WHERE delivery_id = %(delivery_id)b::uuid;

-- name: suppressed_at_intake
-- (reads)
-- Which of these deliveries never became ready: their producer was told `suppressed`, and is told so
-- again when it repeats its command, whatever became of the others since.
SELECT delivery_id FROM deliveries
WHERE delivery_id = ANY (%(delivery_ids)b::uuid[])
  AND status = 'suppressed' AND attempt_no = 0 AND ready_at IS NULL;

-- name: list_tokens
-- (reads)
-- Every API token ever made; those revoked or out of date still mean that tokens are in use.
SELECT token_hash, name, scopes,
    revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) AS is_valid
FROM api_tokens;

-- name: ping
-- (reads)
-- Whether the server answers at all.
SELECT 1;

-- name: count_live
-- (reads)
-- How many deliveries live, by status and lane.
SELECT status, lane, count(*) FROM deliveries
WHERE status IN ('queued', 'rendered') GROUP BY status, lane
UNION ALL
SELECT status, lane, count(*) FROM deliveries
WHERE status IN ('scheduled', 'deferred') GROUP BY status, lane
UNION ALL
SELECT status, lane, count(*) FROM deliveries WHERE status = 'sending' GROUP BY status, lane;

-- name: oldest_due
-- (reads)
-- How long the oldest due delivery of each lane has waited: one index probe for each lane and source,
-- and the head of what the scheduler should have made ready by now.
SELECT waiting.lane, extract(epoch FROM clock_timestamp() - min(waiting.since)) * 1000 AS age_ms
FROM (
    SELECT l.lane, oldest.since
    FROM unnest('{0,1,2}'::smallint[]) AS l (lane) CROSS JOIN sources s CROSS JOIN LATERAL (
        SELECT d.ready_at AS since FROM deliveries d
        WHERE d.lane = l.lane AND d.source = s.source AND d.status IN ('queued', 'rendered')
        ORDER BY d.ready_at LIMIT 1
    ) oldest
    UNION ALL
    SELECT late.lane, late.since
    FROM (
        SELECT lane, next_attempt_at AS since FROM deliveries
        WHERE status IN ('scheduled', 'deferred') AND next_attempt_at < (SELECT clock_timestamp())
        ORDER BY next_attempt_at LIMIT 1000
    ) late
) waiting
GROUP BY waiting.lane;

-- name: read_signs
-- (reads)
-- What alarms look at beside depths and roles: breakers, pauses, leases nobody took back, what an
-- operator has to decide about, and how the database itself does. Each from an index or a small table.
SELECT
    (SELECT count(*) FROM processes WHERE role = 'sender' AND detail ->> 'breaker' <> 'closed'
        AND beat_at > clock_timestamp() - %(silence)s::interval) AS breakers_open,
    (SELECT count(*) FROM pauses) AS pauses,
    (SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)) * 1000, 0)
        FROM pauses)::double precision AS oldest_pause_ms,
    (SELECT count(*) FROM deliveries WHERE status = 'sending'
        AND next_attempt_at < clock_timestamp() - interval '30 seconds') AS leases_overdue,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
    current_setting('max_connections')::integer AS connections_max,
    (SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)) * 1000, 0)
        FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND backend_xmin IS NOT NULL)::double precision AS oldest_transaction_ms,
    (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables
        WHERE schemaname = 'mail')::double precision AS dead_rows,
    (SELECT count(*) FROM processes WHERE detail ->> 'lacks_room' = 'true'
        AND beat_at > clock_timestamp() - %(silence)s::interval) AS without_room;

-- name: live_roles
-- (reads)
-- How many processes of each role gave a sign of life lately.
SELECT role, count(*) FROM processes
WHERE beat_at > clock_timestamp() - %(silence)s::interval GROUP BY role;

-- name: is_process_alive
-- (reads)
-- Whether one process of a host gave a sign of life lately; a silent one's number may be reused.
SELECT EXISTS (
    SELECT FROM processes
    WHERE host = %(host)s AND pid = %(pid)s AND role = %(role)s
      AND beat_at > clock_timestamp() - %(silence)s::interval
);

-- name: find_circumstances
-- (reads)
-- What bears on when a delivery is sent: how many are ready before it in its lane (counted up to a
-- bound), who is alive to send it and to keep its time, what senders say of the relay, its content.
SELECT clock_timestamp(),
    (SELECT count(*) FROM (
        SELECT FROM sources s CROSS JOIN LATERAL (
            SELECT FROM deliveries o
            WHERE o.lane = d.lane AND o.source = s.source AND o.status IN ('queued', 'rendered')
              AND o.ready_at < d.ready_at LIMIT 10000
        ) older LIMIT 10000
    ) counted),
    (SELECT count(*) FROM processes
     WHERE role = 'sender' AND beat_at > clock_timestamp() - %(silence)s::interval),
    (SELECT count(*) FROM processes
     WHERE role = 'scheduler' AND beat_at > clock_timestamp() - %(silence)s::interval),
    (SELECT detail ->> 'reason' FROM processes
     WHERE role = 'sender' AND beat_at > clock_timestamp() - %(silence)s::interval
       AND detail ->> 'breaker' <> 'closed' ORDER BY beat_at DESC LIMIT 1),
    EXISTS (SELECT FROM delivery_payloads p WHERE p.delivery_id = d.delivery_id)
FROM deliveries d WHERE d.delivery_id = %(delivery_id)b::uuid;

-- name: list_holds
-- (reads)
-- The pauses that hold mail of this lane and source back.
SELECT pause_id, reason, created_by, ends_at FROM pauses
WHERE (lane IS NULL OR lane = %(lane)s) AND (source IS NULL OR source = %(source)s)
  AND (ends_at IS NULL OR ends_at > clock_timestamp())
ORDER BY pause_id;

-- name: list_dead_letters_of
-- (reads)
-- Every dead-letter entry of one delivery, oldest first.
SELECT dead_letter_id, cause, attempt_no, reason, created_at, closed_at, resolved_at, resolved_by,
    note, replay_id
FROM dead_letters WHERE delivery_id = %(delivery_id)b::uuid ORDER BY dead_letter_id;

-- name: count_ended
-- (reads)
-- What ended lately, by status: a stretch at the right edge of the index on finished_at.
SELECT status, count(*) FROM deliveries
WHERE finished_at > (SELECT clock_timestamp()) - %(span)s::interval
GROUP BY status ORDER BY status;

-- name: count_unreviewed
-- (reads)
-- Dead letters that are open and not resolved; refused entries that were not replayed. Counted up to
-- a bound: beyond it the number matters no more.
SELECT
    (SELECT count(*) FROM (
        SELECT FROM dead_letters WHERE closed_at IS NULL AND resolved_at IS NULL LIMIT 100000) l),
    (SELECT count(*) FROM (
        SELECT FROM malformed_commands WHERE replayed_at IS NULL LIMIT 100000) m);

-- name: list_processes
-- (reads)
-- The processes that gave a sign of life lately.
SELECT role, host, pid, version, started_at, beat_at, detail FROM processes
WHERE beat_at > clock_timestamp() - %(silence)s::interval
ORDER BY role, host, detail ->> 'process', pid;

-- name: count_accepted_by_time
-- (reads)
-- How many deliveries came in, by stretch of time (numbered since 1970) and lane.
SELECT floor(extract(epoch FROM created_at) / %(seconds)s::integer)::bigint AS stretch, lane, count(*)
FROM deliveries
WHERE created_at >= to_timestamp(%(begin)s::bigint * %(seconds)s::integer)
  AND created_at < to_timestamp(%(end)s::bigint * %(seconds)s::integer)
GROUP BY stretch, lane;

-- name: count_ended_by_time
-- (reads)
-- How many deliveries ended, by stretch of time, lane and status.
SELECT floor(extract(epoch FROM finished_at) / %(seconds)s::integer)::bigint AS stretch,
    lane, status, count(*)
FROM deliveries
WHERE finished_at >= to_timestamp(%(begin)s::bigint * %(seconds)s::integer)
  AND finished_at < to_timestamp(%(end)s::bigint * %(seconds)s::integer)
GROUP BY stretch, lane, status;

-- name: measure_attempts
-- (reads)
-- How long the successful attempts took that ended a delivery, in milliseconds: median, 95 and 99 of a
-- hundred, of at most 200 in each stretch of time.
SELECT s.stretch, percentile_disc('{0.5,0.95,0.99}'::double precision[]) WITHIN GROUP (
    ORDER BY (extract(epoch FROM a.finished_at - a.started_at) * 1000)::double precision)
FROM generate_series(%(begin)s::bigint, %(end)s::bigint - 1) AS s (stretch) CROSS JOIN LATERAL (
    SELECT d.delivery_id, d.attempt_no FROM deliveries d
    WHERE d.finished_at >= to_timestamp(s.stretch * %(seconds)s::integer)
      AND d.finished_at < to_timestamp((s.stretch + 1) * %(seconds)s::integer) AND d.status = 'sent'
    ORDER BY d.finished_at LIMIT 200
) sent JOIN attempts a USING (delivery_id, attempt_no)
WHERE a.finished_at IS NOT NULL
GROUP BY s.stretch;

-- name: list_envelope
-- (reads)
-- The recipients of one delivery as its envelope has them, in order.
SELECT kind, address, canonical FROM delivery_recipients
WHERE delivery_id = %(delivery_id)b::uuid ORDER BY ordinal;

-- name: count_accepted
-- (reads)
-- What was accepted lately: a stretch at the right edge of the index on created_at.
SELECT count(*) FROM deliveries
WHERE created_at > (SELECT clock_timestamp()) - %(span)s::interval;

-- name: list_signs
-- (reads)
-- The last signs of life of processes; of those that fell silent only whose name nobody took over.
SELECT role, host, pid, version, started_at, beat_at, detail,
    beat_at > clock_timestamp() - %(silence)s::interval AS is_alive
FROM processes p
WHERE beat_at > clock_timestamp() - %(kept)s::interval
  AND (beat_at > clock_timestamp() - %(silence)s::interval OR NOT EXISTS (
    SELECT FROM processes other
    WHERE other.role = p.role AND other.host = p.host AND other.started_at > p.started_at
      AND other.detail ->> 'process' = p.detail ->> 'process'))
ORDER BY role, host, detail ->> 'process', pid;

-- name: list_troubles
-- (reads)
-- The newest dead letters and refused entries, both from the right edge of an index.
(SELECT created_at, 'dead_letter', cause || ': ' || reason, delivery_id::text
 FROM dead_letters ORDER BY created_at DESC, dead_letter_id DESC LIMIT %(limit)s)
UNION ALL
(SELECT received_at, 'malformed', failure_code || ': ' || detail, delivery_id
 FROM malformed_commands ORDER BY received_at DESC LIMIT %(limit)s);
