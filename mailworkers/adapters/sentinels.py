"""Redis' Sentinels: the servers that know which Redis is the master now.

They are asked whenever a connection is opened, and a master that says it was demoted is left at
once; so a failover needs no change of settings and no restart.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from mailworkers.adapters.settings import Settings

# The Sentinel of a host that is gone says nothing: the next one is asked soon. The library alone
# would try it eleven times, five seconds each, and that for every connection.
_PATIENCE = timedelta(seconds=1)


class _Sentinels(Sentinel):
    """Asks one after the other, the one first that knew the last time; says why none can tell."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of the master; MasterNotFoundError with what each of them said."""
        reasons: list[str] = []
        for number, sentinel in enumerate(self.sentinels):
            place = "{host}:{port}".format_map(sentinel.connection_pool.connection_kwargs)
            try:
                masters: Any = sentinel.sentinel_masters()
            except redis.RedisError as error:
                reasons.append(f"{place}: {error}")
                continue
            master = masters.get(service_name)
            if master and self.check_master_state(master, service_name):  # type: ignore[no-untyped-call]
                self.sentinels.insert(0, self.sentinels.pop(number))
                return master["ip"], master["port"]
            reasons.append(f"{place} {'says it is down' if master else 'has never heard of it'}")
        raise MasterNotFoundError(
            f"no Sentinel names a master {service_name}: {'; '.join(reasons)}"
        )


def master_client(
    settings: Settings,
    sentinels: Sequence[tuple[str, int]],
    options: Mapping[str, Any],
    patience: timedelta,
) -> redis.Redis:
    """Return a client of the master the *sentinels* name, each asked for at most *patience*.

    *options* are those of the connections to the master. Calls raise ConnectionError while no
    Sentinel can be asked or none knows a master.
    """
    # The library leaves its sentinel unannotated.
    guard: Any = _Sentinels(  # type: ignore[no-untyped-call]
        list(sentinels),
        sentinel_kwargs=_asking(settings, min(patience, _PATIENCE).total_seconds()),
        **options,
    )
    client: redis.Redis = guard.master_for(settings.redis_sentinel_master)
    return client


def _asking(settings: Settings, seconds: float) -> dict[str, Any]:
    """Return how one Sentinel is asked: once, and not for long."""
    return {
        "password": settings.redis_sentinel_password,
        "ssl": settings.redis_tls,
        "socket_connect_timeout": seconds,
        "socket_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
    }
