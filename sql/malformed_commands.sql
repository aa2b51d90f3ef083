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

-- name: list_malformed
-- (reads)
-- Those wanted among the next refused entries after a position, newest first; only so many are looked
-- at. The raw entries stay where they are.
SELECT malformed_id, stream, stream_entry_id, failure_code, detail, source, delivery_id, raw_size,
    is_complete, received_at, replayed_at, replayed_as
FROM (
    SELECT * FROM malformed_commands
    WHERE (%(received_from)b::timestamptz IS NULL OR received_at >= %(received_from)b::timestamptz)
      AND (%(received_to)b::timestamptz IS NULL OR received_at < %(received_to)b::timestamptz)
      AND (%(before_at)b::timestamptz IS NULL
           OR (received_at, malformed_id) < (%(before_at)b::timestamptz, %(before_id)b::bigint))
    ORDER BY received_at DESC, malformed_id DESC LIMIT %(most)s
) m
WHERE (%(failure_codes)b::text[] IS NULL OR failure_code = ANY (%(failure_codes)b::text[]))
  AND (%(sources)b::text[] IS NULL OR source = ANY (%(sources)b::text[]))
  AND (%(is_replayed)b::boolean IS NULL
       OR (replayed_at IS NOT NULL) = %(is_replayed)b::boolean)
ORDER BY received_at DESC, malformed_id DESC LIMIT %(limit)s;

-- name: malformed_looked_at
-- (reads)
-- Where a page of `list_malformed` stopped looking; no row when it has seen them all.
SELECT received_at, malformed_id FROM malformed_commands
WHERE (%(received_from)b::timestamptz IS NULL OR received_at >= %(received_from)b::timestamptz)
  AND (%(received_to)b::timestamptz IS NULL OR received_at < %(received_to)b::timestamptz)
  AND (%(before_at)b::timestamptz IS NULL
       OR (received_at, malformed_id) < (%(before_at)b::timestamptz, %(before_id)b::bigint))
ORDER BY received_at DESC, malformed_id DESC OFFSET %(most)s - 1 LIMIT 1;

-- name: find_malformed
-- (reads)
-- One refused entry.
SELECT malformed_id, stream, stream_entry_id, failure_code, detail, source, delivery_id, raw_size,
    is_complete, received_at, replayed_at, replayed_as
FROM malformed_commands WHERE malformed_id = %(malformed_id)s;

-- name: find_raw
-- (reads)
-- The bytes of one refused entry, as far as they were kept.
SELECT raw FROM malformed_commands WHERE malformed_id = %(malformed_id)s;

-- name: hold_malformed
-- (writes)
-- Locks one refused entry until the transaction ends, and tells whether it was replayed.
SELECT replayed_as FROM malformed_commands WHERE malformed_id = %(malformed_id)s FOR UPDATE;

-- name: mark_malformed_replayed
-- (writes)
-- Notes what delivery a refused entry became after all. After `hold_malformed`.
UPDATE malformed_commands SET replayed_at = clock_timestamp(), replayed_as = %(delivery_id)s
WHERE malformed_id = %(malformed_id)s;
