-- Statements that move deliveries. The header of each names who makes which move; core/states.MOVES
-- says the same and a test compares the two.
--
-- Three habits keep every plan at a lookup by index, whatever the planner believes. The clock is asked
-- in a sub-select where an index is walked up to it: bare, it is volatile, so the walk goes on to the
-- end and filters. What was found under a LIMIT is taken up as an array: a join is planned for a
-- tenth of the table when the limit is a parameter, an array for ten rows. And rows that are named by
-- their keys are not asked for a status by which an index is partial: while few rows have it, walking
-- that index for each key looks cheaper than looking the key up, and it stays so when there are many.
-- The token of a lease says as much as `sending` (constraint lease_only_while_sending).

-- name: accept
-- consumer, api: (new) -> scheduled, queued, rendered, suppressed
-- Takes (source, idempotency_key) and stores what took it; a key that is taken, or a delivery_id
-- that exists, gives no row back. The caller sorts its input by (source, idempotency_key), so that
-- two batches cannot wait for each other crosswise.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        %(delivery_ids)b::uuid[], %(sources)b::text[], %(lanes)b::smallint[], %(statuses)b::text[],
        %(payload_modes)b::text[], %(template_ids)b::text[], %(template_versions)b::text[],
        %(locales)b::text[], %(mail_froms)b::text[], %(idempotency_keys)b::text[],
        %(fingerprints)b::bytea[], %(retry_policies)b::text[],
        %(next_attempt_ats)b::timestamptz[], %(expires_ats)b::timestamptz[],
        %(mime_sizes)b::integer[], %(failures)b::text[], %(traceparents)b::text[],
        %(resend_ofs)b::uuid[]
    ) AS i (delivery_id, source, lane, status, payload_mode, template_id, template_version, locale,
            mail_from, idempotency_key, fingerprint, retry_policy, next_attempt_at, expires_at,
            mime_size, failure, traceparent, resend_of)
), known AS (
    INSERT INTO sources (source)
    SELECT DISTINCT i.source FROM input i
    WHERE NOT EXISTS (SELECT FROM sources s WHERE s.source = i.source)
    ON CONFLICT DO NOTHING
), reserved AS (
    INSERT INTO idempotency_reservations (source, idempotency_key, fingerprint, delivery_id)
    SELECT i.source, i.idempotency_key, i.fingerprint, i.delivery_id FROM input i
    WHERE NOT EXISTS (SELECT FROM deliveries d WHERE d.delivery_id = i.delivery_id)
    ON CONFLICT DO NOTHING
    RETURNING delivery_id
)
INSERT INTO deliveries (
    delivery_id, source, lane, status, payload_mode, template_id, template_version, locale,
    mail_from, idempotency_key, resend_of, retry_policy, next_attempt_at, expires_at, mime_size,
    failure, traceparent, ready_at, finished_at)
SELECT
    i.delivery_id, i.source, i.lane, i.status, i.payload_mode, i.template_id, i.template_version,
    i.locale, i.mail_from, i.idempotency_key, i.resend_of, i.retry_policy, i.next_attempt_at,
    i.expires_at, i.mime_size, i.failure, i.traceparent,
    CASE WHEN i.status IN ('queued', 'rendered') THEN clock_timestamp() END,
    CASE WHEN i.status = 'suppressed' THEN clock_timestamp() END
FROM input i JOIN reserved USING (delivery_id)
RETURNING delivery_id;

-- name: lease_ready
-- sender: queued, rendered -> sending, sent, suppressed, failed, dead_letter, uncertain, cancelled
-- Leases up to n ready deliveries and opens their attempts. Lanes come in the order given; inside a
-- lane the sources take turns, those after the one served last first. A pair of lane and source is
-- read from the time given for it on, else from its beginning: what was leased lies before, dead, and
-- under somebody's long snapshot no cleaning takes it away. Recipients listed since (all of them in
-- stub mode) are dropped, as `uncertain` where the last attempt may have reached them; when none is
-- left the delivery ends here, by the recipients' rule.
-- Recipients are read as they were when the statement began, the row is locked as it is now: one that
-- became ready anew in between is left for the next lease, or somebody served meanwhile would be
-- served again.
WITH pair AS MATERIALIZED (
    SELECT lane, source, coalesce(since, '-infinity') AS since
    FROM unnest(%(lanes)b::smallint[]) WITH ORDINALITY AS l (lane, rank) CROSS JOIN sources s
    LEFT JOIN unnest(
        %(since_lanes)b::smallint[], %(since_sources)b::text[], %(since)b::timestamptz[]
    ) AS w (lane, source, since) USING (lane, source)
    WHERE NOT EXISTS (
        SELECT FROM pauses p
        WHERE coalesce(p.lane, l.lane) = l.lane AND coalesce(p.source, s.source) = s.source
          AND coalesce(p.ends_at, 'infinity') > clock_timestamp())
    ORDER BY rank, source <= %(after)s, source
), due AS MATERIALIZED (
    SELECT ready.* FROM pair CROSS JOIN LATERAL (
        SELECT delivery_id, source, ready_at, next_attempt_at AS due_at FROM deliveries d
        WHERE d.lane = pair.lane AND d.source = pair.source AND status IN ('queued', 'rendered')
          AND ready_at >= pair.since AND (expires_at IS NULL OR expires_at > clock_timestamp())
        ORDER BY ready_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
    ) ready
    LIMIT %(limit)s
), recipient AS MATERIALIZED (
    SELECT r.delivery_id, r.ordinal, r.address, due.due_at, due.ready_at, r.status AS was,
        CASE WHEN r.status = 'open' AND (%(stub)s OR EXISTS (
            SELECT FROM suppressed_addresses s
            WHERE s.canonical = r.canonical AND s.scope IN ('*', due.source)
              AND coalesce(s.expires_at, 'infinity') > clock_timestamp()))
        THEN unless_doubtful(r.delivery_id, 'suppressed') ELSE r.status END AS status
    FROM due CROSS JOIN LATERAL (
        SELECT * FROM delivery_recipients WHERE delivery_id = due.delivery_id OFFSET 0
    ) r
), dropped AS (
    UPDATE delivery_recipients r SET status = x.status
    FROM recipient x
    WHERE r.delivery_id = ANY (ARRAY(SELECT delivery_id FROM recipient WHERE status <> was))
      AND x.status <> x.was AND r.delivery_id = x.delivery_id AND r.ordinal = x.ordinal
      AND r.status = 'open'
), envelope AS MATERIALIZED (
    SELECT delivery_id, due_at, ready_at,
        array_agg(ordinal ORDER BY ordinal) FILTER (WHERE status = 'open') AS ordinals,
        array_agg(address ORDER BY ordinal) FILTER (WHERE status = 'open') AS addresses,
        array_agg(DISTINCT status) FILTER (WHERE status <> 'open') AS closed,
        CASE WHEN bool_and(status <> 'open') THEN closing_status(array_agg(status)) ELSE 'sending' END AS status
    FROM recipient GROUP BY delivery_id, due_at, ready_at
), moved AS (
    UPDATE deliveries d SET
        status = e.status,
        (lease_token, leased_by, next_attempt_at) = (
            SELECT %(lease_token)s, %(leased_by)s, clock_timestamp() + %(lease)s
                + make_interval(secs => d.mime_size / 65536.0)
            WHERE e.ordinals IS NOT NULL),
        attempt_no = d.attempt_no + (e.ordinals IS NOT NULL)::int,
        cycle_attempt = d.cycle_attempt + (e.ordinals IS NOT NULL)::int,
        finished_at = CASE WHEN e.ordinals IS NULL THEN clock_timestamp() END,
        failure = CASE e.status WHEN 'suppressed' THEN CASE WHEN %(stub)s THEN 'stub' ELSE 'listed' END
                                ELSE closing_failure(e.status, 'rejected') END
    -- Still what `due` locked, and what was seen when the statement began: of that `ready_at` is asked,
    -- which is anew whenever it becomes ready. Its status is not asked again: that would let the planner
    -- walk the index of all that are ready instead of looking these up.
    FROM envelope e
    WHERE d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM due))
      AND d.delivery_id = e.delivery_id AND d.lease_token IS NULL AND d.ready_at = e.ready_at
    RETURNING d.*, e.due_at, e.ordinals, e.addresses, e.closed
), opened AS (
    INSERT INTO attempts (delivery_id, attempt_no, cycle_attempt, lease_token, leased_by)
    SELECT delivery_id, attempt_no, cycle_attempt, lease_token, leased_by
    FROM moved WHERE status = 'sending'
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id, CASE status WHEN 'failed' THEN 'permanent' ELSE 'exhausted' END,
        attempt_no, cycle_attempt, 'the other recipients were refused'
    FROM moved WHERE status IN ('failed', 'dead_letter')
)
SELECT delivery_id, source, lane, status, payload_mode, mail_from, attempt_no, cycle_attempt,
    retry_policy, expires_at, created_at, ready_at, due_at, traceparent, mime_size, failure,
    clock_timestamp(), coalesce(ordinals, '{}'), coalesce(addresses, '{}'), coalesce(closed, '{}'),
    (SELECT p.mime FROM delivery_payloads p WHERE p.delivery_id = m.delivery_id
       AND m.status = 'sending' AND m.so_far <= %(mime_budget)s)
FROM (SELECT *, sum(mime_size) OVER (ORDER BY lane, ready_at, delivery_id) AS so_far FROM moved) m
ORDER BY lane, ready_at, delivery_id;

-- name: settle
-- sender: sending -> queued, rendered, sent, deferred, failed, dead_letter, suppressed, uncertain, cancelled
-- Records the outcome of attempts whose lease is still ours: delivery, attempt, recipients and
-- dead-letter entry together. No row back means that the lease was lost. A cancel that came while
-- it was sending takes the second of the two ends that the caller worked out.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        %(delivery_ids)b::uuid[], %(lease_tokens)b::uuid[], %(statuses)b::text[],
        %(failures)b::text[], %(cancelled_statuses)b::text[], %(cancelled_failures)b::text[],
        %(next_attempt_ats)b::timestamptz[], %(is_burnt)b::boolean[], %(attempt_statuses)b::text[],
        %(outcomes)b::text[], %(stages)b::text[], %(reply_codes)b::smallint[],
        %(enhanced_codes)b::text[], %(summaries)b::text[], %(relays)b::text[]
    ) AS i (delivery_id, lease_token, status, failure, cancelled_status, cancelled_failure,
            next_attempt_at, is_burnt, attempt_status, outcome, stage, reply_code, enhanced_code,
            summary, relay)
), moved AS (
    UPDATE deliveries d SET
        status = CASE WHEN d.cancel_requested_at IS NULL THEN i.status ELSE i.cancelled_status END,
        failure = CASE WHEN d.cancel_requested_at IS NULL THEN i.failure ELSE i.cancelled_failure END,
        next_attempt_at = CASE WHEN d.cancel_requested_at IS NULL THEN i.next_attempt_at END,
        ready_at = CASE WHEN d.cancel_requested_at IS NULL AND i.status IN ('queued', 'rendered')
                        THEN clock_timestamp() END,
        finished_at = CASE WHEN d.cancel_requested_at IS NOT NULL
                             OR i.status NOT IN ('queued', 'rendered', 'deferred')
                           THEN clock_timestamp() END,
        cycle_attempt = d.cycle_attempt - (NOT i.is_burnt)::integer,
        lease_token = NULL, leased_by = NULL
    FROM input i
    WHERE d.delivery_id = i.delivery_id AND d.lease_token = i.lease_token
    RETURNING d.delivery_id, d.status, d.failure, d.source, d.attempt_no, d.cycle_attempt,
        d.traceparent, d.created_at, d.finished_at, d.cancel_requested_at IS NOT NULL AS is_cancelled, i.attempt_status, i.outcome,
        i.stage, i.reply_code, i.enhanced_code, i.summary, i.relay
), replied AS (
    UPDATE delivery_recipients r SET
        status = CASE WHEN m.is_cancelled THEN a.cancelled_status ELSE a.status END,
        reply_code = a.reply_code, enhanced_code = a.enhanced_code
    FROM unnest(
        %(r_delivery_ids)b::uuid[], %(r_ordinals)b::smallint[], %(r_statuses)b::text[],
        %(r_cancelled_statuses)b::text[], %(r_reply_codes)b::smallint[], %(r_enhanced_codes)b::text[]
    ) AS a (delivery_id, ordinal, status, cancelled_status, reply_code, enhanced_code)
    JOIN moved m USING (delivery_id)
    WHERE r.delivery_id = a.delivery_id AND r.ordinal = a.ordinal
), closed AS (
    UPDATE attempts a SET status = m.attempt_status, outcome = m.outcome, stage = m.stage,
        reply_code = m.reply_code, enhanced_code = m.enhanced_code, summary = m.summary,
        relay = m.relay, finished_at = clock_timestamp()
    FROM moved m
    WHERE a.delivery_id = m.delivery_id AND a.attempt_no = m.attempt_no
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id,
        CASE WHEN status = 'dead_letter' THEN 'exhausted'
             WHEN failure IN ('expired', 'poison') THEN failure ELSE 'permanent' END,
        attempt_no, cycle_attempt, coalesce(summary, failure, '')
    FROM moved WHERE status IN ('failed', 'dead_letter')
)
SELECT delivery_id, status, source, attempt_no, cycle_attempt, traceparent, created_at, finished_at
FROM moved;

-- name: leases_of
-- (reads)
-- What one holder has leased, all but what it names.
SELECT delivery_id, lease_token FROM deliveries
WHERE leased_by = %(leased_by)s AND delivery_id <> ALL (%(held)b::uuid[]);

-- name: hand_back
-- sender: sending -> queued, rendered, sent, failed, dead_letter, uncertain, cancelled
-- Gives up leases that were never started: the attempt row goes, the counters are as before. Each is
-- named by its token: one that is late, done when its sender has long given it up, must not take a
-- later lease of the same holder. A cancel that came meanwhile is honoured here: this attempt certainly
-- did not go, but the one before may have.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(%(delivery_ids)b::uuid[], %(lease_tokens)b::uuid[])
        AS i (delivery_id, lease_token)
), moved AS (
    UPDATE deliveries d SET
        (status, failure) = (
            SELECT next.status, closing_failure(next.status, 'rejected')
            FROM (SELECT CASE WHEN d.cancel_requested_at IS NULL THEN ready_status(d.payload_mode)
                ELSE status_when_open_become(d.delivery_id, CASE WHEN EXISTS (
                    SELECT FROM attempts a WHERE a.delivery_id = d.delivery_id
                      AND a.attempt_no = d.attempt_no - 1 AND a.outcome = 'unknown')
                    THEN 'uncertain' ELSE 'cancelled' END) END AS status) next),
        ready_at = CASE WHEN d.cancel_requested_at IS NULL THEN clock_timestamp() END,
        finished_at = CASE WHEN d.cancel_requested_at IS NOT NULL THEN clock_timestamp() END,
        next_attempt_at = NULL, attempt_no = d.attempt_no - 1, cycle_attempt = d.cycle_attempt - 1,
        lease_token = NULL, leased_by = NULL
    FROM input i
    WHERE d.delivery_id = i.delivery_id AND d.lease_token = i.lease_token
    RETURNING d.delivery_id, d.status, d.attempt_no, d.cycle_attempt
), closed AS (
    UPDATE delivery_recipients r
    SET status = CASE a.outcome WHEN 'unknown' THEN 'uncertain' ELSE 'cancelled' END
    FROM moved m
    LEFT JOIN attempts a ON a.delivery_id = m.delivery_id AND a.attempt_no = m.attempt_no
    WHERE m.status NOT IN ('queued', 'rendered') AND r.delivery_id = m.delivery_id AND r.status = 'open'
), withdrawn AS (
    DELETE FROM attempts a USING moved m
    WHERE a.delivery_id = m.delivery_id AND a.attempt_no = m.attempt_no + 1
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id, CASE status WHEN 'failed' THEN 'permanent' ELSE 'exhausted' END,
        attempt_no, cycle_attempt, 'the other recipients were refused'
    FROM moved WHERE status IN ('failed', 'dead_letter')
)
SELECT delivery_id, status FROM moved;

-- name: promote_due
-- scheduler: scheduled, deferred -> queued, rendered
-- Makes ready what is due, oldest first; next_attempt_at stays: the sender tells its lateness by it.
WITH due AS MATERIALIZED (
    SELECT delivery_id FROM deliveries
    WHERE status IN ('scheduled', 'deferred')
      AND next_attempt_at >= coalesce(%(since)s::timestamptz, '-infinity')
      AND next_attempt_at <= (SELECT clock_timestamp())
      AND (expires_at IS NULL OR expires_at > clock_timestamp())
    ORDER BY next_attempt_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE deliveries d SET status = ready_status(d.payload_mode), ready_at = clock_timestamp()
WHERE d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM due)) AND d.status IN ('scheduled', 'deferred')
RETURNING d.delivery_id;

-- name: expired_leases
-- (reads)
-- Leases whose end has passed: what the scheduler decides about before it reclaims.
SELECT delivery_id, source, lane, lease_token, cycle_attempt, attempt_no, retry_policy, traceparent,
    clock_timestamp() AS now
FROM deliveries
WHERE status = 'sending' AND next_attempt_at >= coalesce(%(since)s::timestamptz, '-infinity')
  AND next_attempt_at <= (SELECT clock_timestamp())
ORDER BY next_attempt_at LIMIT %(limit)s;

-- name: reclaim
-- scheduler: sending -> deferred, dead_letter, uncertain
-- Takes rows back from senders that vanished. The guard is here, not in the reading before: a lease
-- that was settled or taken anew meanwhile is left alone. A cancelled one may have gone: uncertain.
-- Where the ladder is at its end the recipients' rule holds: somebody may be uncertain already.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        %(delivery_ids)b::uuid[], %(lease_tokens)b::uuid[], %(statuses)b::text[],
        %(next_attempt_ats)b::timestamptz[], %(failures)b::text[]
    ) AS i (delivery_id, lease_token, status, next_attempt_at, failure)
), moved AS (
    UPDATE deliveries d SET
        (status, failure) = (
            SELECT next.status, CASE next.status WHEN i.status THEN i.failure ELSE 'unknown' END
            FROM (SELECT CASE
                WHEN d.cancel_requested_at IS NOT NULL THEN 'uncertain'
                WHEN i.status = 'dead_letter' THEN status_when_open_become(d.delivery_id, 'exhausted')
                ELSE i.status END AS status) next),
        next_attempt_at = CASE WHEN d.cancel_requested_at IS NULL THEN i.next_attempt_at END,
        finished_at = CASE WHEN d.cancel_requested_at IS NOT NULL OR i.status <> 'deferred'
                           THEN clock_timestamp() END,
        ready_at = NULL, lease_token = NULL, leased_by = NULL
    FROM input i
    WHERE d.delivery_id = i.delivery_id AND d.lease_token = i.lease_token
      AND d.next_attempt_at <= clock_timestamp()
    RETURNING d.delivery_id, d.status, d.attempt_no, d.cycle_attempt,
        CASE WHEN d.cancel_requested_at IS NULL AND i.status = 'dead_letter'
             THEN 'exhausted' ELSE 'uncertain' END AS recipient_status
), closed AS (
    UPDATE attempts a SET status = 'abandoned', outcome = 'unknown', finished_at = clock_timestamp(),
        summary = 'the sender vanished; whether the message went is not known'
    FROM moved m
    WHERE a.delivery_id = m.delivery_id AND a.attempt_no = m.attempt_no
), ended AS (
    UPDATE delivery_recipients r SET status = m.recipient_status
    FROM moved m
    WHERE m.status <> 'deferred' AND r.delivery_id = m.delivery_id AND r.status = 'open'
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id, 'exhausted', attempt_no, cycle_attempt, 'the sender vanished on the last attempt'
    FROM moved WHERE status = 'dead_letter'
)
SELECT delivery_id, status FROM moved;

-- name: hold_overdue
-- (writes)
-- Locks what is past its expires_at and has no sender, until the transaction ends.
SELECT delivery_id, attempt_no FROM deliveries
WHERE expires_at IS NOT NULL AND expires_at >= coalesce(%(since)s::timestamptz, '-infinity')
  AND expires_at <= (SELECT clock_timestamp())
  AND status IN ('scheduled', 'queued', 'rendered', 'deferred')
ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED;

-- name: expire_overdue
-- scheduler: scheduled, queued, rendered, deferred -> sent, failed, dead_letter, uncertain
-- Ends what is past its expires_at: open recipients expire, or are uncertain if the last attempt may
-- have reached them; then the recipients' rule holds. After `hold_overdue`.
WITH last AS MATERIALIZED (
    SELECT i.delivery_id,
        CASE a.outcome WHEN 'unknown' THEN 'uncertain' ELSE 'expired' END AS recipient_status
    FROM unnest(%(delivery_ids)b::uuid[], %(attempt_nos)b::integer[]) AS i (delivery_id, attempt_no)
    LEFT JOIN attempts a USING (delivery_id, attempt_no)
), ended AS MATERIALIZED (
    SELECT delivery_id, recipient_status,
        status_when_open_become(delivery_id, recipient_status) AS status
    FROM last
), moved AS (
    UPDATE deliveries d SET status = e.status,
        failure = closing_failure(e.status, 'expired'),
        finished_at = clock_timestamp(), next_attempt_at = NULL, ready_at = NULL
    FROM ended e
    WHERE d.delivery_id = e.delivery_id
      AND d.finished_at IS NULL AND d.lease_token IS NULL AND d.expires_at <= clock_timestamp()
    RETURNING d.delivery_id, d.source, d.status, d.attempt_no, d.cycle_attempt, d.traceparent,
        e.recipient_status
), closed AS (
    UPDATE delivery_recipients r SET status = m.recipient_status
    FROM moved m WHERE r.delivery_id = m.delivery_id AND r.status = 'open'
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id, CASE status WHEN 'failed' THEN 'expired' ELSE 'exhausted' END,
        attempt_no, cycle_attempt, 'past its expires_at'
    FROM moved WHERE status IN ('failed', 'dead_letter')
)
SELECT delivery_id, source, status, attempt_no, cycle_attempt, traceparent FROM moved;

-- name: next_due
-- (reads)
-- How long until the clock has something to do (a retry, a send_at, the end of a lease, an expiry),
-- null where that is later than asked for; and what time it is.
WITH asked AS MATERIALIZED (
    SELECT coalesce(%(since)s::timestamptz, '-infinity') AS since,
        clock_timestamp() + %(within)s::interval AS until
)
SELECT least(
    (SELECT next_attempt_at FROM deliveries WHERE status IN ('scheduled', 'deferred')
       AND next_attempt_at >= (SELECT since FROM asked) AND next_attempt_at <= (SELECT until FROM asked)
     ORDER BY next_attempt_at LIMIT 1),
    (SELECT next_attempt_at FROM deliveries WHERE status = 'sending'
       AND next_attempt_at >= (SELECT since FROM asked) AND next_attempt_at <= (SELECT until FROM asked)
     ORDER BY next_attempt_at LIMIT 1),
    (SELECT expires_at FROM deliveries
     WHERE expires_at IS NOT NULL AND status IN ('scheduled', 'queued', 'rendered', 'deferred')
       AND expires_at >= (SELECT since FROM asked) AND expires_at <= (SELECT until FROM asked)
     ORDER BY expires_at LIMIT 1)
) - clock_timestamp(), clock_timestamp();

-- name: delete_deliveries
-- retention: sent, suppressed, failed, dead_letter, uncertain, cancelled -> (deleted)
-- Deletes final deliveries of a certain age with all that belongs to them, parent and children in
-- one statement. Their reservations stay for their own time.
WITH old AS MATERIALIZED (
    SELECT delivery_id FROM deliveries
    WHERE finished_at IS NOT NULL AND finished_at < (SELECT clock_timestamp()) - %(keep)s::interval
    ORDER BY finished_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), a AS (DELETE FROM attempts t WHERE t.delivery_id = ANY (ARRAY(SELECT delivery_id FROM old))
), r AS (DELETE FROM delivery_recipients t WHERE t.delivery_id = ANY (ARRAY(SELECT delivery_id FROM old))
), p AS (DELETE FROM delivery_payloads t WHERE t.delivery_id = ANY (ARRAY(SELECT delivery_id FROM old))
), l AS (DELETE FROM dead_letters t WHERE t.delivery_id = ANY (ARRAY(SELECT delivery_id FROM old))
)
DELETE FROM deliveries d
WHERE d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM old)) AND d.finished_at IS NOT NULL
RETURNING d.delivery_id;

-- name: leased_rows
-- (reads)
-- What one holder has leased: what the adopter of its journal decides about. Deaths before an operator
-- requeued it do not count: that was an order to try again.
SELECT d.delivery_id, d.source, d.lane, d.payload_mode, d.lease_token, d.attempt_no, d.cycle_attempt,
    d.retry_policy, d.expires_at, d.traceparent, d.created_at, clock_timestamp() AS now,
    coalesce(r.ordinals, '{}') AS ordinals, coalesce(r.closed, '{}') AS closed,
    (SELECT count(*) FROM attempts a
     WHERE a.delivery_id = d.delivery_id AND a.status = 'abandoned' AND a.attempt_no > coalesce(
        (SELECT max(l.attempt_no) FROM dead_letters l WHERE l.delivery_id = d.delivery_id), 0)
    ) AS abandoned
FROM deliveries d
LEFT JOIN LATERAL (
    SELECT array_agg(ordinal ORDER BY ordinal) FILTER (WHERE status = 'open') AS ordinals,
        array_agg(DISTINCT status) FILTER (WHERE status <> 'open') AS closed
    FROM delivery_recipients WHERE delivery_id = d.delivery_id
) r ON true
WHERE d.leased_by = %(leased_by)s AND d.status = 'sending';

-- name: settle_late
-- sender: scheduled, queued, rendered, deferred, failed, dead_letter, suppressed, uncertain, cancelled -> sent, failed, suppressed
-- An outcome that became known after its lease was taken back. It holds if no attempt has followed
-- and the attempt of this token was closed as `abandoned` and unknown; otherwise nothing moves: what
-- was recorded once is not recorded again, whatever an operator has ordered since. Where the delivery
-- goes on for others, whoever has the mail is not tried again.
WITH input AS MATERIALIZED (
    SELECT * FROM unnest(
        %(delivery_ids)b::uuid[], %(lease_tokens)b::uuid[], %(statuses)b::text[],
        %(failures)b::text[], %(attempt_statuses)b::text[], %(outcomes)b::text[],
        %(stages)b::text[], %(reply_codes)b::smallint[], %(enhanced_codes)b::text[],
        %(summaries)b::text[], %(relays)b::text[]
    ) AS i (delivery_id, lease_token, status, failure, attempt_status, outcome, stage, reply_code,
            enhanced_code, summary, relay)
), held AS MATERIALIZED (
    SELECT d.delivery_id, d.attempt_no, d.source, d.traceparent
    FROM input i JOIN deliveries d USING (delivery_id)
    WHERE d.status NOT IN ('sending', 'sent') FOR UPDATE OF d
), closed AS (
    UPDATE attempts a SET status = i.attempt_status, outcome = i.outcome, stage = i.stage,
        reply_code = i.reply_code, enhanced_code = i.enhanced_code, summary = i.summary,
        relay = i.relay
    FROM input i JOIN held d USING (delivery_id)
    WHERE a.delivery_id = i.delivery_id AND a.attempt_no = d.attempt_no
      AND a.lease_token = i.lease_token AND a.status = 'abandoned' AND a.outcome = 'unknown'
    RETURNING a.delivery_id, a.attempt_no, a.cycle_attempt, d.source, d.traceparent
), moved AS (
    UPDATE deliveries d SET status = i.status, failure = i.failure, next_attempt_at = NULL,
        ready_at = NULL, finished_at = clock_timestamp()
    FROM input i JOIN closed USING (delivery_id)
    WHERE d.delivery_id = i.delivery_id AND d.status NOT IN ('sending', 'sent')
      AND i.status IN ('sent', 'failed', 'suppressed')
    RETURNING d.delivery_id, d.status, d.failure, d.attempt_no, d.cycle_attempt, d.created_at,
        d.finished_at, i.summary
), changed AS (
    -- Ready still, for others than before: a lease that has begun to read must see that.
    UPDATE deliveries d SET ready_at = clock_timestamp()
    FROM input i JOIN closed USING (delivery_id)
    WHERE d.delivery_id = i.delivery_id AND d.status = ready_status(d.payload_mode)
      AND i.status NOT IN ('sent', 'failed', 'suppressed')
), replied AS (
    UPDATE delivery_recipients r SET status = a.status, reply_code = a.reply_code,
        enhanced_code = a.enhanced_code
    FROM unnest(
        %(r_delivery_ids)b::uuid[], %(r_ordinals)b::smallint[], %(r_statuses)b::text[],
        %(r_reply_codes)b::smallint[], %(r_enhanced_codes)b::text[]
    ) AS a (delivery_id, ordinal, status, reply_code, enhanced_code)
    JOIN closed c USING (delivery_id) LEFT JOIN moved m USING (delivery_id)
    WHERE r.delivery_id = a.delivery_id AND r.ordinal = a.ordinal
      AND (m.delivery_id IS NOT NULL OR a.status IN ('accepted', 'refused', 'suppressed'))
), left_open AS (
    UPDATE dead_letters l SET closed_at = clock_timestamp()
    FROM moved m
    WHERE l.delivery_id = m.delivery_id AND l.closed_at IS NULL AND m.status <> 'failed'
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id, 'permanent', attempt_no, cycle_attempt, coalesce(summary, failure, '')
    FROM moved WHERE status = 'failed'
    ON CONFLICT (delivery_id) WHERE closed_at IS NULL DO NOTHING
)
SELECT c.delivery_id, coalesce(m.status, ''), c.source, c.attempt_no, c.cycle_attempt, c.traceparent,
    m.created_at, m.finished_at
FROM closed c LEFT JOIN moved m USING (delivery_id);

-- name: hold_delivery
-- (writes)
-- Locks one delivery until the transaction ends, and tells what it is. The statement after this one
-- sees recipients and attempts as the last move left them: its snapshot is taken under the lock.
SELECT delivery_id, source, lane, status, failure, attempt_no, cycle_attempt, expires_at,
    cancel_requested_at, traceparent
FROM deliveries WHERE delivery_id = %(delivery_id)b::uuid
FOR UPDATE;

-- name: hold_free_deliveries
-- (writes)
-- The same for those of many that nobody has locked. Waiting for one of them while holding the
-- others could meet a settle that does the same the other way round, and one of the two would die.
SELECT delivery_id, source, lane, status, failure, attempt_no, cycle_attempt, expires_at,
    cancel_requested_at, traceparent
FROM deliveries WHERE delivery_id = ANY (%(delivery_ids)b::uuid[])
FOR UPDATE SKIP LOCKED;

-- name: cancel
-- api: scheduled, queued, rendered, deferred -> sent, failed, dead_letter, uncertain, cancelled
-- Ends what no sender has: open recipients become `cancelled`, or `uncertain` where the last attempt
-- may have reached them; then the recipients' rule holds. After `hold_delivery`.
WITH old AS MATERIALIZED (
    SELECT d.delivery_id, d.status,
        CASE a.outcome WHEN 'unknown' THEN 'uncertain' ELSE 'cancelled' END AS recipient_status
    FROM deliveries d
    LEFT JOIN attempts a ON a.delivery_id = d.delivery_id AND a.attempt_no = d.attempt_no
    WHERE d.delivery_id = ANY (%(delivery_ids)b::uuid[])
      AND d.status IN ('scheduled', 'queued', 'rendered', 'deferred')
), ended AS MATERIALIZED (
    SELECT delivery_id, status, recipient_status,
        status_when_open_become(delivery_id, recipient_status) AS end_status
    FROM old
), moved AS (
    UPDATE deliveries d SET status = e.end_status,
        failure = closing_failure(e.end_status, 'rejected'),
        finished_at = clock_timestamp(), next_attempt_at = NULL, ready_at = NULL
    FROM ended e
    WHERE d.delivery_id = e.delivery_id AND d.status = e.status
    RETURNING d.delivery_id, d.status, d.attempt_no, d.cycle_attempt, e.recipient_status
), closed AS (
    UPDATE delivery_recipients r SET status = m.recipient_status
    FROM moved m WHERE r.delivery_id = m.delivery_id AND r.status = 'open'
), entered AS (
    INSERT INTO dead_letters (delivery_id, cause, attempt_no, cycle_attempt, reason)
    SELECT delivery_id, CASE status WHEN 'failed' THEN 'permanent' ELSE 'exhausted' END,
        attempt_no, cycle_attempt, 'the other recipients were refused'
    FROM moved WHERE status IN ('failed', 'dead_letter')
)
SELECT delivery_id FROM moved;

-- name: request_cancel
-- api: sending -> sending
-- Asks for the end of what a sender has: whatever takes it out of `sending` honours it, unless it
-- was sent. Asking again changes nothing.
UPDATE deliveries SET cancel_requested_at = clock_timestamp()
WHERE delivery_id = ANY (%(delivery_ids)b::uuid[]) AND status = 'sending'
  AND cancel_requested_at IS NULL
RETURNING delivery_id;

-- name: requeue
-- api: failed, dead_letter, uncertain -> queued, rendered
-- Begins a new cycle for the recipients that gave the status; the others stay as they ended. Auth
-- mail, mail past its expires_at and mail without its bytes stay ended. The answer has what was held
-- back by nothing but time, and what moved. After `hold_delivery`.
WITH old AS MATERIALIZED (
    SELECT d.delivery_id, d.status,
        CASE d.status WHEN 'uncertain' THEN '{uncertain}' WHEN 'dead_letter' THEN '{exhausted}'
                      ELSE '{refused,expired}' END::text[] AS recipient_statuses
    FROM deliveries d JOIN delivery_payloads p ON p.delivery_id = d.delivery_id
    WHERE d.delivery_id = ANY (%(delivery_ids)b::uuid[])
      AND d.status IN ('failed', 'dead_letter', 'uncertain') AND d.lane <> 0
), moved AS (
    UPDATE deliveries d SET status = ready_status(d.payload_mode), ready_at = clock_timestamp(),
        next_attempt_at = NULL, finished_at = NULL, failure = NULL, cycle_attempt = 0,
        cancel_requested_at = NULL,
        expires_at = coalesce(%(expires_at)b::timestamptz, d.expires_at)
    FROM old o
    WHERE d.delivery_id = o.delivery_id AND d.status = o.status
      AND (coalesce(%(expires_at)b::timestamptz, d.expires_at) > clock_timestamp()) IS NOT FALSE
    RETURNING d.delivery_id, o.recipient_statuses
), reopened AS (
    UPDATE delivery_recipients r SET status = 'open'
    FROM moved m
    WHERE r.delivery_id = m.delivery_id AND r.status = ANY (m.recipient_statuses)
), left_open AS (
    UPDATE dead_letters l SET closed_at = clock_timestamp()
    FROM moved m WHERE l.delivery_id = m.delivery_id AND l.closed_at IS NULL
)
SELECT delivery_id FROM old;
