"""The checks of `mailworkers doctor` that ask Postgres."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mailworkers.adapters import db
from mailworkers.adapters.installation import find_namesakes, find_strangers
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.sqlstates import translated
from mailworkers.cli.findings import Finding, fine, judge, wrong
from mailworkers.core.errors import SchemaTooNew, StoreUnavailable

OLDEST_POSTGRES = 150000  # as server_version_num
MOST_SKEW = 2.0  # seconds
LONGEST_SNAPSHOT = timedelta(minutes=10)

_SERVER = b"""
SELECT current_setting('server_version_num')::int, current_setting('server_version'),
    pg_is_in_recovery(), current_setting('max_connections')::int,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
"""


def check_postgres(settings: Settings) -> Iterator[Finding]:
    """The database answers, is new enough and can be written; its schema and clock fit ours."""
    begun = time.monotonic()
    try:
        conn = db.connect(settings.postgres_dsn, application="mailworkers doctor")
    except StoreUnavailable as error:
        yield wrong("postgres", error.reason, _advice_for(error.reason))
        return
    with conn:
        server = _server(conn, (time.monotonic() - begun) * 1000)
        yield server
        if server.ok:
            yield _writing(conn)
        schema = _schema(conn)
        yield schema
        yield _clock(conn)
        yield judge_upkeep(conn)
        if schema.ok:
            yield from _installation(conn, settings)


_START = "start it, or correct MAIL_POSTGRES_PRIMARY_DSN (`mailworkers config` shows it)"
# What the server or the driver says when it lets nobody in, and what helps.
_ADVICE = {
    "password authentication failed": "correct the password in MAIL_POSTGRES_PRIMARY_DSN",
    "no password supplied": "the server wants a password: write it in MAIL_POSTGRES_PRIMARY_DSN",
    "pg_hba.conf": "the server lets this host or account not in: add a line to its pg_hba.conf",
    "too many": "raise max_connections or the account's limit, or end others (pg_stat_activity)",
    "connection slots": "raise max_connections, or end connections of others (pg_stat_activity)",
    "does not exist": "create that database or account, or correct MAIL_POSTGRES_PRIMARY_DSN",
    "starting up": "wait: it is starting, or replaying its log after a crash",
    "shutting down": "wait for its return, or start it: roles go on by themselves",
    "read-write": "none of the hosts in MAIL_POSTGRES_PRIMARY_DSN can be written: promote one",
}


def _advice_for(reason: str) -> str:
    """Return what helps against *reason*; servers that speak another language get the general."""
    return next((advice for words, advice in _ADVICE.items() if words in reason), _START)


def _server(conn: db.Connection, took_ms: float) -> Finding:
    row = conn.execute(_SERVER).fetchone()
    number, version, is_standby, most, used = row or (0, "", False, 0, 0)
    detail = f"{version}, connected in {took_ms:.0f} ms, {used} of {most} connections in use"
    if is_standby:
        advice = "name the primary; target_session_attrs=read-write in the DSN finds it"
        return wrong("postgres", f"{detail}, a standby: it cannot be written", advice)
    is_new = number >= OLDEST_POSTGRES
    return judge("postgres", is_new, detail, "PostgreSQL 15 or newer is needed")


# More than is free in any page: it takes room on the disk, for as long as the transaction lasts.
_WRITE = b"""
CREATE TEMPORARY TABLE doctor ON COMMIT DROP AS
SELECT md5(n::text) || md5((n + 1)::text) AS filler FROM generate_series(1, 20000) n
"""


def _writing(conn: db.Connection) -> Finding:
    """It takes writes: about two megabytes are written and thrown away."""
    try:
        with translated(), conn.transaction(force_rollback=True):
            conn.execute(_WRITE)
    except StoreUnavailable as error:
        if "permission denied" in error.reason:  # for temporary tables alone, which no role needs
            return fine("postgres writes", f"not tried: {error.reason}")
        return wrong("postgres writes", error.reason, _advice_for_writing(error.reason))
    return fine("postgres writes", "taken")


def _advice_for_writing(reason: str) -> str:
    if "read-only" in reason:
        return "ALTER SYSTEM RESET default_transaction_read_only (or ALTER ROLE), and find out why"
    if "space" in reason or "disk" in reason.lower():
        return "free some space on the database's disk: mail waits until it can be recorded"
    return "see the server's log"


def _schema(conn: db.Connection) -> Finding:
    try:
        is_current = db.check_schema(conn)
    except SchemaTooNew as error:
        return wrong("schema", str(error), "upgrade this installation")
    if not is_current:
        return wrong("schema", "missing or older than this code", "run: mailworkers migrate")
    return fine("schema", f"version {db.SCHEMA_VERSION} or newer")


def _installation(conn: db.Connection, settings: Settings) -> Iterator[Finding]:
    """Nobody else works on this database with another relay or stream, or by this host's name."""
    for line in find_strangers(conn, settings):
        advice = "correct MAIL_POSTGRES_PRIMARY_DSN of one, or let all have the same settings"
        yield wrong("installation", line, advice)
    for line in find_namesakes(conn):
        yield wrong("host name", line, "consumers are named by the host: hostnamectl hostname NAME")


def _clock(conn: db.Connection) -> Finding:
    """The database's clock rules; ours only stamps log lines and judges certificates."""
    before = datetime.now(UTC)
    row = conn.execute(b"SELECT clock_timestamp()").fetchone()
    middle = before + (datetime.now(UTC) - before) / 2
    skew = (row[0] - middle).total_seconds() if row else 0.0
    return judge(
        "clock",
        abs(skew) <= MOST_SKEW,
        f"the database is {abs(skew):.3f} s {'ahead' if skew > 0 else 'behind'}",
        "synchronise both clocks (NTP): log lines are misdated, certificates may seem expired",
    )


_UPKEEP = b"""
SELECT current_setting('autovacuum') = 'on',
    coalesce(max(clock_timestamp() - xact_start), interval '0')
FROM pg_stat_activity WHERE backend_type = 'client backend' AND backend_xmin IS NOT NULL
"""


def judge_upkeep(conn: db.Connection, longest: timedelta = LONGEST_SNAPSHOT) -> Finding:
    """What is deleted must be cleaned up, or every lease walks past it."""
    row = conn.execute(_UPKEEP).fetchone()
    is_on, oldest = row or (True, timedelta(0))
    return judge(
        "postgres upkeep",
        is_on and oldest < longest,
        f"autovacuum {'on' if is_on else 'off'}, oldest snapshot {oldest.total_seconds():.0f} s",
        "turn autovacuum on, and end transactions that stay open (pg_stat_activity): until then "
        "dead rows pile up and leases become slow",
    )
