"""`mailworkers shell`: somebody's hands, with everything the roles have."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import click

from mailworkers.adapters.settings import Settings, load
from mailworkers.cli.main import Failure


@click.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
def shell(*, command: tuple[str, ...]) -> None:
    """Open a shell, or run COMMAND, with the settings in force, for what no command of ours does.

    `psql` there is connected with the database of this installation, without a word; its programs,
    such as `supervisorctl`, are found; MAIL_STATE_DIR and MAIL_SUPERVISOR_SOCKET are set.

    \b
    mailworkers shell
    mailworkers shell psql -c "SELECT status, count(*) FROM mail.deliveries GROUP BY 1"
    """
    settings = load(os.environ)
    wanted = command or (os.environ.get("SHELL") or "/bin/sh",)
    environment = {**os.environ, **variables(settings, os.environ)}
    sys.stdout.flush()
    try:
        os.execvpe(wanted[0], wanted, environment)  # noqa: S606  we become what was asked for
    except OSError as error:
        raise Failure(f"{wanted[0]}: {error.strerror}") from error


def variables(settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what a shell has beside its environment: where things are, and libpq's variables."""
    from mailworkers.adapters.db import libpq_variables

    programs = str(Path(sys.executable).parent)
    return {
        "PATH": os.pathsep.join([environ.get("PATH", os.defpath), programs]),
        "MAIL_STATE_DIR": str(settings.state_dir),
        "MAIL_SUPERVISOR_SOCKET": str(settings.supervisor_socket),
        **libpq_variables(settings.postgres_dsn),
    }
