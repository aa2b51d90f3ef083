-- name: end_pauses
-- (writes)
-- Removes the pauses whose time is over; the lease ignores them from that moment by itself.
DELETE FROM pauses WHERE ends_at IS NOT NULL AND ends_at <= clock_timestamp()
RETURNING pause_id, lane, source, reason;
