"""What all scenarios of `mailworkers bench` have in common: options, the testbed, what is shown."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mailworkers.bench.commands import Mode
from mailworkers.cli.option_sets import with_options
from mailworkers.cli.server_option import servers_option
from mailworkers.embedded.binaries import Source

Command = TypeVar("Command", bound=Callable[..., Any])


def _assignments(
    _context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> tuple[str, ...]:
    for one in given:
        if not re.fullmatch(r"[a-z_.]+=.+", one):
            raise click.BadParameter(f"give NAME=VALUE, not {one!r}")
    return given


_LOAD = (
    click.option(
        "--mode",
        type=click.Choice([mode.value for mode in Mode]),
        default=Mode.RENDERED.value,
        show_default=True,
        help="Content given by the producer, or rendered here from the template `welcome`.",
    ),
    click.option(
        "--size",
        type=click.IntRange(1, 5_000_000),
        default=2048,
        show_default=True,
        help="Bytes of text of a rendered message.",
    ),
)
_RUN_AS = ("run as", "version")
_TESTBED = (
    click.option("--senders", type=click.IntRange(1, 64), default=2, show_default=True),
    click.option("--consumers", type=click.IntRange(1, 16), default=1, show_default=True),
    click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True),
    servers_option,
    click.option(
        "--directory",
        type=click.Path(file_okay=False, exists=True, path_type=Path),
        help="Where the stores' data lies meanwhile, on a real disk.  [default: the system's "
        "directory for temporary files]",
    ),
    click.option(
        "--postgres",
        "postgres_settings",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_assignments,
        help="A setting for this PostgreSQL, as shared_buffers=1GB; may be repeated.",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)


def testbed_options(command: Command) -> Command:
    """Give *command* the options of every scenario: what runs, where, how often."""
    return with_options(command, _TESTBED)


def load_options(command: Command) -> Command:
    """Give *command* also those of what is sent: `--mode` and `--size`."""
    return with_options(with_options(command, _TESTBED), _LOAD)


def number_option(
    name: str, default: int, text: str, least: int = 1
) -> Callable[[Command], Command]:
    """Return the option *name*, a whole number, with its help."""
    return click.option(
        name, type=click.IntRange(least), default=default, show_default=True, help=text
    )


def setup_of(shared: dict[str, Any], **more: Any) -> Any:
    """Return the testbed that the shared options ask for."""
    from mailworkers.bench.testbed import Setup

    return Setup(
        senders=shared["senders"],
        consumers=shared["consumers"],
        servers=Source(shared["servers"]),
        directory=shared["directory"],
        postgres_settings=shared["postgres_settings"],
        **more,
    )


def peers_of(names: str, cache: Path | None) -> Any:
    """Return the peers that `--peers` names, to be installed below *cache*."""
    from mailworkers.bench.peers.all_peers import find_peers
    from mailworkers.core.errors import ConfigError

    try:
        return find_peers(names, cache)
    except ConfigError as error:
        raise click.BadParameter(str(error), param_hint="--peers") from None


def show(report: Any, *, as_json: bool) -> None:
    """Print *report*; the exit code says whether every message arrived exactly once."""
    from mailworkers.bench.report import as_object, doubt, facts, peer_rows, rows, verdict
    from mailworkers.cli.output import print_facts, print_json
    from mailworkers.cli.tables import print_table

    if as_json:
        print_json(as_object(report))
    else:
        print_table(("figure", "median", "least", "most"), rows(report))
        if report.peers:
            print_table(("peer", "safe when acknowledged", "arrivals", *_RUN_AS), peer_rows(report))
        print_facts(facts(report))
        if report.check is not None:
            click.echo(f"\n{verdict(report.check)}")
    if found := doubt(report):
        click.echo(f"mailworkers: {found}", err=True)
    if not report.is_sound:
        click.echo(f"mailworkers: {verdict(report.check)}", err=True)
        sys.exit(1)
