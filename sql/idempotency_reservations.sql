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
-- A reservation goes when its time has passed and its delivery is final or gone.
WITH old AS MATERIALIZED (
    SELECT r.source, r.idempotency_key FROM idempotency_reservations r
    WHERE r.created_at < clock_timestamp() - %(keep)s::interval
      AND NOT EXISTS (SELECT FROM deliveries d
                      WHERE d.delivery_id = r.delivery_id AND d.finished_at IS NULL)
    ORDER BY r.created_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM idempotency_reservations r USING old
WHERE r.source = old.source AND r.idempotency_key = old.idempotency_key
RETURNING r.source;
