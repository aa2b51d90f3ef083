-- name: find_suppressed
-- (reads)
-- Which of these (source, address) pairs are on the list now.
SELECT DISTINCT k.source, k.canonical
FROM unnest(%(sources)b::text[], %(canonicals)b::text[]) AS k (source, canonical)
JOIN suppressed_addresses s ON s.canonical = k.canonical AND s.scope IN ('*', k.source)
WHERE s.expires_at IS NULL OR s.expires_at > clock_timestamp();

-- name: hold_suppressions
-- (writes)
-- Locks those of these (address, scope) pairs that are on the list, in order, and tells what they say.
SELECT canonical, scope, reason, created_by, created_at, expires_at
FROM suppressed_addresses
WHERE (canonical, scope) IN (SELECT * FROM unnest(%(canonicals)b::text[], %(scopes)b::text[]))
ORDER BY canonical, scope FOR UPDATE;

-- name: put_suppressions
-- (writes)
-- Puts addresses on the list, or gives those that are there another reason and end; one that says
-- the same already is left alone and gives no row back.
INSERT INTO suppressed_addresses AS s (canonical, scope, reason, created_by, expires_at)
SELECT i.canonical, i.scope, i.reason, %(actor)s, i.expires_at
FROM unnest(%(canonicals)b::text[], %(scopes)b::text[], %(reasons)b::text[],
            %(expires_ats)b::timestamptz[]) AS i (canonical, scope, reason, expires_at)
ORDER BY i.canonical, i.scope
ON CONFLICT (canonical, scope) DO UPDATE
SET reason = excluded.reason, expires_at = excluded.expires_at, created_by = excluded.created_by,
    created_at = clock_timestamp()
WHERE (s.reason, s.expires_at) IS DISTINCT FROM (excluded.reason, excluded.expires_at)
RETURNING canonical, scope, reason, created_by, created_at, expires_at;

-- name: remove_suppressions
-- (writes)
-- Takes addresses off the list.
DELETE FROM suppressed_addresses
WHERE (canonical, scope) IN (SELECT * FROM unnest(%(canonicals)b::text[], %(scopes)b::text[]))
RETURNING canonical, scope;

-- name: list_suppressions
-- (reads)
-- A page of the list by address; what has expired is left out.
SELECT canonical, scope, reason, created_by, created_at, expires_at
FROM suppressed_addresses
WHERE (%(canonical)b::text IS NULL OR canonical = %(canonical)b::text)
  AND (%(scope)b::text IS NULL OR scope = %(scope)b::text)
  AND (expires_at IS NULL OR expires_at > clock_timestamp())
  AND (%(after_canonical)b::text IS NULL
       OR (canonical, scope) > (%(after_canonical)b::text, %(after_scope)b::text))
ORDER BY canonical, scope LIMIT %(limit)s;

-- name: delete_expired_suppressions
-- (writes)
-- Forgets a batch of addresses whose time on the list is over. Looked up by place (ctid), locked first.
DELETE FROM suppressed_addresses
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM suppressed_addresses
    WHERE expires_at <= clock_timestamp() LIMIT %(limit)s FOR UPDATE SKIP LOCKED))
RETURNING canonical;
