"""`mailworkers bench`: how fast it is, measured here."""

from pathlib import Path
from typing import Any

import click

from mailworkers.bench.commands import Mode
from mailworkers.bench.sinks import SinkKind
from mailworkers.cli import bench_circumstances, bench_http, bench_report
from mailworkers.cli.bench_compose import compose
from mailworkers.cli.bench_options import load_options, peers_of, setup_of, show


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
@load_options
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
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import throughput as scenario

    mode = Mode(shared["mode"])
    if peers and mode is not Mode.RENDERED:
        raise click.BadParameter("peers send finished text: --mode rendered", param_hint="--peers")
    report = scenario.run(
        Load(messages, shared["size"], mode),
        setup_of(shared, sink=SinkKind(sink), statistics=profile is not None),
        repeat=shared["repeat"],
        progress=Progress(),
        has_wire=wire,
        profile=profile,
        peers=peers_of(peers, peers_directory),
    )
    show(report, as_json=shared["as_json"])


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
@load_options
def latency(*, rate: int, seconds: int, idle_tries: int, **shared: Any) -> None:
    """Measure how long a message takes at a steady RATE a second, and on an idle system."""
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import latency as scenario

    report = scenario.run(
        scenario.Offer(rate, seconds, idle_tries, shared["size"], Mode(shared["mode"])),
        setup_of(shared),
        repeat=shared["repeat"],
        progress=Progress(),
    )
    show(report, as_json=shared["as_json"])


@bench.command()
@click.option("--messages", type=click.IntRange(1), default=10_000, show_default=True)
@load_options
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
        setup_of(shared),
        repeat=shared["repeat"],
        progress=Progress(),
    )
    show(report, as_json=shared["as_json"])


for command in (
    compose,
    *bench_circumstances.COMMANDS,
    *bench_http.COMMANDS,
    *bench_report.COMMANDS,
):
    bench.add_command(command)
