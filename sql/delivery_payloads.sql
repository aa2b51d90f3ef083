-- name: store_payloads
-- (writes)
-- The bytes of deliveries accepted in this transaction. unnest stands in the select list so that the
-- bytes are not copied through a tuplestore.
INSERT INTO delivery_payloads (delivery_id, mime)
SELECT unnest(%(delivery_ids)b::uuid[]), unnest(%(mimes)b::bytea[]);

-- name: load_mime
-- (reads)
-- The bytes of one delivery that did not fit into the answer of the lease.
SELECT mime FROM delivery_payloads WHERE delivery_id = %(delivery_id)s;

-- name: finished_payloads
-- (reads)
-- The next stretch of ended deliveries after a position, up to an age: what to delete payloads of.
-- `failed`, `dead_letter` and `uncertain` keep theirs, since an operator may want to send them.
SELECT delivery_id, finished_at, lane, status NOT IN ('failed', 'dead_letter', 'uncertain') AS may_go
FROM deliveries
WHERE finished_at IS NOT NULL AND (finished_at, delivery_id) > (%(after)s, %(after_id)s)
  AND finished_at < (SELECT clock_timestamp()) - %(keep)s::interval
ORDER BY finished_at, delivery_id LIMIT %(limit)s;

-- name: delete_payloads
-- (writes)
-- Deletes the bytes of deliveries that are final still.
DELETE FROM delivery_payloads p
USING deliveries d
WHERE p.delivery_id = ANY (%(delivery_ids)b::uuid[]) AND d.delivery_id = p.delivery_id
  AND d.status IN ('sent', 'suppressed', 'cancelled', 'failed', 'dead_letter', 'uncertain')
RETURNING p.delivery_id;
