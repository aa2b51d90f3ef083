"""`mailworkers bench compose`: what it costs to write a message."""

import click

from mailworkers.cli.bench_options import show
from mailworkers.cli.output import json_option


@click.command()
@click.option(
    "--messages",
    type=click.IntRange(1, 1_000_000),
    default=2000,
    show_default=True,
    help="In each round; of EmailMessage a tenth, of messages with a file a fiftieth.",
)
@click.option(
    "--size",
    type=click.IntRange(1, 5_000_000),
    default=2048,
    show_default=True,
    help="Bytes of text of a message that is not from a template.",
)
@click.option("--repeat", type=click.IntRange(1, 1000), default=7, show_default=True)
@json_option
def compose(*, messages: int, size: int, repeat: int, as_json: bool) -> None:
    """Measure the CPU time from a decoded command to its final bytes, in microseconds.

    No store is needed. ratio_to_emailmessage: what the standard library's EmailMessage takes to
    write the text and html of the template, rendered already, divided by what we take to render
    and write them.
    """
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import compose as scenario

    report = scenario.run(messages, size=size, repeat=repeat, progress=Progress())
    show(report, as_json=as_json)
