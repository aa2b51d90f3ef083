"""`mailworkers migrate`: bring the database schema up to date."""

import os

import click

from mailworkers.cli.output import json_option, print_json


@click.command()
@json_option
def migrate(*, as_json: bool) -> None:
    """Bring the schema up to date; safe while roles run and when several do it at once.

    Needed by hand only with MAIL_MIGRATE=never: otherwise every role does it when it starts.
    """
    from mailworkers.adapters import db
    from mailworkers.adapters.settings import load

    applied = db.migrate(load(os.environ).postgres_dsn)
    if as_json:
        print_json({"applied": applied})
    elif applied:
        for name in applied:
            click.echo(f"applied {name}")
    else:
        click.echo("the schema is up to date")
