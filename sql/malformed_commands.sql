-- name: store_malformed
-- (writes)
-- Refused entries, one record each however often the entry comes.
INSERT INTO malformed_commands (stream, stream_entry_id, failure_code, detail, source, delivery_id,
    raw, raw_size, is_complete)
SELECT %(stream)s, i.* FROM unnest(
    %(entry_ids)b::text[], %(failure_codes)b::text[], %(details)b::text[], %(sources)b::text[],
    %(delivery_ids)b::text[], %(raws)b::bytea[], %(raw_sizes)b::bigint[], %(is_complete)b::boolean[]) i
ON CONFLICT (stream, stream_entry_id) DO NOTHING
RETURNING stream_entry_id;

-- name: delete_malformed
-- (writes)
WITH old AS MATERIALIZED (
    SELECT malformed_id FROM malformed_commands
    WHERE received_at < (SELECT clock_timestamp()) - %(keep)s::interval
    ORDER BY received_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
DELETE FROM malformed_commands m WHERE m.malformed_id = ANY (ARRAY(SELECT malformed_id FROM old))
RETURNING m.malformed_id;
