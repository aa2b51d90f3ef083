"""The drill that is done to an installation that is there: its roles die, one after the other.

Its stores and its relay are not ours to stop, and no mail is put in: what flows by itself flows.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

from mailworkers.adapters.journal import DIRECTORY as JOURNALS
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.supervisor import Supervisor
from mailworkers.adapters.supervisor_files import Slots, role_of
from mailworkers.gameday.drills.acts import RoleDeaths
from mailworkers.gameday.drills.scene import Scene
from mailworkers.gameday.drills.session import Session
from mailworkers.gameday.host import Programs
from mailworkers.gameday.service import wait_until

_BEATS = """
SELECT count(*) FROM mail.processes WHERE detail->>'process' = %s AND pid = %s
AND beat_at > clock_timestamp() - interval '15 s'"""
_OVERDUE = """
SELECT count(*) FROM mail.deliveries
WHERE status = 'sending' AND next_attempt_at < clock_timestamp() - interval '5 s'"""
_UNKNOWN = """
SELECT count(*) FROM mail.attempts
WHERE outcome = 'unknown' AND finished_at > clock_timestamp() - make_interval(secs => %s)"""
_SETTLED_WITHIN = 30.0  # seconds: journals are looked for every 5


class Installation(Programs):
    """What runs here by *settings*; `directory` is for the drill's own notes."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        slots = Slots(settings.state_dir)
        supervisor = Supervisor(settings.supervisor_socket, slots, settings.stop_wait)
        running = supervisor.programs()  # says what to do where supervisord does not answer
        logs = [program.log.parent for program in running if role_of(program.name)]
        super().__init__(supervisor, logs[0] if logs else directory)
        self.directory = directory
        self.settings = settings

    def is_at_work(self, program: str, pid: int) -> bool:
        """Whether the process *pid* of *program* gives signs of life; its log may be long gone."""
        with self.connected() as conn:
            return _count(conn, _BEATS, program, pid) > 0

    def connected(self) -> "psycopg.Connection[Any]":
        """Return a connection to its database."""
        return psycopg.connect(self.settings.postgres_dsn, application_name="game day")

    def journals(self) -> int:
        """Return how many journals lie here, of senders that live or not."""
        return len(list((self.settings.state_dir / JOURNALS).glob("*.journal")))


def play_here(settings: Settings, seconds: float, session: Session) -> dict[str, Any]:
    """Kill each role of the installation in turn for so long; return the report."""
    session.head("role-deaths, in this installation")
    session.tell("does    Kill a process of each role with SIGKILL, one after the other.")
    session.tell("why     supervisord must start each again, and what it held must go on.")
    session.tell("load    none of ours: what flows here flows, and its stores are left alone")
    session.tell()
    with tempfile.TemporaryDirectory(prefix="mail-gameday-") as directory:
        here = Installation(settings, Path(directory))
        scene = Scene(here, session, seconds, len(here.supervisor.programs("sender")))
        began = time.monotonic()
        before = here.roles()
        session.begin_fault()
        RoleDeaths().happen(scene)
        session.say("it is over: from here everything must heal by itself")
        return _report(here, scene, before, began)


def _report(
    here: Installation, scene: Scene[Installation], before: dict[str, int], began: float
) -> dict[str, Any]:
    senders = scene.senders

    def is_settled() -> bool:
        return here.journals() <= senders

    wait_until(is_settled, _SETTLED_WITHIN, "journals of dead senders are not brought in")
    after = here.roles()
    with here.connected() as conn:
        overdue = _count(conn, _OVERDUE)
        unknown = _count(conn, _UNKNOWN, time.monotonic() - began)
    checks = {
        "roles recover by themselves": [f"{n} does not run" for n in before if n not in after],
        "nothing is stuck": [f"{overdue} leases ended and nobody took them back"] * bool(overdue),
    }
    return {
        "drill": "role-deaths",
        "is_good": not any(checks.values()),
        "checks": checks,
        "facts": {"deaths": scene.planned, "attempts with outcome unknown meanwhile": unknown},
    }


def _count(conn: "psycopg.Connection[Any]", query: str, *values: object) -> int:
    row = conn.execute(query.encode(), values or None).fetchone()
    return int(row[0]) if row else 0
