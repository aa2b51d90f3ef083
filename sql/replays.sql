-- Bulk replays of dead letters: an order, carried out in batches by whichever scheduler holds it.

-- name: order_replay
-- (writes)
-- Writes the order down and the line of the audit trail that gives it its number.
WITH numbered AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('operator_actions', 'action_id')) AS replay_id
), trail AS (
    INSERT INTO operator_actions (action_id, actor, action, subject, after, reason, acted_at)
    OVERRIDING SYSTEM VALUE
    SELECT replay_id, %(actor)s, 'replay', 'replay ' || replay_id, %(after)s, %(reason)s, now()
    FROM numbered
)
INSERT INTO replays (replay_id, wanted, rate, expires_at, actor, reason, matched)
SELECT replay_id, %(wanted)s, %(rate)s, %(expires_at)s, %(actor)s, %(reason)s, %(matched)s
FROM numbered
RETURNING replay_id;

-- name: list_replays
-- (reads)
-- A page of the orders, newest first.
SELECT replay_id, status, wanted, rate, expires_at, actor, reason, matched, requeued, skipped,
    returned, next_at, created_at
FROM replays
WHERE %(before_id)b::bigint IS NULL OR replay_id < %(before_id)b::bigint
ORDER BY replay_id DESC LIMIT %(limit)s;

-- name: find_replay
-- (reads)
-- One order.
SELECT replay_id, status, wanted, rate, expires_at, actor, reason, matched, requeued, skipped,
    returned, next_at, created_at
FROM replays WHERE replay_id = %(replay_id)s;

-- name: count_replayed
-- (reads)
-- What the deliveries that a replay requeued are now.
SELECT d.status, count(*) FROM dead_letters l JOIN deliveries d USING (delivery_id)
WHERE l.replay_id = %(replay_id)s GROUP BY d.status;

-- name: cancel_replay
-- (writes)
-- Asks for the end of a replay; what it left scheduled is put back, from the first on.
UPDATE replays SET status = 'cancelling', walked_id = 0
WHERE replay_id = %(replay_id)s AND status IN ('requeueing', 'requeued')
RETURNING replay_id;

-- name: hold_replay
-- (writes)
-- Locks one order with work left that no other scheduler has in hand.
SELECT replay_id, status, wanted, rate, expires_at, walked_at, walked_id, created_at,
    greatest(next_at, clock_timestamp())
FROM replays WHERE status IN ('requeueing', 'cancelling')
ORDER BY replay_id LIMIT 1 FOR UPDATE SKIP LOCKED;

-- name: advance_replay
-- (writes)
-- Notes how far a replay has come. After `hold_replay`.
UPDATE replays SET status = %(status)s, walked_at = %(walked_at)s, walked_id = %(walked_id)s,
    next_at = %(next_at)s, requeued = requeued + %(requeued)s, skipped = skipped + %(skipped)s,
    returned = returned + %(returned)s
WHERE replay_id = %(replay_id)s;

-- name: replay
-- scheduler: failed, dead_letter -> scheduled
-- Begins a new cycle, each delivery at a time of its own in the order given, for the recipients that
-- gave the status. What it was is kept with its dead letter. Auth mail, mail that would be past its
-- expires_at by then and mail without its bytes stay ended. After `hold_free_deliveries`.
WITH old AS MATERIALIZED (
    SELECT d.delivery_id, d.status, l.dead_letter_id,
        CASE d.status WHEN 'dead_letter' THEN '{exhausted}' ELSE '{refused,expired}' END::text[]
            AS recipient_statuses,
        %(first_at)b::timestamptz
            + (row_number() OVER (ORDER BY i.place) - 1) * %(gap)b::interval AS due_at,
        jsonb_build_object('failure', d.failure, 'finished_at', d.finished_at,
            'expires_at', d.expires_at, 'cycle_attempt', d.cycle_attempt, 'recipients', (
                SELECT jsonb_object_agg(r.ordinal, r.status) FROM delivery_recipients r
                WHERE r.delivery_id = d.delivery_id)) AS former
    FROM unnest(%(delivery_ids)b::uuid[]) WITH ORDINALITY AS i (delivery_id, place)
    JOIN deliveries d ON d.delivery_id = i.delivery_id
    JOIN delivery_payloads p ON p.delivery_id = i.delivery_id
    JOIN dead_letters l ON l.delivery_id = i.delivery_id AND l.closed_at IS NULL
    WHERE array_position('{failed,dead_letter}', d.status) IS NOT NULL AND d.lane <> 0
), moved AS (
    UPDATE deliveries d SET status = 'scheduled', next_attempt_at = o.due_at, ready_at = NULL,
        finished_at = NULL, failure = NULL, cycle_attempt = 0, cancel_requested_at = NULL,
        expires_at = coalesce(%(expires_at)b::timestamptz, d.expires_at)
    FROM old o
    WHERE d.delivery_id = o.delivery_id AND d.status = o.status
      AND (coalesce(%(expires_at)b::timestamptz, d.expires_at) > o.due_at) IS NOT FALSE
    RETURNING d.delivery_id, o.dead_letter_id, o.recipient_statuses, o.former, o.due_at
), reopened AS (
    UPDATE delivery_recipients r SET status = 'open'
    FROM moved m
    WHERE r.delivery_id = m.delivery_id AND r.status = ANY (m.recipient_statuses)
), closed AS (
    UPDATE dead_letters l SET closed_at = clock_timestamp(), replay_id = %(replay_id)s,
        former = m.former
    FROM moved m WHERE l.dead_letter_id = m.dead_letter_id
)
SELECT delivery_id, due_at FROM moved;

-- name: hold_replayed
-- (writes)
-- Locks what a replay left scheduled, a batch at a time. The dead letter it closed must be the last
-- one: a delivery that failed once more belongs to whoever has ordered since.
SELECT l.dead_letter_id, d.delivery_id
FROM dead_letters l JOIN deliveries d USING (delivery_id)
WHERE l.replay_id = %(replay_id)s AND l.dead_letter_id > %(walked_id)s
  AND d.status IS NOT DISTINCT FROM 'scheduled'
  AND NOT EXISTS (
    SELECT FROM dead_letters later
    WHERE later.delivery_id = l.delivery_id AND later.dead_letter_id > l.dead_letter_id)
ORDER BY l.dead_letter_id LIMIT %(limit)s FOR UPDATE OF d SKIP LOCKED;

-- name: undo_replay
-- scheduler: scheduled -> failed, dead_letter
-- Puts deliveries back as they were before their replay, those recipients too that are open still,
-- and opens their dead letters again. After `hold_replayed`. Status and number of the order are
-- compared so that no index of them is walked: one holds all that is scheduled, one the whole order.
WITH letter AS MATERIALIZED (
    SELECT dead_letter_id, delivery_id, cause, former FROM dead_letters
    WHERE dead_letter_id = ANY (%(dead_letter_ids)b::bigint[])
      AND replay_id IS NOT DISTINCT FROM %(replay_id)s
), moved AS (
    UPDATE deliveries d SET
        status = CASE l.cause WHEN 'exhausted' THEN 'dead_letter' ELSE 'failed' END,
        failure = l.former ->> 'failure', next_attempt_at = NULL,
        finished_at = (l.former ->> 'finished_at')::timestamptz,
        expires_at = (l.former ->> 'expires_at')::timestamptz,
        cycle_attempt = (l.former ->> 'cycle_attempt')::integer
    FROM letter l
    WHERE d.delivery_id = ANY (ARRAY(SELECT delivery_id FROM letter))
      AND d.delivery_id = l.delivery_id AND d.status IS NOT DISTINCT FROM 'scheduled'
    RETURNING d.delivery_id, l.dead_letter_id, l.former
), closed AS (
    UPDATE delivery_recipients r SET status = m.former -> 'recipients' ->> r.ordinal::text
    FROM moved m WHERE r.delivery_id = m.delivery_id AND r.status = 'open'
), reopened AS (
    UPDATE dead_letters l SET closed_at = NULL, replay_id = NULL, former = NULL
    FROM moved m WHERE l.dead_letter_id = m.dead_letter_id
)
SELECT delivery_id FROM moved;
