"""Disks that are full: of the senders' journals, and of PostgreSQL."""

import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
import redis

from mailworkers.adapters.journal import DIRECTORY as JOURNALS
from mailworkers.gameday.drills.acts import Act
from mailworkers.gameday.drills.isolation import (
    fill,
    make_room,
    own_mounts,
    remove_disk,
    small_disk,
)
from mailworkers.gameday.drills.scene import Scene
from mailworkers.gameday.service import Service, wait_until

_JOURNAL_MB, _DATABASE_MB = 80, 700  # 16 MiB each sender
_WAITS = '"dependency":"journal"'
_SEEN_WITHIN = 60.0  # seconds
_FILL_EVERY = 0.1
# Larger than what PostgreSQL has left in half-empty pages.
_PROBE = """
CREATE TABLE chaos.probe AS SELECT md5(n::text) FROM generate_series(1, 50000) n"""


class JournalDiskFull(Act):
    """No room is left for journals, and a sender that is added needs one."""

    def prepare(self, directory: Path) -> Mapping[str, str]:
        """Put the journals on a disk of their own."""
        own_mounts()
        self._disk = directory / "state" / JOURNALS
        small_disk(self._disk, _JOURNAL_MB, "0700")
        return {}

    def close(self) -> None:
        """Remove the disk."""
        remove_disk(self._disk)

    def happen(self, scene: Scene[Service]) -> None:
        """Fill it, add a sender, see it wait, make room, see it work."""
        number = scene.fault("disk", "full", "the disk of the journals is filled")
        fill(self._disk)
        service = scene.service
        added = f"sender-{scene.senders + 1:02d}"
        scene.say(f"mailworkers scale sender {scene.senders + 1}")
        service.supervisor.scale("sender", scene.senders + 1, lambda _: None)
        log = service.state_dir / "log" / f"{added}.log"
        wait_until(
            lambda: log.exists() and _WAITS in log.read_text(errors="replace"),
            _SEEN_WITHIN,
            f"{added} does not say that it has no journal",
        )
        scene.say(f"{added} says that it has no journal and waits; the others go on")
        scene.hold(scene.seconds)
        make_room(self._disk)
        scene.say("there is room again")
        scene.effect(number, is_done=True)
        pid = service.pid(added)
        wait_until(
            lambda: service.is_at_work(added, pid), _SEEN_WITHIN, f"{added} does not begin to work"
        )
        scene.say(f"{added} works, in the same process as before")


class DatabaseDiskFull(Act):
    """PostgreSQL finds no room: for tables first, for its log in the end, and stops itself then."""

    def prepare(self, directory: Path) -> Mapping[str, str]:
        """Put the database on a disk of its own."""
        own_mounts()
        self._disk = directory / "stores"
        small_disk(self._disk, _DATABASE_MB, "0711")
        return {}

    def close(self) -> None:
        """Remove the disk."""
        remove_disk(self._disk)

    def started(self, service: Service) -> None:
        """Let Redis, whose data lies beside, write nothing: its disk is not what is tried."""
        with redis.Redis(unix_socket_path=service.redis_socket) as client:
            client.config_set("appendonly", "no")

    def happen(self, scene: Scene[Service]) -> None:
        """Fill it until nothing can be written, make room, start what ended of it."""
        number = scene.fault("postgres", "disk_full", "the disk of PostgreSQL is filled")
        fill(self._disk)
        wait_until(lambda: self._fills_up(scene), _SEEN_WITHIN, "PostgreSQL still takes writes")
        scene.begin()
        scene.say("PostgreSQL takes no writes any more")
        deadline = time.monotonic() + scene.seconds
        while time.monotonic() < deadline:
            fill(self._disk)
            scene.hold(_FILL_EVERY)
        server = scene.service.servers.postgres
        has_ended = server.pid is None
        make_room(self._disk)
        scene.say("there is room again")
        if has_ended:
            scene.say("PostgreSQL has ended of it, and is started again, as systemd would")
            server.start()
        scene.effect(number, is_done=True, sessions=scene.senders, has_ended=has_ended)

    def _fills_up(self, scene: Scene[Service]) -> bool:
        """Take whatever room came free, as a log that grows does; whether nothing can be written.

        PostgreSQL frees some by itself: of its own log, of tables that were dropped.
        """
        fill(self._disk)
        return is_full(scene.service)


def is_full(service: Service) -> bool:
    """Whether PostgreSQL refuses what needs room, or does not even run any more."""
    try:
        with service.connect() as conn:
            conn.execute(_PROBE)
            conn.execute("DROP TABLE chaos.probe")
    except (psycopg.errors.DiskFull, psycopg.OperationalError):
        return True
    return False
