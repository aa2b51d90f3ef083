"""What Redis says about itself, as far as commands depend on it, and what it lets us do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec
import redis

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.stream import GROUP, connect
from mailworkers.adapters.stream_backlog import count_waiting
from mailworkers.core.errors import StoreUnavailable, reason_of

Answer = TypeVar("Answer")

UNKNOWN = "unknown"
# A group and a key that nobody has: asking about them shows what is allowed and changes nothing.
_NOBODY = "mailworkers-doctor"
_SCRATCH = "mail:wake:doctor"
_PROBE = "mail:breaker:doctor"


class RedisHealth(msgspec.Struct, frozen=True):
    """Facts about the server and the stream; 'unknown' where the account may not ask.

    `key_type` is `stream`, `none` before the first command, or what sits there by mistake.
    `waiting` counts entries no consumer was handed; None without a group.
    """

    version: str
    role: str
    eviction: str
    appendonly: str
    key_type: str
    waiting: int | None = None
    pending: int | None = None

    @property
    def may_evict(self) -> bool:
        """Whether it throws keys away when memory is short, the stream as a whole among them."""
        return self.eviction not in ("noeviction", UNKNOWN)

    @property
    def may_forget(self) -> bool:
        """Whether it comes back from a restart without what it was given."""
        return self.appendonly not in ("yes", UNKNOWN)

    def dangers(self) -> Iterator[str]:
        """Yield what an operator must know who lets commands be kept there (F-R07)."""
        if self.may_evict:
            yield f"Redis has maxmemory-policy {self.eviction}: it may throw all commands away"
        if self.may_forget:
            yield f"Redis has appendonly {self.appendonly}: a restart loses commands"


def examine(settings: Settings) -> RedisHealth:
    """Ask Redis; StoreUnavailable when it does not answer."""
    with _asking(settings) as client:
        client.ping()
        server: dict[str, Any] = _allowed(lambda: client.info("server"), {})
        replication: dict[str, Any] = _allowed(lambda: client.info("replication"), {})
        key_type = _allowed(lambda: client.type(settings.stream).decode(), UNKNOWN)
        group = _group(client, settings.stream) if key_type == "stream" else {}
        return RedisHealth(
            version=str(server.get("valkey_version") or server.get("redis_version", UNKNOWN)),
            role=str(replication.get("role", UNKNOWN)),
            eviction=_option(client, "maxmemory-policy"),
            appendonly=_option(client, "appendonly"),
            key_type=key_type,
            waiting=_allowed(lambda: _waiting(client, settings.stream, group), None),
            pending=group.get("pending"),
        )


def denied(settings: Settings) -> list[str]:
    """Return the commands that roles use and this account may not (ACL); nothing is changed."""
    with _asking(settings) as client:
        return [name for name, *args in _uses(settings.stream) if _is_denied(client, name, *args)]


def refuses_writes(settings: Settings) -> str:
    """Return why a command put on the stream now would be refused, "" if it would not be.

    Memory that is full, a disk that fails, a replica: a key of a second's life is written. What the
    account may not do is `denied`'s.
    """
    with _asking(settings) as client:
        try:
            client.set(_PROBE, b"1", px=1000)
        except redis.exceptions.NoPermissionError:
            return ""
        except redis.ResponseError as error:
            return str(error).split("\n", 1)[0]
        return _disk_trouble(_allowed(lambda: client.info("persistence"), {}))


def _disk_trouble(told: dict[str, Any]) -> str:
    """Return what its last attempts to append came to, where they failed: writes may be lost.

    A snapshot that failed refuses writes by itself, unless somebody has said that it need not.
    """
    named = ("aof_last_write_status", "aof_last_bgrewrite_status")
    failed = [f"{name} {told[name]}" for name in named if told.get(name, "ok") != "ok"]
    return f"MISCONF ahead: {', '.join(failed)}" if failed else ""


def _uses(stream: str) -> list[tuple[Any, ...]]:
    """Return each command that roles use, in a form that has no effect."""
    nobody = (stream, _NOBODY, _NOBODY)
    return [
        ("XREADGROUP", "GROUP", _NOBODY, _NOBODY, "COUNT", 1, "STREAMS", stream, ">"),
        ("XACK", stream, _NOBODY, "0-1"),
        ("XCLAIM", *nobody, 1000, "0-1", "JUSTID"),
        ("XAUTOCLAIM", *nobody, 1000, "0-0", "COUNT", 1, "JUSTID"),
        ("XPENDING", stream, _NOBODY),
        ("XRANGE", stream, "0-1", "0-1"),
        ("XLEN", stream),
        ("XTRIM", stream, "MINID", "0-0"),
        ("XGROUP CREATE", stream, _NOBODY, "no id"),
        ("XGROUP DELCONSUMER", *nobody),
        ("XINFO GROUPS", stream),
        ("XINFO CONSUMERS", stream, _NOBODY),
        ("LPUSH", _SCRATCH, "1"),
        ("LTRIM", _SCRATCH, 0, 0),
        ("BLPOP", _SCRATCH, 0.01),
        ("SET", _PROBE, "1", "PX", 1),
        ("GET", _PROBE),
        ("TIME",),
        ("DEL", _SCRATCH),
    ]


def _is_denied(client: Any, *command: Any) -> bool:
    try:
        client.execute_command(*command)
    except redis.exceptions.NoPermissionError:
        return True
    except redis.ResponseError:
        return False  # allowed, and refused for what it is about
    return False


@contextmanager
def _asking(settings: Settings) -> Iterator[Any]:
    client: Any = connect(settings)  # redis-py's types mix both kinds of client
    try:
        yield client
    except redis.RedisError as error:
        raise StoreUnavailable("redis", reason_of(error)) from error
    finally:
        client.close()


def _allowed(ask: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Return the answer, or *otherwise* where the account may not ask."""
    try:
        return ask()
    except redis.exceptions.NoPermissionError:
        return otherwise


def _option(client: Any, name: str) -> str:
    """Return a configuration value; managed servers may refuse CONFIG."""
    try:
        found = client.config_get(name)
    except redis.ResponseError:
        return UNKNOWN
    return str(found.get(name, UNKNOWN))


def _waiting(client: Any, stream: str, group: dict[str, Any]) -> int | None:
    return count_waiting(client, stream, group) if group else None


def _group(client: Any, stream: str) -> dict[str, Any]:
    groups: list[dict[str, Any]] = _allowed(lambda: client.xinfo_groups(stream), [])
    for group in groups:
        if group["name"] == GROUP.encode():
            return dict(group)
    return {}
