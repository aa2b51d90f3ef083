-- name: schema_version
-- (reads)
-- The newest migration applied, and the oldest code that all applied ones allow.
SELECT max(version), max(oldest_code) FROM schema_versions;
