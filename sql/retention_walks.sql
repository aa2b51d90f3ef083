-- How far retention got in walking the ended deliveries.

-- name: find_walk
-- (reads)
-- Where a walk stopped; nothing where it has not begun, or began so long ago that it begins anew, or
-- where a clock that was ahead then wrote it down: with that it would wait until the time has come.
SELECT finished_at, delivery_id FROM retention_walks
WHERE walk = %(walk)s AND finished_at <= clock_timestamp()
  AND begun_at BETWEEN clock_timestamp() - interval '7 days' AND clock_timestamp();

-- name: save_walk
-- (writes)
-- Everything that ended before this was looked at.
INSERT INTO retention_walks (walk, finished_at, delivery_id)
VALUES (%(walk)s, %(finished_at)s, %(delivery_id)s)
ON CONFLICT (walk) DO UPDATE SET finished_at = excluded.finished_at, delivery_id = excluded.delivery_id,
    begun_at = CASE WHEN %(is_new)s THEN clock_timestamp() ELSE retention_walks.begun_at END;
