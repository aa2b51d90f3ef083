"""Whether all who work on one database belong together (F-V13).

Rows do not say whose they are. Roles of a test installation that were given production's database
by mistake would send its mail to their own relay, or in mode `stub` end it unsent. So each process
says in its signs of life what it works with, and who starts compares. It is said aloud and not
refused: while settings are changed, old and new work side by side for a while.
"""

import socket
from datetime import timedelta

from mailworkers.adapters import store
from mailworkers.adapters.db import Connection
from mailworkers.adapters.journal import boot_id
from mailworkers.adapters.settings import Settings

_ALIVE = timedelta(seconds=15)  # three missed signs of life


def works_with(settings: Settings) -> str:
    """Return what all processes of one installation have in common, no secrets in it."""
    relay = f"relay {settings.smtp_addr}" if settings.smtp_mode == "smtp" else "no relay (stub)"
    # Each host may name the nearest first: they are the same Sentinels all the same.
    sentinels = ",".join(sorted(settings.redis_sentinels))
    place = f"{settings.redis_sentinel_master} of {sentinels}" if sentinels else settings.redis_addr
    return f"{relay}, stream {settings.stream} at {place}"


def find_strangers(conn: Connection, settings: Settings) -> list[str]:
    """Return a line for each way in which others, alive now on this database, work differently."""
    own = works_with(settings)
    return [
        f"{role} on {host} works on this database with {other}; this process with {own}: "
        "are these two installations?"
        for role, host, other in store.other_installations(conn, works_with=own, silence=_ALIVE)
    ]


def find_namesakes(conn: Connection) -> list[str]:
    """Return a line when another machine, alive now on this database, has this host's name.

    Consumers are named by it: two of one name would take each other's entries in hand. A host that
    was rebooted within seconds finds itself, until its earlier signs of life are old.
    """
    host = socket.gethostname()
    roles = store.namesakes(conn, host=host, boot=boot_id(), silence=_ALIVE)
    if not roles:
        return []
    return [f"another machine is called {host}, too: {', '.join(roles)} there; rename one of them"]
