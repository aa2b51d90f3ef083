-- Browsers that are logged in to the operator console.

-- name: open_session
-- (writes)
-- Lets a browser act for the token with this hash, if it still lives; no row back means it does not.
INSERT INTO console_sessions (session_hash, token_hash, expires_at)
SELECT %(session_hash)s, t.token_hash, clock_timestamp() + %(life)s::interval FROM api_tokens t
WHERE t.token_hash = %(token_hash)s AND t.revoked_at IS NULL
  AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp())
RETURNING (SELECT name FROM api_tokens n WHERE n.token_hash = console_sessions.token_hash);

-- name: find_session
-- (reads)
-- For whom a browser acts: its session and its token must both be good now.
SELECT t.name, t.scopes FROM console_sessions s JOIN api_tokens t USING (token_hash)
WHERE s.session_hash = %(session_hash)s AND s.expires_at > clock_timestamp()
  AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > clock_timestamp());

-- name: close_session
-- (writes)
-- Ends one session; whoever kept its cookie has nothing.
DELETE FROM console_sessions WHERE session_hash = %(session_hash)s;

-- name: forget_sessions
-- (writes)
-- Sessions whose time is over.
DELETE FROM console_sessions WHERE expires_at <= clock_timestamp();
