"""`mailworkers bench`: how fast it is, measured here."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from mailworkers.bench.commands import Mode
from mailworkers.bench.sinks import SinkKind
from mailworkers.embedded.binaries import Source

Command = TypeVar("Command", bound=Callable[..., Any])

_RUN_AS = ("run as", "version")
_SHARED = (
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
    click.option("--senders", type=click.IntRange(1, 64), default=2, show_default=True),
    click.option("--consumers", type=click.IntRange(1, 16), default=1, show_default=True),
    click.option("--repeat", type=click.IntRange(1, 100), default=3, show_default=True),
    click.option(
        "--servers",
        type=click.Choice([source.value for source in Source]),
        default=Source.AUTO.value,
        show_default=True,
        help="PostgreSQL and Valkey or Redis: from Python wheels, from the system, or whichever "
        "is there.",
    ),
    click.option(
        "--directory",
        type=click.Path(file_okay=False, exists=True, path_type=Path),
        help="Where the stores' data lies meanwhile, on a real disk.  [default: the system's "
        "directory for temporary files]",
    ),
    click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
)


def _shared_options(command: Command) -> Command:
    """Give *command* the options of every scenario."""
    for option in reversed(_SHARED):
        command = option(command)
    return command


@click.group()
def bench() -> None:
    """Measure the real roles on throwaway stores; each message must arrive exactly once.

    Everything is started here and removed at the end, whatever MAIL_* or DATABASE_URL say. CPU
    seconds are those of all processes: producer, roles, stores and sink.
    """


@bench.command()
@click.option("--messages", type=click.IntRange(1), default=10_000, show_default=True)
@click.option(
    "--sink",
    type=click.Choice([kind.value for kind in SinkKind]),
    default=SinkKind.LEAN.value,
    show_default=True,
    help="Where the mail goes: a sink of ours, or Postfix's, which writes every message to a file.",
)
@click.option(
    "--wire/--no-wire",
    default=True,
    help="Measure what SMTP alone carries here, by Postfix's smtp-source and smtp-sink; fetched "
    "with apt-get into the cache directory when they are not on PATH.",
)
@click.option(
    "--profile",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write profiles of roles (py-spy) and statements into this directory; slows it down.",
)
@click.option(
    "--peers",
    default="",
    metavar="NAME,...",
    help="Let others send the same in turn: postfix, pgqueuer, post_office, celery, procrastinate, "
    "or `all`. Each is installed into a cache of its own at its first run; those that cannot be "
    "are named and left out.",
)
@click.option(
    "--peers-directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where peers are installed.  [default: mailworkers/peers in the user's cache]",
)
@_shared_options
def throughput(
    *,
    messages: int,
    sink: str,
    wire: bool,
    profile: Path | None,
    peers: str,
    peers_directory: Path | None,
    **shared: Any,
) -> None:
    """Measure messages a second from the first XADD until the last is at the sink.

    With --peers also what others do with as many messages of the same size on the same stores:
    ratio_to_postfix is our messages a second divided by theirs, cpu_ratio_to_postfix our CPU
    seconds for 1,000 divided by theirs.
    """
    from mailworkers.bench.commands import Load
    from mailworkers.bench.peers.all_peers import find_peers
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import throughput as scenario

    report = scenario.run(
        Load(messages, shared["size"], Mode(shared["mode"])),
        _setup(shared, sink=SinkKind(sink), statistics=profile is not None),
        repeat=shared["repeat"],
        progress=Progress(),
        has_wire=wire,
        profile=profile,
        peers=find_peers(peers, peers_directory),
    )
    _show(report, as_json=shared["as_json"])


@bench.command()
@click.option("--rate", type=click.IntRange(1, 5000), default=200, show_default=True)
@click.option("--seconds", type=click.IntRange(1, 3600), default=10, show_default=True)
@click.option(
    "--idle-tries",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    help="How often, in each run, a single message meets a system where all roles sleep.",
)
@_shared_options
def latency(*, rate: int, seconds: int, idle_tries: int, **shared: Any) -> None:
    """Measure how long a message takes at a steady RATE a second, and on an idle system."""
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import latency as scenario

    report = scenario.run(
        scenario.Offer(rate, seconds, idle_tries, shared["size"], Mode(shared["mode"])),
        _setup(shared),
        repeat=shared["repeat"],
        progress=Progress(),
    )
    _show(report, as_json=shared["as_json"])


@bench.command()
@click.option("--messages", type=click.IntRange(1), default=10_000, show_default=True)
@_shared_options
def journal(*, messages: int, **shared: Any) -> None:
    """Measure what the senders' journal and the checks of the lease cost, in alternating pairs.

    Each of --repeat pairs empties the same queue with them and without; `cost_percent` is by how
    many per cent fewer messages a second come through with them.
    """
    from mailworkers.bench.commands import Load
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import journal as scenario

    report = scenario.run(
        Load(messages, shared["size"], Mode(shared["mode"])),
        _setup(shared),
        repeat=shared["repeat"],
        progress=Progress(),
    )
    _show(report, as_json=shared["as_json"])


def _setup(shared: dict[str, Any], **more: Any) -> Any:
    from mailworkers.bench.testbed import Setup

    return Setup(
        senders=shared["senders"],
        consumers=shared["consumers"],
        servers=Source(shared["servers"]),
        directory=shared["directory"],
        **more,
    )


def _show(report: Any, *, as_json: bool) -> None:
    """Print *report*; the exit code says whether every message arrived exactly once."""
    from mailworkers.bench.report import as_object, doubt, facts, peer_rows, rows, verdict
    from mailworkers.cli.output import print_facts, print_json, print_table

    if as_json:
        print_json(as_object(report))
    else:
        print_table(("figure", "median", "least", "most"), rows(report))
        if report.peers:
            print_table(("peer", "safe when acknowledged", "arrivals", *_RUN_AS), peer_rows(report))
        print_facts(facts(report))
        click.echo(f"\n{verdict(report.check)}")
    if found := doubt(report):
        click.echo(f"mailworkers: {found}", err=True)
    if not report.check.is_exactly_once:
        click.echo(f"mailworkers: {verdict(report.check)}", err=True)
        sys.exit(1)
