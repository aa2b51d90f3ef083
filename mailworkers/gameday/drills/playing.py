"""One drill from beginning to end: say what it is, start everything, let it take its course."""

import contextlib
from pathlib import Path
from typing import Any

from mailworkers.gameday.drills import needs
from mailworkers.gameday.drills.acts import Act
from mailworkers.gameday.drills.asking import SETTINGS, Asked
from mailworkers.gameday.drills.catalog import Drill
from mailworkers.gameday.drills.conditions import Conditions
from mailworkers.gameday.drills.course import Course
from mailworkers.gameday.drills.lookout import Alarms
from mailworkers.gameday.drills.registry import act_of
from mailworkers.gameday.drills.session import Session
from mailworkers.gameday.prometheus import Prometheus
from mailworkers.gameday.service import Service


def play(drill: Drill, asked: Asked, directory: Path, session: Session) -> dict[str, Any]:
    """Do *drill* in *directory* and return its report; everything it started has ended."""
    needs.check(drill, asked.servers)
    act = act_of(drill)
    _announce(drill, asked, session)
    with contextlib.ExitStack() as stack:
        more = {**SETTINGS, **act.prepare(directory)}
        stack.callback(act.close)
        session.say("starting PostgreSQL, Redis, the relay, and every role under supervisord")
        service = stack.enter_context(
            Service(
                directory,
                senders=asked.senders,
                source=asked.servers,
                more=more,
                postgres=act.postgres(),
                sink_address=act.sink_address(),
            )
        )
        service.start()
        stack.callback(act.leave)
        act.started(service)
        alarms = _alarms(drill, asked, act, service, session, stack)
        return Course(drill, asked, act, service, session).run(alarms)


def _announce(drill: Drill, asked: Asked, session: Session) -> None:
    session.head(drill.name)
    session.tell(f"does    {drill.does}")
    session.tell(f"why     {drill.why}")
    spans = f"{asked.calm:g} s before, {asked.seconds:g} s in it"
    session.tell(f"load    {asked.rate} commands a second: {spans}")
    must = ", ".join(f"{name} within {within:g} s" for name, within in drill.must.items())
    session.tell(f"alarms  {must or 'none may fire'}, and must be quiet afterwards")
    session.tell()


def _alarms(
    drill: Drill,
    asked: Asked,
    act: Act,
    service: Service,
    session: Session,
    stack: contextlib.ExitStack,
) -> Alarms:
    """Return a Prometheus with the shipped rules, or the conditions behind the alarms."""
    inside, target, address = act.observed_from(service)
    if asked.has_prometheus:
        place = service.directory / "prometheus"
        session.say("starting Prometheus with the shipped rules")
        return stack.enter_context(Prometheus(place, target, address, inside))
    why = "there is no Prometheus here (apt-get install prometheus)"
    if not asked.is_observed:
        why = "no Prometheus is wanted"
    session.say(f"{why}: the rules are NOT tried, only the conditions behind them, in /metrics")
    return Conditions(target, drill.must, inside)
