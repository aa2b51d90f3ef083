"""One loop for every role: start, signals, waiting for stores, heartbeats, stop.

A role is a `step()`: one bounded piece of work that says whether there was any. This module calls
it until SIGTERM, SIGINT or SIGHUP; a store that is away makes it wait and try again, it never exits
for that. A signal stops the taking of work; what is held is finished or handed back within
MAIL_SHUTDOWN_TIMEOUT; a second signal, or that time, ends the process at once.
"""

import gc
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Protocol
from uuid import UUID, uuid4

from mailworkers import __version__
from mailworkers.adapters import crash_points, db, store
from mailworkers.adapters.database_clock import DatabaseClock
from mailworkers.adapters.installation import find_namesakes, find_strangers, works_with
from mailworkers.adapters.journal import boot_id
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.sqlstates import is_for_room
from mailworkers.adapters.stopping import Stop, end_with_parent
from mailworkers.adapters.stream import Waker
from mailworkers.adapters.telemetry import Telemetry
from mailworkers.adapters.tracing import open_tracer
from mailworkers.adapters.usable_places import usable_places
from mailworkers.core.errors import ConfigError, SchemaTooNew, StoreUnavailable

EXIT_CONFIG = 78
BEAT_EVERY = timedelta(seconds=5)
_FIRST_WAIT = timedelta(milliseconds=200)
# A store that is back is used within this.
_LONGEST_WAIT = timedelta(seconds=1)
# Objects made until the young are looked at, and how often until their elders are.
_COLLECTIONS = (20_000, 20, 50)


class Role(Protocol):
    """What the loop needs to know of a role."""

    def step(self) -> bool:
        """Do one bounded piece of work; False when there was none."""

    def wait(self) -> None:
        """Wait for work, at most one poll."""

    def interrupt(self, store_name: str) -> None:
        """Called when a store was lost in the middle of a step: forget what was half done."""

    def close(self) -> None:
        """Finish or hand back what is held. May meet stores that are away."""


class Every:
    """Says at most once a span that something is due, by the monotonic clock."""

    def __init__(self, span: timedelta) -> None:
        self._span = span.total_seconds()
        self._next = 0.0

    def is_due(self) -> bool:
        """Return whether it is due; if so, the next time is a span from now."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._span
        return True


class Context:
    """What a role is built from: settings, telemetry, its connection, wake-ups, its identity."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.role = role
        self.settings = settings
        self.process_id: UUID = uuid4()
        slot = os.environ.get("SUPERVISOR_PROCESS_NAME")
        self.process = slot or f"{role}-{os.getpid()}"
        self.stop = Stop(settings.shutdown_timeout)
        with usable_places({"MAIL_STATE_DIR": settings.state_dir}):
            self.telemetry = Telemetry(
                role,
                self.process,
                state_dir=settings.state_dir,
                counted_as=slot or role,
                level=settings.log_level,
                secrets=settings.secrets(),
            )
        self.telemetry.tracer = open_tracer(settings, self.process, self.telemetry)
        self.database = db.Database(settings.postgres_dsn, f"mailworkers {self.process}")
        self.waker = Waker(settings)
        self.clock = DatabaseClock(self.telemetry.clock_is_off)
        self.heartbeat = Heartbeat(self)
        self.outages = Outages(self.telemetry)


class Heartbeat:
    """Signs of life in the table `processes`, made by the loop itself: a hung loop falls silent."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._every = Every(BEAT_EVERY)
        self._again = Every(_LONGEST_WAIT)
        self.is_failing = False
        self.lacks_room = False  # Postgres had none for what this process was to write last
        self.detail: dict[str, object] = {}

    def beat(self) -> None:
        """Make a sign of life when one is due, and follow a changed log level.

        One that failed is made again every second: it says when Postgres is back.
        """
        if not (self._again if self.is_failing else self._every).is_due():
            return
        self.is_failing = True  # unless we get to the end
        context = self._context
        context.telemetry.refresh_level()
        now = store.beat(
            context.database.conn,
            process_id=context.process_id,
            role=context.role,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            detail={
                "process": context.process,
                "boot": boot_id(),
                "works_with": works_with(context.settings),
                **({"lacks_room": True} if self.lacks_room else {}),
                **self.detail,
            },
        )
        context.clock.note(now)
        self.is_failing = False

    def leave(self) -> None:
        """Make the last sign; a store that is away will forget us by time."""
        try:
            store.leave(self._context.database.conn, self._context.process_id)
        except StoreUnavailable:
            return


class Outages:
    """Which stores are away: one log line at the loss, one at the return."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._since: dict[str, float] = {}
        self._waits: dict[str, timedelta] = {}

    def note_loss(self, error: StoreUnavailable) -> timedelta:
        """Take in a failed call; return how long to wait before the next."""
        name = error.store
        if name not in self._since:
            self._since[name] = time.monotonic()
            self._waits[name] = _FIRST_WAIT
            self._telemetry.store_lost(name, error.reason)
        wait = self._waits[name]
        self._waits[name] = min(wait * 2, _LONGEST_WAIT)
        return wait

    def note_return(self) -> None:
        """Take in that a whole step went well: every store it needs is there."""
        for name, since in self._since.items():
            self._telemetry.store_returned(name, time.monotonic() - since)
        self._since.clear()
        self._waits.clear()


def run(role: str, settings: Settings, build: Callable[[Context], Role]) -> int:
    """Run *role* until it is told to stop; return the exit code (contract section 1)."""
    end_with_parent()
    _spare_collections()
    crash_points.arm(settings.crash_point, settings)
    try:
        return _live(role, Context(role, settings), build)
    except (ConfigError, SchemaTooNew) as error:
        sys.stderr.write(f"mailworkers {role}: {error}\n")
        return EXIT_CONFIG


def _live(role: str, context: Context, build: Callable[[Context], Role]) -> int:
    """Start, loop and stop one role; return the exit code, or raise what is the operator's."""
    context.stop.install()
    try:
        return _work(context, build)
    except (ConfigError, SchemaTooNew):
        raise
    except Exception as error:
        # An assumption broke. Nothing is lost by dying here; supervisord starts us anew.
        context.telemetry.failed(f"{role} failed", error)
        return 1
    finally:
        context.database.drop()
        context.telemetry.close()


def _work(context: Context, build: Callable[[Context], Role]) -> int:
    """Build the role and step it until it is told to stop."""
    for warning in context.settings.warnings:
        context.telemetry.setting_doubted(warning)
    role = start(context, build)
    if role is None:
        context.telemetry.role_stopped("signal during start")
        return 0
    _spare_collections()  # and what the role holds, its templates for one
    context.telemetry.role_started(version=__version__, pid=os.getpid())
    _tell_of_strangers(context)
    try:
        while not context.stop.is_requested:
            turn(context, role)
    finally:
        close(context, role)
    context.telemetry.role_stopped("signal")
    return 0


def _spare_collections() -> None:
    """Look for cycles rarely, and never among what lives since the start.

    A batch holds thousands of objects for a moment, none of them in a cycle. Walking them at the
    interpreter's own pace takes a fifteenth of a role's CPU.
    """
    gc.freeze()
    gc.set_threshold(*_COLLECTIONS)


def _tell_of_strangers(context: Context) -> None:
    """Warn when others on this database seem to be another installation, or this host (F-V13)."""
    try:
        conn = context.database.conn
        for line in (*find_strangers(conn, context.settings), *find_namesakes(conn)):
            context.telemetry.setting_doubted(line)
    except StoreUnavailable:
        return


def start(context: Context, build: Callable[[Context], Role]) -> Role | None:
    """Wait for Postgres and a schema that fits, then build the role; None when told to stop."""
    while not context.stop.is_requested:
        context.telemetry.refresh_level()
        try:
            ensure_schema(context)
            context.clock.note(store.database_time(context.database.conn))
            role = build(context)
        except StoreUnavailable as error:
            context.database.drop()
            context.stop.wait(context.outages.note_loss(error))
        else:
            context.outages.note_return()
            return role
    return None


def ensure_schema(context: Context) -> None:
    """Migrate where that is our business; StoreUnavailable while the schema is behind our code."""
    if db.check_schema(context.database.conn):
        return
    if context.settings.migrate == "auto":
        db.migrate(context.settings.postgres_dsn)
    else:
        raise StoreUnavailable(
            "postgres", "the schema is behind this code: run `mailworkers migrate`"
        )


def turn(context: Context, role: Role) -> None:
    """Do one step, or wait: for work when there was none, for a store when one is away."""
    try:
        context.heartbeat.beat()
        was_busy = role.step()
        # A step may have had nothing to ask of Postgres: it is back when a sign of life was taken.
        if not context.heartbeat.is_failing:
            context.outages.note_return()
            context.heartbeat.lacks_room = False
        if not was_busy and not context.stop.is_requested:
            role.wait()
    except StoreUnavailable as error:
        context.stop.wait(_note_loss(context, role, error))


def _note_loss(context: Context, role: Role, error: StoreUnavailable) -> timedelta:
    """Tell the role about a lost store; return how long to wait before the next step."""
    wait = context.outages.note_loss(error)
    if error.store == "postgres":
        context.database.drop()
        context.heartbeat.is_failing = True
        context.heartbeat.lacks_room = is_for_room(error)
    try:
        role.interrupt(error.store)
    except StoreUnavailable as another:
        wait = max(wait, context.outages.note_loss(another))
    return wait


def close(context: Context, role: Role) -> None:
    """Let the role hand back what it holds, then leave."""
    try:
        role.close()
    except StoreUnavailable as error:
        context.outages.note_loss(error)
    finally:
        context.heartbeat.leave()
        context.waker.close()
        context.database.drop()
