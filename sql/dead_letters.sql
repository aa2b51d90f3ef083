-- What operators review: deliveries that ended `failed` or `dead_letter` and are still that.

-- name: list_dead_letters
-- (reads)
-- Those wanted among the next dead letters after a position, newest first. Only so many are looked
-- at: a filter that hardly anything passes must not read them all for one page.
SELECT l.dead_letter_id, l.delivery_id, d.status, l.cause, l.reason, d.source, d.lane,
    d.template_id, l.attempt_no, l.cycle_attempt, d.expires_at, l.created_at, l.closed_at,
    l.resolved_at, l.resolved_by, l.note, l.replay_id,
    CASE WHEN d.lane = 0 THEN 'auth'
         WHEN NOT EXISTS (SELECT FROM delivery_payloads p WHERE p.delivery_id = l.delivery_id)
         THEN 'content_deleted'
         WHEN d.expires_at <= clock_timestamp() THEN 'expired' END AS hindrance,
    (SELECT array_agg(r.address ORDER BY r.ordinal) FROM delivery_recipients r
     WHERE r.delivery_id = l.delivery_id) AS recipients
FROM (
    SELECT * FROM dead_letters
    WHERE closed_at IS NULL
      AND (%(created_from)b::timestamptz IS NULL OR created_at >= %(created_from)b::timestamptz)
      AND (%(created_to)b::timestamptz IS NULL OR created_at < %(created_to)b::timestamptz)
      AND (%(before_at)b::timestamptz IS NULL
           OR (created_at, dead_letter_id) < (%(before_at)b::timestamptz, %(before_id)b::bigint))
    ORDER BY created_at DESC, dead_letter_id DESC LIMIT %(most)s
) l JOIN deliveries d USING (delivery_id)
WHERE (%(causes)b::text[] IS NULL OR l.cause = ANY (%(causes)b::text[]))
  AND (%(sources)b::text[] IS NULL OR d.source = ANY (%(sources)b::text[]))
  AND (%(lanes)b::smallint[] IS NULL OR d.lane = ANY (%(lanes)b::smallint[]))
  AND (%(template_id)b::text IS NULL OR d.template_id = %(template_id)b::text)
  AND (%(is_resolved)b::boolean IS NULL
       OR (l.resolved_at IS NOT NULL) = %(is_resolved)b::boolean)
  AND (%(dead_letter_ids)b::bigint[] IS NULL
       OR l.dead_letter_id = ANY (%(dead_letter_ids)b::bigint[]))
ORDER BY l.created_at DESC, l.dead_letter_id DESC LIMIT %(limit)s;

-- name: list_dead_letters_to
-- (reads)
-- The same for one recipient: starts from the recipient's deliveries, which are few.
SELECT l.dead_letter_id, l.delivery_id, d.status, l.cause, l.reason, d.source, d.lane,
    d.template_id, l.attempt_no, l.cycle_attempt, d.expires_at, l.created_at, l.closed_at,
    l.resolved_at, l.resolved_by, l.note, l.replay_id,
    CASE WHEN d.lane = 0 THEN 'auth'
         WHEN NOT EXISTS (SELECT FROM delivery_payloads p WHERE p.delivery_id = l.delivery_id)
         THEN 'content_deleted'
         WHEN d.expires_at <= clock_timestamp() THEN 'expired' END AS hindrance,
    (SELECT array_agg(r.address ORDER BY r.ordinal) FROM delivery_recipients r
     WHERE r.delivery_id = l.delivery_id) AS recipients
FROM (
    SELECT DISTINCT delivery_id FROM delivery_recipients WHERE canonical = %(canonical)b::text
) theirs
JOIN dead_letters l ON l.delivery_id = theirs.delivery_id AND l.closed_at IS NULL
JOIN deliveries d ON d.delivery_id = l.delivery_id
WHERE (%(causes)b::text[] IS NULL OR l.cause = ANY (%(causes)b::text[]))
  AND (%(sources)b::text[] IS NULL OR d.source = ANY (%(sources)b::text[]))
  AND (%(lanes)b::smallint[] IS NULL OR d.lane = ANY (%(lanes)b::smallint[]))
  AND (%(template_id)b::text IS NULL OR d.template_id = %(template_id)b::text)
  AND (%(is_resolved)b::boolean IS NULL
       OR (l.resolved_at IS NOT NULL) = %(is_resolved)b::boolean)
  AND (%(dead_letter_ids)b::bigint[] IS NULL
       OR l.dead_letter_id = ANY (%(dead_letter_ids)b::bigint[]))
  AND (%(created_from)b::timestamptz IS NULL OR l.created_at >= %(created_from)b::timestamptz)
  AND (%(created_to)b::timestamptz IS NULL OR l.created_at < %(created_to)b::timestamptz)
  AND (%(before_at)b::timestamptz IS NULL
       OR (l.created_at, l.dead_letter_id) < (%(before_at)b::timestamptz, %(before_id)b::bigint))
ORDER BY l.created_at DESC, l.dead_letter_id DESC LIMIT %(limit)s;

-- name: dead_letters_looked_at
-- (reads)
-- Where a page of `list_dead_letters` stopped looking; no row when it has seen them all.
SELECT created_at, dead_letter_id FROM dead_letters
WHERE closed_at IS NULL
  AND (%(created_from)b::timestamptz IS NULL OR created_at >= %(created_from)b::timestamptz)
  AND (%(created_to)b::timestamptz IS NULL OR created_at < %(created_to)b::timestamptz)
  AND (%(before_at)b::timestamptz IS NULL
       OR (created_at, dead_letter_id) < (%(before_at)b::timestamptz, %(before_id)b::bigint))
ORDER BY created_at DESC, dead_letter_id DESC OFFSET %(most)s - 1 LIMIT 1;

-- name: find_dead_letter
-- (reads)
-- One dead letter, one that is closed too.
SELECT l.dead_letter_id, l.delivery_id, d.status, l.cause, l.reason, d.source, d.lane,
    d.template_id, l.attempt_no, l.cycle_attempt, d.expires_at, l.created_at, l.closed_at,
    l.resolved_at, l.resolved_by, l.note, l.replay_id,
    CASE WHEN d.lane = 0 THEN 'auth'
         WHEN NOT EXISTS (SELECT FROM delivery_payloads p WHERE p.delivery_id = l.delivery_id)
         THEN 'content_deleted'
         WHEN d.expires_at <= clock_timestamp() THEN 'expired' END AS hindrance,
    (SELECT array_agg(r.address ORDER BY r.ordinal) FROM delivery_recipients r
     WHERE r.delivery_id = l.delivery_id) AS recipients
FROM dead_letters l JOIN deliveries d USING (delivery_id)
WHERE l.dead_letter_id = %(dead_letter_id)s;

-- name: hold_dead_letter
-- (writes)
-- Locks one dead letter until the transaction ends, and tells what is known of it.
SELECT closed_at, resolved_at, resolved_by, note FROM dead_letters
WHERE dead_letter_id = %(dead_letter_id)s FOR UPDATE;

-- name: resolve_dead_letter
-- (writes)
-- Notes that somebody has seen to a dead letter; its delivery stays what it is.
UPDATE dead_letters SET resolved_at = clock_timestamp(), resolved_by = %(actor)s, note = %(note)s
WHERE dead_letter_id = %(dead_letter_id)s AND closed_at IS NULL AND resolved_at IS NULL;

-- name: count_dead_letters
-- (reads)
-- What a replay of these would do: how many, by cause, lane and what keeps them from being sent.
SELECT found.cause, found.lane, found.hindrance, count(*)
FROM (
    SELECT l.cause, d.lane, CASE
        WHEN d.lane = 0 THEN 'auth'
        WHEN NOT EXISTS (SELECT FROM delivery_payloads p WHERE p.delivery_id = l.delivery_id)
        THEN 'content_deleted'
        WHEN coalesce(%(expires_at)b::timestamptz, d.expires_at) <= clock_timestamp()
        THEN 'expired' END AS hindrance
    FROM dead_letters l JOIN deliveries d USING (delivery_id)
    WHERE l.closed_at IS NULL
      AND (%(causes)b::text[] IS NULL OR l.cause = ANY (%(causes)b::text[]))
      AND (%(sources)b::text[] IS NULL OR d.source = ANY (%(sources)b::text[]))
      AND (%(lanes)b::smallint[] IS NULL OR d.lane = ANY (%(lanes)b::smallint[]))
      AND (%(template_id)b::text IS NULL OR d.template_id = %(template_id)b::text)
      AND (%(is_resolved)b::boolean IS NULL
           OR (l.resolved_at IS NOT NULL) = %(is_resolved)b::boolean)
      AND (%(dead_letter_ids)b::bigint[] IS NULL
           OR l.dead_letter_id = ANY (%(dead_letter_ids)b::bigint[]))
      AND (%(created_from)b::timestamptz IS NULL OR l.created_at >= %(created_from)b::timestamptz)
      AND (%(created_to)b::timestamptz IS NULL OR l.created_at < %(created_to)b::timestamptz)
      AND (%(canonical)b::text IS NULL OR EXISTS (
           SELECT FROM delivery_recipients r
           WHERE r.delivery_id = l.delivery_id AND r.canonical = %(canonical)b::text))
) found
GROUP BY found.cause, found.lane, found.hindrance
ORDER BY found.cause, found.lane, found.hindrance;

-- name: walk_dead_letters
-- (reads)
-- The next stretch of dead letters that a replay looks at, oldest first, and which of them it wants.
SELECT l.dead_letter_id, l.created_at, l.delivery_id,
    (%(causes)b::text[] IS NULL OR l.cause = ANY (%(causes)b::text[]))
    AND (%(sources)b::text[] IS NULL OR d.source = ANY (%(sources)b::text[]))
    AND (%(lanes)b::smallint[] IS NULL OR d.lane = ANY (%(lanes)b::smallint[]))
    AND (%(template_id)b::text IS NULL OR d.template_id = %(template_id)b::text)
    AND (%(is_resolved)b::boolean IS NULL
         OR (l.resolved_at IS NOT NULL) = %(is_resolved)b::boolean)
    AND (%(dead_letter_ids)b::bigint[] IS NULL
         OR l.dead_letter_id = ANY (%(dead_letter_ids)b::bigint[]))
    AND (%(created_from)b::timestamptz IS NULL OR l.created_at >= %(created_from)b::timestamptz)
    AND (%(created_to)b::timestamptz IS NULL OR l.created_at < %(created_to)b::timestamptz)
    AND (%(canonical)b::text IS NULL OR EXISTS (
         SELECT FROM delivery_recipients r
         WHERE r.delivery_id = l.delivery_id AND r.canonical = %(canonical)b::text))
FROM (
    SELECT * FROM dead_letters
    WHERE closed_at IS NULL
      AND (created_at, dead_letter_id) > (%(walked_at)b::timestamptz, %(walked_id)b::bigint)
      AND created_at <= %(ordered_at)b::timestamptz
    ORDER BY created_at, dead_letter_id LIMIT %(limit)s
) l JOIN deliveries d USING (delivery_id)
ORDER BY l.created_at, l.dead_letter_id;
