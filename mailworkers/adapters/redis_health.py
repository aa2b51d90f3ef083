"""What Redis says about itself, as far as commands depend on it."""

from typing import Any

import msgspec
import redis

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.stream import GROUP, connect
from mailworkers.core.errors import StoreUnavailable

UNKNOWN = "unknown"


class RedisHealth(msgspec.Struct, frozen=True):
    """Facts about the server and the stream; 'unknown' where the account may not ask.

    `key_type` is `stream`, `none` before the first command, or what sits there by mistake. `lag`
    counts entries no consumer was handed; None without a group.
    """

    version: str
    role: str
    eviction: str
    appendonly: str
    key_type: str
    lag: int | None = None
    pending: int | None = None


def examine(settings: Settings) -> RedisHealth:
    """Ask Redis; StoreUnavailable when it does not answer."""
    client: Any = connect(settings)  # redis-py's types mix both kinds of client
    try:
        client.ping()
        server = client.info("server")
        key_type = client.type(settings.stream).decode()
        group = _group(client, settings.stream) if key_type == "stream" else {}
        return RedisHealth(
            version=str(server.get("valkey_version") or server.get("redis_version", UNKNOWN)),
            role=str(client.info("replication").get("role", UNKNOWN)),
            eviction=_option(client, "maxmemory-policy"),
            appendonly=_option(client, "appendonly"),
            key_type=key_type,
            lag=group.get("lag"),
            pending=group.get("pending"),
        )
    except redis.RedisError as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise StoreUnavailable("redis", reason) from error
    finally:
        client.close()


def _option(client: Any, name: str) -> str:
    """Return a configuration value; managed servers may refuse CONFIG."""
    try:
        found = client.config_get(name)
    except redis.ResponseError:
        return UNKNOWN
    return str(found.get(name, UNKNOWN))


def _group(client: Any, stream: str) -> dict[str, Any]:
    for group in client.xinfo_groups(stream):
        if group["name"] == GROUP.encode():
            return dict(group)
    return {}
