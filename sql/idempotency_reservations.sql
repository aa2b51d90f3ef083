-- name: find_reservations
-- (reads)
-- Who holds these keys. A statement of its own: the one that lost to a concurrent winner cannot see it.
SELECT r.source, r.idempotency_key, r.fingerprint, r.delivery_id
FROM unnest(%(sources)b::text[], %(idempotency_keys)b::text[]) AS k (source, idempotency_key)
JOIN idempotency_reservations r USING (source, idempotency_key);

-- name: taken_delivery_ids
-- (reads)
-- Which of these delivery_ids exist.
SELECT delivery_id FROM deliveries WHERE delivery_id = ANY (%(delivery_ids)b::uuid[]);

-- name: delete_reservations
-- (writes)
-- Walks reservations in the order of their age, a stretch at a time: one goes when its time has
-- passed and its delivery is final or gone. Those that must stay are passed once a walk, not once a
-- stretch: there may be a month of scheduled mail. Nothing ever changes a reservation, so its place
-- (ctid) is safe to delete by.
WITH old AS MATERIALIZED (
    SELECT r.ctid AS place, r.created_at, NOT EXISTS (
        SELECT FROM deliveries d
        WHERE d.delivery_id = r.delivery_id AND d.finished_at IS NULL) AS may_go
    FROM idempotency_reservations r
    WHERE r.created_at > %(after)s AND r.created_at < (SELECT clock_timestamp()) - %(keep)s::interval
    ORDER BY r.created_at LIMIT %(limit)s
), gone AS (
    DELETE FROM idempotency_reservations r
    WHERE r.ctid = ANY (ARRAY(SELECT place FROM old WHERE may_go))
    RETURNING r.source
)
SELECT count(*), (SELECT count(*) FROM gone), max(created_at) FROM old;
