-- name: find_suppressed
-- (reads)
-- Which of these (source, address) pairs are on the list now.
SELECT DISTINCT k.source, k.canonical
FROM unnest(%(sources)b::text[], %(canonicals)b::text[]) AS k (source, canonical)
JOIN suppressed_addresses s ON s.canonical = k.canonical AND s.scope IN ('*', k.source)
WHERE s.expires_at IS NULL OR s.expires_at > clock_timestamp();
