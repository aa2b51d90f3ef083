"""What every game day takes, drills and the others: its options, and what becomes of its report."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mailworkers.cli.option_sets import with_options
from mailworkers.cli.output import json_option
from mailworkers.cli.server_option import servers_option

Command = TypeVar("Command", bound=Callable[..., Any])


def _check_place(
    _context: click.Context, _option: click.Parameter, path: Path | None
) -> Path | None:
    """Return *path* when a file can be written there: not to be found out at the end."""
    if path is not None and not os.access(path if path.exists() else path.parent, os.W_OK):
        raise click.BadParameter(f"{path} cannot be written")
    return path


def _file_option(name: str, text: str) -> Callable[[Command], Command]:
    path = click.Path(dir_okay=False, path_type=Path)
    return click.option(name, type=path, callback=_check_place, help=text)


def _seed_option(text: str) -> Callable[[Command], Command]:
    return click.option("--seed", type=int, help=text)


def _senders_option(least: int) -> Callable[[Command], Command]:
    return click.option("--senders", type=click.IntRange(least, 32), default=3, show_default=True)


def _keep_option(text: str) -> Callable[[Command], Command]:
    return click.option("--keep", is_flag=True, help=text)


_report_option = _file_option("--report", "Write the report into this file, as JSON.")


def run_options(command: Command) -> Command:
    """Give *command* the options of a run in which many things go wrong."""
    return with_options(
        command,
        (
            _seed_option("Repeats the plan and the commands of a run."),
            _senders_option(1),
            servers_option,
            _report_option,
            _keep_option("Keep ledgers, logs and data of a good run, too."),
            json_option,
        ),
    )


def drill_options(command: Command) -> Command:
    """Give *command* the options of a drill, in which one thing goes wrong."""
    return with_options(
        command,
        (
            click.option(
                "--rate",
                type=click.IntRange(1, 1000),
                default=50,
                show_default=True,
                help="Commands a second, all the while.",
            ),
            _seed_option("Repeats the commands of a drill."),
            _senders_option(2),
            servers_option,
            click.option(
                "--prometheus/--no-prometheus",
                "is_observed",
                default=True,
                help="Try the shipped rules in a Prometheus, where there is one; without it the "
                "conditions behind the alarms are looked at in /metrics.",
            ),
            _file_option("--log", "Write the session log into this file, too."),
            _report_option,
            _keep_option("Keep ledgers, logs and data of a good one, too."),
            json_option,
        ),
    )


def seed_of(shared: dict[str, Any]) -> int:
    """Return the seed asked for, or one drawn now."""
    return secrets.randbelow(1_000_000) if shared["seed"] is None else int(shared["seed"])


def keep_report(report: Any, shared: dict[str, Any]) -> None:
    """Write *report* where `--report` asks for it."""
    if shared["report"]:
        shared["report"].write_text(json.dumps(report, indent=1, default=str) + "\n")
