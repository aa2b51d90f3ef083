"""Checks of what retention deleted, and of the database as such."""

from collections.abc import Iterator

import psycopg

from mailworkers.gameday.judging.checks import check_whole
from mailworkers.gameday.judging.whole import Whole

# Retention keeps contents for longer than any statement of ours may take (seconds).
_KEPT_AT_LEAST = 60.0
_DELETED_TOO_EARLY = """
SELECT delivery_id, status, finished_at, deleted_at FROM chaos.deliveries
WHERE status NOT IN
    ('sent', 'suppressed', 'failed', 'dead_letter', 'uncertain', 'cancelled') OR finished_at IS NULL
   OR deleted_at < finished_at + make_interval(secs => %(keep)s) LIMIT 20"""
_CONTENT_DELETED_TOO_EARLY = """
SELECT p.delivery_id, d.status, d.finished_at, p.deleted_at
FROM chaos.delivery_payloads p JOIN (
    SELECT delivery_id, status, finished_at, lane, NULL AS deleted_at FROM mail.deliveries
    UNION ALL SELECT delivery_id, status, finished_at, lane, deleted_at FROM chaos.deliveries
) d USING (delivery_id)
-- With its delivery it may go whatever it is.
WHERE (d.deleted_at IS NULL OR p.deleted_at < d.deleted_at - interval '1 s')
  AND (d.finished_at IS NULL OR p.deleted_at < d.finished_at + make_interval(secs => %(least)s)
       OR (d.lane <> 0 AND (d.status IN ('failed', 'dead_letter', 'uncertain')
           OR p.deleted_at < d.finished_at + make_interval(secs => %(keep)s))))
LIMIT 20"""
_KEY_DELETED_TOO_EARLY = """
SELECT r.source, r.idempotency_key, r.created_at, r.deleted_at
FROM chaos.idempotency_reservations r LEFT JOIN (
    SELECT delivery_id, finished_at FROM mail.deliveries
    UNION ALL SELECT delivery_id, finished_at FROM chaos.deliveries
) d USING (delivery_id)
WHERE r.deleted_at < r.created_at + make_interval(secs => %(keep)s)
   OR d.finished_at IS NULL OR d.finished_at > r.deleted_at LIMIT 20"""
_ORPHANS = """
SELECT '{table}' AS orphan, delivery_id FROM mail.{table} c
WHERE NOT EXISTS (SELECT FROM mail.deliveries d WHERE d.delivery_id = c.delivery_id) LIMIT 20"""
_CHILDREN = ("delivery_recipients", "delivery_payloads", "attempts", "dead_letters")
_NOT_VALID = """
SELECT conrelid::regclass::text AS "table", conname FROM pg_constraint
WHERE connamespace = 'mail'::regnamespace AND NOT convalidated"""
_INDEXES = """
SELECT c.oid::regclass::text AS name, c.oid FROM pg_class c JOIN pg_am a ON a.oid = c.relam
WHERE c.relnamespace = 'mail'::regnamespace AND c.relkind = 'i' AND a.amname = 'btree'"""


@check_whole("I-27 retention deletes nothing that lives, is young, or guards a key; and no orphans")
def _only_the_old_goes(whole: Whole) -> Iterator[str]:
    keep = 1e9 if whole.places.keep is None else whole.places.keep
    asked = {"keep": keep, "least": _KEPT_AT_LEAST}
    for query in (_DELETED_TOO_EARLY, _CONTENT_DELETED_TOO_EARLY, _KEY_DELETED_TOO_EARLY):
        yield from (str(row) for row in whole.conn.execute(query.encode(), asked))
    for table in _CHILDREN:
        yield from (str(row) for row in whole.rows(_ORPHANS.format(table=table)))


@check_whole("I-28 every index is in order, every constraint holds")
def _the_database_is_sound(whole: Whole) -> Iterator[str]:
    yield from (str(row) for row in whole.rows(_NOT_VALID))
    whole.conn.execute("CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public")
    for index in whole.rows(_INDEXES):
        try:
            whole.conn.execute("SELECT public.bt_index_check(%s::oid::regclass, true)", [index.oid])
        except psycopg.Error as error:
            yield f"{index.name}: {error}"
