"""The checks of `mailworkers doctor` that ask Postgres and Redis."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from mailworkers.adapters import db
from mailworkers.adapters.installation import find_strangers
from mailworkers.adapters.redis_health import UNKNOWN, RedisHealth, denied
from mailworkers.adapters.redis_health import examine as ask_redis
from mailworkers.adapters.settings import Settings
from mailworkers.cli.findings import Finding, fine, judge, wrong
from mailworkers.core.errors import SchemaTooNew, StoreUnavailable

OLDEST_POSTGRES = 150000  # as server_version_num
OLDEST_REDIS = (6, 2)  # XAUTOCLAIM
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
        advice = "start it, or correct MAIL_POSTGRES_PRIMARY_DSN (`mailworkers config` shows it)"
        yield wrong("postgres", error.reason, advice)
        return
    with conn:
        yield _server(conn, (time.monotonic() - begun) * 1000)
        schema = _schema(conn)
        yield schema
        yield _clock(conn)
        yield judge_upkeep(conn)
        if schema.ok:
            yield from _installation(conn, settings)


def _server(conn: db.Connection, took_ms: float) -> Finding:
    row = conn.execute(_SERVER).fetchone()
    number, version, is_standby, most, used = row or (0, "", False, 0, 0)
    detail = f"{version}, connected in {took_ms:.0f} ms, {used} of {most} connections in use"
    if is_standby:
        advice = "name the primary; target_session_attrs=read-write in the DSN finds it"
        return wrong("postgres", f"{detail}, a standby: it cannot be written", advice)
    is_new = number >= OLDEST_POSTGRES
    return judge("postgres", is_new, detail, "PostgreSQL 15 or newer is needed")


def _schema(conn: db.Connection) -> Finding:
    try:
        is_current = db.check_schema(conn)
    except SchemaTooNew as error:
        return wrong("schema", str(error), "upgrade this installation")
    if not is_current:
        return wrong("schema", "missing or older than this code", "run: mailworkers migrate")
    return fine("schema", f"version {db.SCHEMA_VERSION} or newer")


def _installation(conn: db.Connection, settings: Settings) -> Iterator[Finding]:
    """Nobody else works on this database with another relay or another stream."""
    for line in find_strangers(conn, settings):
        advice = "correct MAIL_POSTGRES_PRIMARY_DSN of one, or let all have the same settings"
        yield wrong("installation", line, advice)


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


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Redis answers, keeps what it is given, and has a stream under the stream's name."""
    try:
        health = ask_redis(settings)
    except StoreUnavailable as error:
        advice = "start it, or correct MAIL_REDIS_MASTER_ADDR and MAIL_REDIS_PASSWORD"
        yield wrong("redis", error.reason, advice)
        return
    yield judge(
        "redis",
        _version(health) >= OLDEST_REDIS and health.role in ("master", UNKNOWN),
        f"{health.version}, {health.role}",
        "Redis 6.2 or newer is needed, and its master",
    )
    yield judge(
        "redis eviction",
        not health.may_evict,
        f"maxmemory-policy {health.eviction}",
        "set maxmemory-policy noeviction: others throw commands away when memory is short",
    )
    yield judge(
        "redis persistence",
        not health.may_forget,
        f"appendonly {health.appendonly}",
        "set appendonly yes: without it a restart loses commands",
    )
    yield _permissions(settings)
    yield _stream(settings.stream, health)


def _permissions(settings: Settings) -> Finding:
    """An account that lacks a command would stop a role in the middle of its work."""
    lacking = denied(settings)
    detail = f"this account may not use {', '.join(lacking)}" if lacking else "as roles need them"
    advice = "allow these commands on the stream and on the keys mail:* (ACL SETUSER)"
    return judge("redis permissions", not lacking, detail, advice)


def _version(health: RedisHealth) -> tuple[int, ...]:
    if health.version == UNKNOWN:
        return OLDEST_REDIS
    return tuple(int(part) for part in health.version.split(".")[:2] if part.isdecimal())


def _stream(name: str, health: RedisHealth) -> Finding:
    if health.key_type not in ("stream", "none", UNKNOWN):
        advice = "another program uses this key: set MAIL_REDIS_COMMAND_STREAM, or remove it"
        return wrong("command stream", f"{name} holds a {health.key_type}", advice)
    if health.pending is None:
        return fine("command stream", f"{name}, no consumer has been there yet")
    return fine("command stream", f"{name}, {health.lag} waiting, {health.pending} in hand")
