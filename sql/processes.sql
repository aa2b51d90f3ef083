-- name: database_time
-- (reads)
-- The clock that counts.
SELECT clock_timestamp();

-- name: beat
-- (writes)
-- A sign of life of one process: made at its start, repeated every few seconds. It answers by the
-- database's clock, which is the one that counts.
INSERT INTO processes (process_id, role, host, pid, version, detail)
VALUES (%(process_id)s, %(role)s, %(host)s, %(pid)s, %(version)s, %(detail)s)
ON CONFLICT (process_id) DO UPDATE SET beat_at = clock_timestamp(), detail = excluded.detail
RETURNING clock_timestamp();

-- name: leave
-- (writes)
-- The last sign of a process that stops in order.
DELETE FROM processes WHERE process_id = %(process_id)s;

-- name: forget_processes
-- (writes)
-- Processes that have been silent for a day are nobody's business any more.
DELETE FROM processes WHERE beat_at < clock_timestamp() - interval '1 day'
RETURNING process_id;

-- name: namesakes
-- (reads)
-- Roles alive on a host of our name that is another machine: its kernel was booted another time.
SELECT DISTINCT role FROM processes
WHERE host = %(host)s AND beat_at > clock_timestamp() - %(silence)s::interval
  AND detail->>'boot' <> %(boot)s
ORDER BY role;

-- name: other_installations
-- (reads)
-- What living processes of this database work with that differs from ours; one of each kind.
SELECT DISTINCT ON (detail->>'works_with') role, host, detail->>'works_with'
FROM processes
WHERE beat_at > clock_timestamp() - %(silence)s::interval
  AND detail->>'works_with' <> %(works_with)s
ORDER BY detail->>'works_with', role, host;
