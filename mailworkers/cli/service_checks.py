"""The checks of `mailworkers doctor` that ask what runs: processes, leases, queue, breaker.

Where nothing runs and nothing waits, nothing has been started yet: that is no fault.
"""

import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from mailworkers.adapters.journal import orphans
from mailworkers.adapters.settings import Settings
from mailworkers.adapters.situation import Observer
from mailworkers.adapters.store import expired_leases
from mailworkers.adapters.store.pool import PATIENCE, Pool
from mailworkers.adapters.store.situations import Sign, list_signs
from mailworkers.cli.findings import Finding, fine, wrong
from mailworkers.core.errors import StoreUnavailable
from mailworkers.core.situations import PauseView, Situation, in_short

_A_DAY = timedelta(days=1)
_PASSES = 2.5  # seconds in which a scheduler that works has made a pass
_ADOPTION = 6.0  # seconds in which a sender that works has looked for journals
_MOST = 1000
_STOPPED = "T"


def check_service(settings: Settings) -> Iterator[Finding]:
    """What runs is all there, awake and at work, and nothing waits that should not."""
    observer = Observer(settings, "mailworkers doctor")
    try:
        situation = observer.look()
    finally:
        observer.close()
    yield from _of_situation(situation)
    if situation.mail is None:
        return
    yield from (_pause(pause, situation) for pause in situation.mail.pauses)
    pool = Pool(settings.postgres_dsn, "mailworkers doctor", size=1, limit=PATIENCE)
    try:
        with pool.connection() as conn:
            signs = list_signs(conn, kept=_A_DAY)
        yield from _frozen(signs)
        yield _leases(pool)
    except StoreUnavailable as error:
        yield wrong("leases", error.reason, "look at the line about postgres above")
    finally:
        pool.close()


def _of_situation(situation: Situation) -> Iterator[Finding]:
    """What `status` calls wrong, but for the stores, which have checks of their own."""
    away = tuple(f"{store.name}:" for store in situation.stores if not store.is_there)
    problems = [it for it in situation.problems if not it.what.startswith(away)]
    if situation.mail is None:
        return
    alive = sum(view.alive for view in situation.mail.roles)
    if not alive and len(problems) <= 1:
        yield fine("service", "no process is alive, and nothing waits for one")
        return
    for problem in problems:
        yield wrong("service", problem.what, problem.advice)
    if not problems:
        yield fine("service", f"{alive} processes alive, all roles, nothing overdue")


def _pause(pause: PauseView, situation: Situation) -> Finding:
    """A pause is on purpose; whoever misses mail must see it all the same."""
    parts = (pause.lane and f"lane {pause.lane}", pause.source and f"source {pause.source}")
    what = " of ".join(part for part in parts if part) or "all mail"
    since = in_short(situation.at - pause.created_at)
    detail = f"doubtful: {what} held back for {since} by {pause.created_by}: {pause.reason}"
    return fine("pause", f"{detail} (`mailworkers resume {pause.pause_id}` ends it)")


def _frozen(signs: list[Sign]) -> Iterator[Finding]:
    """Processes of this host that exist and do not run, or not on."""
    for sign in signs:
        if sign.host != socket.gethostname():
            continue
        name, state = sign.detail.get("process", sign.role), _state_of(sign.pid)
        if state == _STOPPED:
            advice = f"let it go on: kill -CONT {sign.pid}; or end it: kill -KILL {sign.pid}"
            yield wrong("processes", f"{name} (pid {sign.pid}) is frozen, by SIGSTOP", advice)
        elif state and not sign.is_alive:
            advice = f"mailworkers restart {sign.role}; it loses nothing, its leases are taken back"
            yield wrong("processes", f"{name} (pid {sign.pid}) hangs: it lives, silently", advice)


def _state_of(pid: int) -> str:
    """Return the state of one of our processes as /proc tells it, "" when it is none."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
    # The program's name stands in parentheses and may hold anything.
    return stat.rpartition(")")[2].split()[0] if b"mailworkers" in command else ""


def _leases(pool: Pool) -> Finding:
    """Leases that have ended are taken back by a scheduler."""
    ended = _ended(pool)
    if ended:
        time.sleep(_PASSES)
        ended &= _ended(pool)
    if not ended:
        return fine("leases", "none has ended without being taken back")
    some, _ = min(ended)
    detail = f"{len(ended)} deliveries are stuck in `sending` past their lease, such as {some}"
    return wrong("leases", detail, "start a scheduler: it takes them back and they are sent")


def _ended(pool: Pool) -> set[tuple[UUID, UUID]]:
    with pool.connection() as conn:
        return {(it.delivery_id, it.lease_token) for it in expired_leases(conn, limit=_MOST)}


def check_journals(settings: Settings) -> Iterator[Finding]:
    """Dead senders of this host have been adopted: what they sent is in the database."""
    if not settings.state_dir.is_dir():
        return
    try:
        left = _orphans(settings.state_dir)
        if left:  # a sender that lives may be about to adopt it
            time.sleep(_ADOPTION)
            left &= _orphans(settings.state_dir)
    except StoreUnavailable as error:
        yield wrong("journals", error.reason, "ask as the account that the roles run as")
        return
    if left:
        detail = f"{len(left)} of dead senders wait to be adopted, such as {min(left)}"
        yield wrong("journals", detail, "start a sender on this host: it settles what they left")
    else:
        yield fine("journals", "none is left of a dead sender")


def _orphans(state_dir: Path) -> set[str]:
    with orphans(state_dir) as found:
        return {orphan.path.name for orphan in found}
