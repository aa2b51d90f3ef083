"""`mailworkers supervise`, `scale`, `restart`: the processes of this host, under supervisord."""

import os
import sys
from datetime import timedelta

import click

from mailworkers.adapters.settings import Settings, load
from mailworkers.adapters.supervisor import Supervisor
from mailworkers.adapters.supervisor_files import (
    ROLES,
    SCALABLE,
    Slots,
    supervisord_command,
    supervisord_environment,
)
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
    environment = supervisord_environment(settings, os.environ)
    Slots(settings.state_dir).prepare(settings.sender_concurrency)
    command = supervisord_command()
    sys.stdout.flush()
    os.execve(command[0], command, environment)  # noqa: S606  we become supervisord


@click.command()
@click.argument("role", type=click.Choice(list(SCALABLE)))
@click.argument("processes", type=click.IntRange(0, 256))
def scale(role: str, processes: int) -> None:
    """Run ROLE in so many PROCESSES from now on, also after a restart of supervisord.

    Processes that stay are not touched; those that go finish what they hold.
    """
    _supervisor(load(os.environ)).scale(role, processes, click.echo)
    click.echo(f"{role}: {processes}")


@click.command()
@click.argument("role", type=click.Choice(ROLES))
@click.option(
    "--rolling", is_flag=True, help="One by one, each only when the one before is healthy."
)
def restart(role: str, *, rolling: bool) -> None:
    """Restart all processes of ROLE; nothing is lost, they finish or hand back what they hold."""
    settings = load(os.environ)
    supervisor = _supervisor(settings)
    if rolling:
        supervisor.restart_rolling(role, click.echo, lambda _: _is_alive(settings, role))
    else:
        supervisor.restart(role, click.echo)


def _is_alive(settings: Settings, role: str) -> bool:
    """Whether as many processes of *role* as run here give signs of life in the database.

    A process that ended in order took its sign with it, so one is missing until its successor has
    its settings, the schema and what else it needs, and works.
    """
    from mailworkers.adapters import db
    from mailworkers.adapters.store import reads

    running = sum(program.is_running for program in _supervisor(settings).programs(role))
    try:
        with db.connect(settings.postgres_dsn, application="mailworkers restart") as conn:
            return reads.live_roles(conn, silence=_SILENCE).get(role, 0) >= running
    except StoreUnavailable:
        return False


def _supervisor(settings: Settings) -> Supervisor:
    return Supervisor(settings.supervisor_socket, Slots(settings.state_dir), settings.stop_wait)
