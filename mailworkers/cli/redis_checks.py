"""The checks of `mailworkers doctor` that ask Redis."""

from collections.abc import Iterator

from mailworkers.adapters.redis_health import UNKNOWN, RedisHealth, denied, refuses_writes
from mailworkers.adapters.redis_health import examine as ask_redis
from mailworkers.adapters.settings import Settings
from mailworkers.cli.findings import Finding, fine, judge, wrong
from mailworkers.core.errors import StoreUnavailable

OLDEST_REDIS = (6, 2)  # XAUTOCLAIM


def check_redis(settings: Settings) -> Iterator[Finding]:
    """Redis answers, keeps what it is given, and has a stream under the stream's name."""
    try:
        health = ask_redis(settings)
    except StoreUnavailable as error:
        yield wrong("redis", error.reason, _advice_for(error.reason))
        return
    yield judge(
        "redis",
        _version(health) >= OLDEST_REDIS and health.role in ("master", UNKNOWN),
        f"{health.version}, {health.role}",
        "Redis 6.2 or newer is needed, and its master: name that in MAIL_REDIS_MASTER_ADDR, name "
        "the Sentinels, or promote this one (REPLICAOF NO ONE)",
    )
    yield _writing(settings)
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


_START = "start it, or correct MAIL_REDIS_MASTER_ADDR and MAIL_REDIS_PASSWORD"
_CORRECT = "correct MAIL_REDIS_PASSWORD (the file of MAIL_REDIS_PASSWORD_FILE)"
# What it says when it lets nobody in, or takes no writes, and what helps.
_ADVICE = {
    "no Sentinel names": "correct MAIL_REDIS_SENTINELS, MAIL_REDIS_SENTINEL_MASTER (its name) and "
    "MAIL_REDIS_SENTINEL_PASSWORD (theirs); if all is right, a failover is going on, or the "
    "Sentinels have no majority (SENTINEL CKQUORUM)",
    "WRONGPASS": _CORRECT,
    "invalid username-password": _CORRECT,
    "invalid password": _CORRECT,
    "AUTH": "it wants a password: set MAIL_REDIS_PASSWORD",
    "Authentication required": "it wants a password: set MAIL_REDIS_PASSWORD",
    "without any password": "it has no password: leave MAIL_REDIS_PASSWORD out",
    "loading": "wait: it is reading its file",
    "usy": "a script holds it up: SCRIPT KILL",
    "OOM": "raise maxmemory, or see that consumers keep up: commands are refused until then",
    "maxmemory": "raise maxmemory, or see that consumers keep up: commands are refused until then",
    "MISCONF": "it cannot save its data: see its log, the disk and the rights on its directory",
    "read only": "it is a replica: name the master, or promote this one (REPLICAOF NO ONE)",
}


def _advice_for(reason: str) -> str:
    """Return what helps against *reason*."""
    return next((advice for words, advice in _ADVICE.items() if words in reason), _START)


def _writing(settings: Settings) -> Finding:
    """It takes what producers and roles write: a key is written and removed."""
    try:
        reason = refuses_writes(settings)
    except StoreUnavailable as error:
        reason = error.reason
    if reason:
        return wrong("redis writes", reason, _advice_for(reason))
    return fine("redis writes", "taken")


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
    return fine("command stream", f"{name}, {health.waiting} waiting, {health.pending} in hand")
