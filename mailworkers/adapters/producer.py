"""Putting a command on the stream, as any producer does."""

from typing import Any

import redis

from mailworkers.adapters.settings import Settings
from mailworkers.adapters.stream import connect
from mailworkers.core.errors import StoreUnavailable, reason_of


def put_command(settings: Settings, fields: dict[str, str]) -> str:
    """Append an entry of *fields* to the command stream and return its id."""
    client: Any = connect(settings)  # redis-py's types mix both kinds of client
    try:
        entry_id: bytes = client.xadd(settings.stream, fields)
    except redis.RedisError as error:
        raise StoreUnavailable("redis", reason_of(error)) from error
    finally:
        client.close()
    return entry_id.decode()
