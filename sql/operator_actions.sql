-- name: record_action
-- (writes)
-- One line of the audit trail: who did what to what, and why.
INSERT INTO operator_actions (actor, action, subject, before, after, reason)
VALUES (%(actor)s, %(action)s, %(subject)s, %(before)s, %(after)s, %(reason)s);
