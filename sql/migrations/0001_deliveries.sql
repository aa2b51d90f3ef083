-- The schema of mailworkers. Schema `mail` itself may be provisioned outside; the runner makes it
-- when it is missing and sets search_path, so that no name here is qualified.
-- depends:

-- One row a migration: what the newest code needs, and the oldest code that can still run on it.
CREATE TABLE schema_versions (
    version     integer PRIMARY KEY,
    oldest_code integer NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO schema_versions (version, oldest_code) VALUES (1, 1);

-- Which sources exist. Accept adds a new one, nothing removes it: the lease walks this table x lanes.
CREATE TABLE sources (
    source     text PRIMARY KEY CHECK (source ~ '^[a-z0-9][a-z0-9._-]{0,63}$'),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO sources (source) VALUES ('api'), ('authsession'), ('notification'), ('resend');

-- One delivery is one message in one SMTP envelope: the unit of work. Narrow, since every move of a
-- delivery writes a new version of this row.
CREATE TABLE deliveries (
    delivery_id         uuid PRIMARY KEY,
    source              text NOT NULL REFERENCES sources,
    lane                smallint NOT NULL CHECK (lane BETWEEN 0 AND 2),
    status              text NOT NULL CHECK (status IN (
        'scheduled', 'queued', 'rendered', 'sending', 'deferred', 'sent', 'suppressed', 'failed',
        'dead_letter', 'uncertain', 'cancelled')),
    payload_mode        text NOT NULL CHECK (payload_mode IN ('rendered', 'template')),
    template_id         text,
    template_version    text,
    locale              text,
    mail_from           text NOT NULL,
    idempotency_key     text NOT NULL,
    resend_of           uuid,
    cycle_attempt       integer NOT NULL DEFAULT 0 CHECK (cycle_attempt >= 0),
    attempt_no          integer NOT NULL DEFAULT 0 CHECK (attempt_no >= cycle_attempt),
    retry_policy        text NOT NULL CHECK (retry_policy IN ('ladder', 'exponential', 'auth')),
    -- scheduled, deferred: when the clock looks again. sending: the end of the lease. ready: when it
    -- was due, kept so that the sender can tell how late it is.
    next_attempt_at     timestamptz CHECK (isfinite(next_attempt_at)),
    ready_at            timestamptz CHECK (isfinite(ready_at)),
    expires_at          timestamptz CHECK (isfinite(expires_at)),
    cancel_requested_at timestamptz CHECK (isfinite(cancel_requested_at)),
    lease_token         uuid,
    leased_by           uuid,
    mime_size           integer NOT NULL CHECK (mime_size >= 0),
    created_at          timestamptz NOT NULL DEFAULT clock_timestamp() CHECK (isfinite(created_at)),
    finished_at         timestamptz CHECK (isfinite(finished_at)),
    failure             text,
    traceparent         text,
    CONSTRAINT lease_only_while_sending
        CHECK ((status = 'sending') = (lease_token IS NOT NULL)),
    CONSTRAINT holder_only_while_sending
        CHECK ((lease_token IS NULL) = (leased_by IS NULL)),
    CONSTRAINT finished_only_when_final
        CHECK ((status IN ('sent', 'suppressed', 'failed', 'dead_letter', 'uncertain', 'cancelled'))
               = (finished_at IS NOT NULL)),
    CONSTRAINT waiting_has_a_time
        CHECK (status NOT IN ('scheduled', 'deferred', 'sending') OR next_attempt_at IS NOT NULL),
    CONSTRAINT ready_has_a_time
        CHECK (status NOT IN ('queued', 'rendered') OR ready_at IS NOT NULL),
    CONSTRAINT ready_status_fits_mode
        CHECK (CASE status WHEN 'queued' THEN payload_mode = 'rendered'
                           WHEN 'rendered' THEN payload_mode = 'template' ELSE true END)
)
-- Every move makes a dead version and dead index entries; the defaults (20 % of the table) would let
-- them pile up by the hundred thousand in front of the lease. No I/O limit: the pages are hot.
WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000,
      autovacuum_analyze_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
      autovacuum_vacuum_insert_scale_factor = 0.1);

CREATE INDEX deliveries_ready ON deliveries (lane, source, ready_at)
    WHERE status IN ('queued', 'rendered');
CREATE INDEX deliveries_due ON deliveries (next_attempt_at)
    WHERE status IN ('scheduled', 'deferred');
-- Apart from those: the ends of leases would otherwise lie among a million times to come.
CREATE INDEX deliveries_lease_ends ON deliveries (next_attempt_at) WHERE status = 'sending';
CREATE INDEX deliveries_expiring ON deliveries (expires_at)
    WHERE expires_at IS NOT NULL AND status IN ('scheduled', 'queued', 'rendered', 'deferred');
CREATE INDEX deliveries_leased ON deliveries (leased_by) WHERE leased_by IS NOT NULL;
-- Retention walks this from where it stopped: an end is always written at the right edge.
CREATE INDEX deliveries_finished ON deliveries (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX deliveries_newest ON deliveries (created_at, delivery_id);
-- What an operator looks for is one of a hundred: its list must not be read out of the other 99.
CREATE INDEX deliveries_in_trouble ON deliveries (created_at, delivery_id)
    WHERE status IN ('failed', 'dead_letter', 'uncertain');

-- "Did this person get it?" is the operator's first question: hence the index on canonical.
CREATE TABLE delivery_recipients (
    delivery_id uuid NOT NULL REFERENCES deliveries,
    ordinal     smallint NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('to', 'cc', 'bcc')),
    address     text NOT NULL,
    canonical   text NOT NULL,
    status      text NOT NULL DEFAULT 'open' CHECK (status IN (
        'open', 'accepted', 'refused', 'suppressed', 'expired', 'cancelled', 'uncertain', 'exhausted')),
    reply_code  smallint,
    enhanced_code text,
    PRIMARY KEY (delivery_id, ordinal)
)
WITH (fillfactor = 85, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
      autovacuum_vacuum_cost_delay = 0);
CREATE INDEX delivery_recipients_canonical ON delivery_recipients (canonical, delivery_id);

-- The final bytes, apart, so that the hot row stays small.
CREATE TABLE delivery_payloads (
    delivery_id uuid PRIMARY KEY REFERENCES deliveries,
    mime        bytea NOT NULL
);
-- lz4 takes 2.4 times the inserts of pglz at 100 KB; a server built without it works all the same.
DO $$
BEGIN
    ALTER TABLE delivery_payloads ALTER COLUMN mime SET COMPRESSION lz4;
EXCEPTION WHEN feature_not_supported THEN
    RAISE NOTICE 'this server has no lz4';
END
$$;

-- Opened by the lease, before the network is touched; closed by the settle.
CREATE TABLE attempts (
    delivery_id   uuid NOT NULL REFERENCES deliveries,
    attempt_no    integer NOT NULL,
    cycle_attempt integer NOT NULL,
    status        text NOT NULL DEFAULT 'in_progress' CHECK (status IN (
        'in_progress', 'provider_accepted', 'provider_deferred', 'provider_rejected',
        'transport_failed', 'timed_out', 'abandoned')),
    outcome       text CHECK (outcome IN ('success', 'transient_error', 'permanent_error', 'unknown')),
    stage         text CHECK (stage IN (
        'connect', 'ehlo', 'starttls', 'auth', 'mail', 'rcpt', 'data', 'end_of_data')),
    reply_code    smallint,
    enhanced_code text,
    summary       text,
    relay         text,
    lease_token   uuid NOT NULL,
    leased_by     uuid NOT NULL,
    started_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at   timestamptz,
    PRIMARY KEY (delivery_id, attempt_no),
    CONSTRAINT closed_has_an_outcome CHECK ((status = 'in_progress') = (outcome IS NULL)),
    CONSTRAINT closed_has_an_end CHECK ((status = 'in_progress') = (finished_at IS NULL))
)
WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 5000,
      autovacuum_vacuum_cost_delay = 0);

-- One entry for each time a delivery ended `failed` or `dead_letter`; closed when it no longer is:
-- requeued, or known to have been sent after all.
CREATE TABLE dead_letters (
    dead_letter_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    delivery_id    uuid NOT NULL REFERENCES deliveries,
    cause          text NOT NULL CHECK (cause IN ('permanent', 'expired', 'poison', 'exhausted')),
    attempt_no     integer NOT NULL,
    cycle_attempt  integer NOT NULL,
    reason         text NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at    timestamptz,
    resolved_at    timestamptz,
    resolved_by    text,
    note           text,
    -- The bulk replay that closed it, and what the delivery was then: put back if that is cancelled.
    replay_id      bigint,
    former         jsonb,
    CONSTRAINT replayed_has_a_former CHECK ((replay_id IS NULL) = (former IS NULL))
);
CREATE UNIQUE INDEX dead_letters_open ON dead_letters (delivery_id) WHERE closed_at IS NULL;
CREATE INDEX dead_letters_newest ON dead_letters (created_at, dead_letter_id)
    WHERE closed_at IS NULL;
CREATE INDEX dead_letters_delivery ON dead_letters (delivery_id);
CREATE INDEX dead_letters_replay ON dead_letters (replay_id, dead_letter_id)
    WHERE replay_id IS NOT NULL;

-- An operator's order to send dead letters again at a rate, by its number in the audit trail. The
-- scheduler carries it out in batches; `walked_at` and `walked_id` are where it has come to, and
-- `next_at` is when the next of them is due.
CREATE TABLE replays (
    replay_id  bigint PRIMARY KEY,
    status     text NOT NULL DEFAULT 'requeueing'
        CHECK (status IN ('requeueing', 'requeued', 'cancelling', 'cancelled')),
    wanted     jsonb NOT NULL,
    rate       double precision NOT NULL CHECK (rate > 0),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    actor      text NOT NULL,
    reason     text NOT NULL,
    matched    integer NOT NULL,
    requeued   integer NOT NULL DEFAULT 0,
    skipped    integer NOT NULL DEFAULT 0,
    returned   integer NOT NULL DEFAULT 0,
    walked_at  timestamptz NOT NULL DEFAULT 'epoch',
    walked_id  bigint NOT NULL DEFAULT 0,
    next_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX replays_unfinished ON replays (replay_id)
    WHERE status IN ('requeueing', 'cancelling');

-- (source, idempotency_key) is taken here, in the transaction that stores the delivery. No foreign
-- key: a reservation may outlive its delivery.
CREATE TABLE idempotency_reservations (
    source          text NOT NULL,
    idempotency_key text NOT NULL,
    fingerprint     bytea NOT NULL,
    delivery_id     uuid NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (source, idempotency_key)
);
CREATE INDEX idempotency_reservations_oldest ON idempotency_reservations (created_at);

-- Entries that were refused: kept raw (a msgpack map of the entry's fields, at most 2 MiB).
CREATE TABLE malformed_commands (
    malformed_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream          text NOT NULL,
    stream_entry_id text NOT NULL,
    failure_code    text NOT NULL,
    detail          text NOT NULL,
    source          text NOT NULL DEFAULT '',
    delivery_id     text NOT NULL DEFAULT '',
    raw             bytea NOT NULL,
    raw_size        bigint NOT NULL,
    is_complete     boolean NOT NULL,
    received_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    replayed_at     timestamptz,
    replayed_as     uuid,
    UNIQUE (stream, stream_entry_id),
    CONSTRAINT replayed_as_something CHECK ((replayed_at IS NULL) = (replayed_as IS NULL))
);
CREATE INDEX malformed_commands_oldest ON malformed_commands (received_at);

-- Scope is `*` (all mail) or the name of a source.
CREATE TABLE suppressed_addresses (
    canonical  text NOT NULL,
    scope      text NOT NULL DEFAULT '*',
    reason     text NOT NULL,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    PRIMARY KEY (canonical, scope)
);

-- A null lane or source means all of them.
CREATE TABLE pauses (
    pause_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lane        smallint CHECK (lane BETWEEN 0 AND 2),
    source      text,
    reason      text NOT NULL,
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at     timestamptz CHECK (isfinite(ends_at))
);

-- The audit trail of operators: who changed what, from what, to what, why. Never updated.
CREATE TABLE operator_actions (
    action_id  bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    actor      text NOT NULL,
    action     text NOT NULL,
    subject    text NOT NULL,
    before     jsonb,
    after      jsonb,
    reason     text NOT NULL DEFAULT '',
    acted_at   timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX operator_actions_subject ON operator_actions (subject, action_id);

CREATE TABLE api_tokens (
    token_hash bytea PRIMARY KEY,
    name       text NOT NULL UNIQUE,
    scopes     text[] NOT NULL CHECK (scopes <@ ARRAY['intake', 'read', 'operate', 'admin']),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz CHECK (isfinite(expires_at)),
    revoked_at timestamptz
);

-- Browsers that are logged in to the console, known by the hash of their cookie; each acts for a token.
CREATE TABLE console_sessions (
    session_hash bytea PRIMARY KEY,
    token_hash   bytea NOT NULL REFERENCES api_tokens ON DELETE CASCADE,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL CHECK (isfinite(expires_at))
);

-- Heartbeats of the roles. Only beat_at and detail change, and no index holds them: every beat is HOT.
CREATE TABLE processes (
    process_id uuid PRIMARY KEY,
    role       text NOT NULL,
    host       text NOT NULL,
    pid        integer NOT NULL,
    version    text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    beat_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    detail     jsonb NOT NULL DEFAULT '{}'
)
WITH (fillfactor = 50);

-- How far retention got in walking the ended deliveries. Beginning anew is right at any time and takes
-- long: it is done after a week, so that a clock that was wrong for an hour leaves nothing behind.
CREATE TABLE retention_walks (
    walk        text PRIMARY KEY,
    finished_at timestamptz NOT NULL,
    delivery_id uuid NOT NULL,
    begun_at    timestamptz NOT NULL DEFAULT clock_timestamp()
)
WITH (fillfactor = 50);

-- The rule by which closed recipients give their delivery its final status (contract section 3);
-- core/states.closing_status is the same rule, a test compares the two.
CREATE FUNCTION closing_status(recipients text[]) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$
    SELECT CASE
        WHEN 'uncertain' = ANY (recipients) THEN 'uncertain'
        WHEN 'exhausted' = ANY (recipients) THEN 'dead_letter'
        WHEN 'accepted' = ANY (recipients) THEN 'sent'
        WHEN 'refused' = ANY (recipients) OR 'expired' = ANY (recipients) THEN 'failed'
        WHEN 'cancelled' = ANY (recipients) THEN 'cancelled'
        ELSE 'suppressed'
    END
$$;

-- Why a delivery ended that the recipients' rule gave this final status; of `failed` the caller knows.
CREATE FUNCTION closing_failure(status text, of_failed text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$
    SELECT CASE status WHEN 'failed' THEN of_failed WHEN 'dead_letter' THEN 'exhausted'
                       WHEN 'uncertain' THEN 'unknown' END
$$;

-- The final status of a delivery when its open recipients become *recipient_status*.
CREATE FUNCTION status_when_open_become(delivery uuid, recipient_status text) RETURNS text
LANGUAGE sql STABLE AS
$$
    SELECT closing_status(array_agg(CASE r.status WHEN 'open' THEN recipient_status ELSE r.status END))
    FROM delivery_recipients r WHERE r.delivery_id = delivery
$$;

-- What an open recipient becomes who is not tried again: as given, or `uncertain` where the last attempt
-- may have reached them.
CREATE FUNCTION unless_doubtful(delivery uuid, recipient_status text) RETURNS text
LANGUAGE sql STABLE AS
$$
    SELECT CASE (SELECT a.outcome FROM attempts a WHERE a.delivery_id = delivery
                 ORDER BY a.attempt_no DESC LIMIT 1)
        WHEN 'unknown' THEN 'uncertain' ELSE recipient_status END
$$;

-- The status in which a delivery of this payload mode waits for a sender.
CREATE FUNCTION ready_status(payload_mode text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
$$ SELECT CASE payload_mode WHEN 'rendered' THEN 'queued' ELSE 'rendered' END $$;
