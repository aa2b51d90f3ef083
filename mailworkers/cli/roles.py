"""The six roles, as supervisord starts them; each imports only its own role."""

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mailworkers.adapters.settings import Settings


def _run(role: str) -> None:
    """Read the settings, run *role* until it is told to stop, exit with its code."""
    from mailworkers.adapters.settings import load

    settings = load(os.environ)
    sys.exit(import_role(role)(settings))


def import_role(role: str) -> "Callable[[Settings], int]":
    """Return what runs *role*, imported without looking for garbage, of which there is none.

    What modules make lives as long as the process, so it is not looked through later either.
    """
    gc.disable()
    try:
        main: Callable[[Settings], int] = import_module(f"mailworkers.roles.{role}").main
    finally:
        gc.freeze()
        gc.enable()
    return main


@click.command()
def consumer() -> None:
    """Take commands from the Redis Stream and make them durable deliveries."""
    _run("consumer")


@click.command()
def scheduler() -> None:
    """Watch the clock: make due deliveries ready, take expired leases back, end what is overdue."""
    _run("scheduler")


@click.command()
def sender() -> None:
    """Send: lease ready deliveries, hand them to the relay, record what it answered."""
    _run("sender")


@click.command()
def retention() -> None:
    """Delete what is final and old; never anything that lives."""
    _run("retention")


@click.command()
def api() -> None:
    """Serve the internal HTTP API."""
    _run("api")


@click.command()
def monitor() -> None:
    """Serve health, readiness and metrics of this host."""
    _run("monitor")
