"""`mailworkers up`: everything here, with servers of its own and a mailbox to look at."""

import os
from pathlib import Path

import click

from mailworkers.cli.server_option import servers_option
from mailworkers.embedded.binaries import Source


def default_data() -> Path:
    """Return where an installed package keeps its data: the XDG state directory."""
    root = os.environ.get("XDG_STATE_HOME", "")
    home = Path(root) if root.startswith("/") else Path.home() / ".local" / "state"
    return home / "mailworkers-demo"


@click.command()
@click.option("--once", is_flag=True, help="End when all sample mails have arrived.")
@click.option("--reset", is_flag=True, help="Remove the data of earlier runs first.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of everything that is kept.  [default: mailworkers-demo in the XDG state "
    "directory]",
)
@servers_option
def up(*, once: bool, reset: bool, data: Path | None, servers: str) -> None:
    """Run all roles on a PostgreSQL, a Redis and a mailbox of their own, until Ctrl-C.

    Sends a few sample mails and says where to see them. Whatever DATABASE_URL, REDIS_URL or MAIL_*
    say: only servers started here are used. Data stays from run to run.
    """
    from mailworkers.embedded.screen import Screen
    from mailworkers.embedded.up import up as run

    run(data or default_data(), source=Source(servers), once=once, reset=reset, screen=Screen())
