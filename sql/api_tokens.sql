-- name: add_token
-- (writes)
-- A new API token, known by its hash only; a name that was ever taken gives no row back.
INSERT INTO api_tokens (token_hash, name, scopes, expires_at)
VALUES (%(token_hash)s, %(token_name)s, %(scopes)s, %(expires_at)s)
ON CONFLICT DO NOTHING
RETURNING name, scopes, created_at, expires_at, revoked_at;

-- name: revoke_token
-- (writes)
-- Ends a token. Its row stays: it keeps the name taken, and the API closed to callers without one.
UPDATE api_tokens SET revoked_at = clock_timestamp()
WHERE name = %(token_name)s AND revoked_at IS NULL
RETURNING name, scopes, created_at, expires_at, revoked_at;

-- name: describe_tokens
-- (reads)
-- Every token that was ever made, without its hash.
SELECT name, scopes, created_at, expires_at, revoked_at FROM api_tokens ORDER BY created_at, name;
