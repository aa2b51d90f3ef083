-- name: record_action
-- (writes)
-- One line of the audit trail: who did what to what, and why. Its time is that of the transaction, so
-- that it stands before what it caused.
INSERT INTO operator_actions (actor, action, subject, before, after, reason, acted_at)
VALUES (%(actor)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(reason)s, now());

-- name: record_actions
-- (writes)
-- The same for many subjects of one action.
INSERT INTO operator_actions (actor, action, subject, before, after, reason, acted_at)
SELECT %(actor)s, %(action)s, i.subject, i.before::jsonb, i.after::jsonb, %(reason)s, now()
FROM unnest(%(subjects)b::text[], %(befores)b::text[], %(afters)b::text[]) AS i (subject, before, after);

-- name: list_actions
-- (reads)
-- A page of the audit trail, newest first.
SELECT action_id, actor, action, subject, before, after, reason, acted_at
FROM operator_actions
WHERE (%(subject)b::text IS NULL OR subject = %(subject)b::text)
  AND (%(before_id)b::bigint IS NULL OR action_id < %(before_id)b::bigint)
ORDER BY action_id DESC LIMIT %(limit)s;
