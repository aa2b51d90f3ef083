"""What every command shares that changes something: who does it, why, and on which database."""

import getpass
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from mailworkers.adapters.db import Connection

LONGEST_REASON = 500
DRY_RUN = "dry run"  # in the place of a reason, where one has to be given and nothing keeps it
Command = TypeVar("Command", bound=Callable[..., Any])


def actor() -> str:
    """Return who is at the keyboard, as the audit trail names people of this host."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):
        return f"cli:uid {os.getuid()}"


def check_reason(context: click.Context, option: click.Parameter, reason: str | None) -> str:
    """Return *reason* when it is one line that the audit trail can keep; "" for a dry run."""
    if reason is None:
        if context.params.get("is_dry"):
            return ""
        raise click.MissingParameter(ctx=context, param=option)
    if not 0 < len(reason) <= LONGEST_REASON or not reason.isprintable():
        raise click.BadParameter(f"write one line of 1 to {LONGEST_REASON} characters")
    return reason


def reason_option(command: Command) -> Command:
    """Give *command* the required option `--reason`."""
    return click.option(
        "--reason",
        required=True,
        metavar="TEXT",
        callback=check_reason,
        help="Why; stands in the audit trail.",
    )(command)


def dry_options(command: Command) -> Command:
    """Give *command* `--dry-run`, argument `is_dry`, and `--reason`, which a dry run does not want.

    Before anything is done *reason* is "" for a dry run only.
    """
    dry = click.option(
        "--dry-run",
        "is_dry",
        is_flag=True,
        is_eager=True,
        help="Only show what it is about; change nothing.",
    )
    reason = click.option(
        "--reason",
        metavar="TEXT",
        callback=check_reason,
        help="Why; stands in the audit trail.  [required without --dry-run]",
    )
    return reason(dry(command))


def yes_option(command: Command) -> Command:
    """Give *command* the option `--yes`, argument `is_sure`."""
    return click.option("--yes", "is_sure", is_flag=True, help="Do it without asking.")(command)


@contextmanager
def connected(command: str) -> "Iterator[Connection]":
    """Connect to the database of this installation for *command*."""
    from mailworkers.adapters import db
    from mailworkers.adapters.settings import load

    settings = load(os.environ)
    with db.connect(settings.postgres_dsn, application=f"mailworkers {command}") as conn:
        yield conn


def wake_senders() -> None:
    """Tell idle senders that there may be work, where Redis is there to tell them."""
    from mailworkers.adapters.settings import load
    from mailworkers.adapters.stream import Waker

    waker = Waker(load(os.environ))
    waker.wake_senders()
    waker.close()


def wake_scheduler() -> None:
    """Tell an idle scheduler that it has something to do, where Redis is there to tell it."""
    from mailworkers.adapters.settings import load
    from mailworkers.adapters.stream import Waker

    waker = Waker(load(os.environ))
    waker.wake_scheduler()
    waker.close()
