"""`mailworkers supervise`, `scale`, `restart`: the processes of this host, under supervisord."""

import os
import socket
import sys
from datetime import timedelta
from pathlib import Path

import click

from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.supervisor import Program, Supervisor
from mailworkers.adapters.supervisor_files import (
    ROLES,
    SCALABLE,
    Slots,
    supervisord_command,
    supervisord_environment,
)
from mailworkers.adapters.usable_places import usable_places
from mailworkers.cli.output import json_option, print_json
from mailworkers.core.errors import StoreUnavailable

_SILENCE = timedelta(seconds=15)  # three missed heartbeats


@click.command()
def supervise() -> None:
    """Run every role on this host under supervisord, in the foreground, until it is told to stop.

    Settings are checked first: wrong ones end this with exit code 78 and start nothing. At the very
    first start there are MAIL_ATTEMPT_WORKER_CONCURRENCY senders, later as many as `mailworkers
    scale` made. Logs are files in SUPERVISOR_LOG_DIR, by default `log` in the state directory.
    """
    settings = load(os.environ)
    for warning in settings.warnings:
        click.echo(f"warning: {warning}", err=True)
    with usable_places(_places(settings)):
        environment = supervisord_environment(settings, os.environ)
        Slots(settings.state_dir).prepare(settings.sender_concurrency)
    command = supervisord_command()
    sys.stdout.flush()
    os.execve(command[0], command, environment)  # noqa: S606  we become supervisord


# A number below zero is a wrong number, not an option nobody knows.
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("role", type=click.Choice(list(SCALABLE)))
@click.argument("processes", type=click.IntRange(0, 256))
@json_option
def scale(*, role: str, processes: int, as_json: bool) -> None:
    """Run ROLE in so many PROCESSES from now on, also after a restart of supervisord.

    Processes that stay are not touched; those that go finish what they hold.
    """
    settings = load(os.environ)
    steps: list[str] = []
    with usable_places(_places(settings)):
        _supervisor(settings).scale(role, processes, steps.append if as_json else click.echo)
    if as_json:
        print_json({"role": role, "processes": processes, "steps": steps})
    else:
        click.echo(f"{role}: {processes}")


@click.command()
@click.argument("role", type=click.Choice(ROLES))
@click.option(
    "--rolling", is_flag=True, help="One by one, each only when the one before is healthy."
)
@json_option
def restart(*, role: str, rolling: bool, as_json: bool) -> None:
    """Restart all processes of ROLE; nothing is lost, they finish or hand back what they hold."""
    settings = load(os.environ)
    supervisor = _supervisor(settings)
    steps: list[str] = []
    tell = steps.append if as_json else click.echo
    if rolling:
        supervisor.restart_rolling(role, tell, lambda it: is_alive(settings, role, it))
    else:
        supervisor.restart(role, tell)
    if as_json:
        print_json({"role": role, "steps": steps})


def is_alive(settings: Settings, role: str, program: Program) -> bool:
    """Whether this very process of *role* gives signs of life in the database.

    Its first one says that it has its settings, the schema and what else it needs, and works.
    Others prove nothing: they may run elsewhere, or be what a killed process left behind.
    """
    from mailworkers.adapters import db
    from mailworkers.adapters.store import reads

    host = socket.gethostname()
    try:
        with db.connect(settings.postgres_dsn, application="mailworkers restart") as conn:
            return reads.is_process_alive(
                conn, role=role, host=host, pid=program.pid, silence=_SILENCE
            )
    except StoreUnavailable:
        return False


def _places(settings: Settings) -> dict[str, Path]:
    """Return what supervisord writes to, by the setting that names it."""
    places = {
        "MAIL_STATE_DIR": settings.state_dir,
        "MAIL_SUPERVISOR_SOCKET": settings.supervisor_socket,
    }
    if log := os.environ.get("SUPERVISOR_LOG_DIR"):
        places["SUPERVISOR_LOG_DIR"] = Path(log)
    return places


def _supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings.supervisor_socket, Slots(settings.state_dir), settings.stop_wait)
