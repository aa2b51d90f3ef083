-- name: end_pauses
-- (writes)
-- Removes the pauses whose time is over; the lease ignores them from that moment by itself.
DELETE FROM pauses WHERE ends_at IS NOT NULL AND ends_at <= clock_timestamp()
RETURNING pause_id, lane, source, reason;

-- name: list_pauses
-- (reads)
-- The pauses that hold now, oldest first.
SELECT pause_id, lane, source, reason, created_by, created_at, ends_at
FROM pauses WHERE ends_at IS NULL OR ends_at > clock_timestamp()
ORDER BY pause_id;

-- name: add_pause
-- (writes)
-- Keeps a lane, a source, both together or everything from being leased, at once.
INSERT INTO pauses (lane, source, reason, created_by, ends_at)
VALUES (%(lane)s, %(source)s, %(reason)s, %(actor)s, %(ends_at)s)
RETURNING pause_id, lane, source, reason, created_by, created_at, ends_at;

-- name: remove_pause
-- (writes)
-- Ends one pause before its time.
DELETE FROM pauses WHERE pause_id = %(pause_id)s
RETURNING pause_id, lane, source, reason, created_by, created_at, ends_at;
