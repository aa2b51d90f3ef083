"""What the run adds to its database: the past, which the service does not keep.

Every change of a status, noted in the transaction that makes it. And whatever retention deletes,
row for row, so that it can be judged like what is still there (`chaos.deliveries` and so on).
"""

SCHEMA = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.moves (
    move_id bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL, delivery_id uuid NOT NULL,
    before text, after text NOT NULL, attempt_no integer NOT NULL, by text NOT NULL);
CREATE FUNCTION chaos.note_move() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.moves (at, delivery_id, before, after, attempt_no, by)
    VALUES (clock_timestamp(), NEW.delivery_id, CASE TG_OP WHEN 'UPDATE' THEN OLD.status END,
            NEW.status, NEW.attempt_no, current_setting('application_name'));
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_new AFTER INSERT ON mail.deliveries
    FOR EACH ROW EXECUTE FUNCTION chaos.note_move();
CREATE TRIGGER chaos_move AFTER UPDATE ON mail.deliveries
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION chaos.note_move();
"""
KEPT = (
    "deliveries",
    "delivery_recipients",
    "attempts",
    "dead_letters",
    "malformed_commands",
    "idempotency_reservations",
)
_KEEP = """
CREATE TABLE chaos.{table} AS
    SELECT {columns}, clock_timestamp() AS deleted_at FROM mail.{table} WITH NO DATA;
CREATE FUNCTION chaos.keep_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos.{table} SELECT {columns}, clock_timestamp() FROM deleted;
    RETURN NULL;
END $$;
CREATE TRIGGER chaos_keep AFTER DELETE ON mail.{table} REFERENCING OLD TABLE AS deleted
    FOR EACH STATEMENT WHEN (current_setting('application_name') LIKE 'mailworkers retention%')
    EXECUTE FUNCTION chaos.keep_{table}();
"""


def statements() -> list[str]:
    """Return what makes all of it; of contents only that they went, not the bytes."""
    kept = [_KEEP.format(table=table, columns="*") for table in KEPT]
    return [SCHEMA, *kept, _KEEP.format(table="delivery_payloads", columns="delivery_id")]
