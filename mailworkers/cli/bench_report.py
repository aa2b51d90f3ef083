"""`mailworkers bench all` and `bench report`: every target, what was measured, whether reached."""

import sys
from pathlib import Path
from typing import Any

import click

from mailworkers.cli.bench_options import peers_of, setup_of, testbed_options
from mailworkers.cli.output import print_json
from mailworkers.cli.tables import print_table

_COLUMNS = ("what", "target", "measured", "reached")


@click.command("all")
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    default="bench-report",
    show_default=True,
    help="Folder of the results; what lies there already is kept.",
)
@click.option("--only", default="", metavar="NAME,...", help="Measure just these.")
@click.option(
    "--full",
    is_flag=True,
    help="The sizes of the targets (a million waiting, five "
    "millions of history): hours. Without it about a tenth of those.",
)
@click.option(
    "--peers",
    default="all",
    show_default=True,
    metavar="NAME,...",
    help="As of `bench throughput`; `none` leaves them out.",
)
@click.option(
    "--peers-directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="As of `bench throughput`.",
)
@click.option(
    "--messages",
    type=click.IntRange(1),
    default=None,
    help="Messages of one run of throughput.  [default: 10,000]",
)
@testbed_options
def all_measurements(
    *,
    into: Path,
    only: str,
    full: bool,
    peers: str,
    peers_directory: Path | None,
    messages: int | None,
    **shared: Any,
) -> None:
    """Measure everything there is a target for; write JSON, a table and a plot into a folder.

    Each measurement is written as soon as it is there; one that fails is named and the others go
    on. `mailworkers bench report` shows the same table again.
    """
    import msgspec

    from mailworkers.bench.collection import Collection
    from mailworkers.bench.everything import TENTH, Sizes, measurements
    from mailworkers.bench.progress import Progress

    sizes = Sizes() if full else TENTH
    sizes = msgspec.structs.replace(sizes, messages=messages) if messages else sizes
    progress = Progress()
    every = measurements(
        sizes,
        setup_of(shared),
        repeat=shared["repeat"],
        peers=[] if peers == "none" else peers_of(peers, peers_directory),
        progress=progress,
    )
    picked = _chosen(every, only)
    collection = Collection(into)
    failed = _measure(picked, collection, progress)
    _show(collection, as_json=shared["as_json"])
    if failed:
        click.echo(f"mailworkers: could not be measured: {', '.join(failed)}", err=True)
        sys.exit(1)


def _chosen(every: dict[str, Any], only: str) -> dict[str, Any]:
    """Return the measurements that *only* names, comma-separated; all of them without one."""
    names = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in names if name not in every]:
        text = f"there is no measurement {unknown[0]!r}: choose of {', '.join(every)}"
        raise click.BadParameter(text, param_hint="--only")
    return {name: measure for name, measure in every.items() if not names or name in names}


def _measure(picked: dict[str, Any], collection: Any, progress: Any) -> list[str]:
    """Make the measurements *picked* one after the other; return the names of those that failed."""
    from mailworkers.core.errors import ConfigError, MailworkersError

    failed = []
    for number, (name, measure) in enumerate(picked.items(), 1):
        progress.say(f"\n{number} of {len(picked)}: {name}")
        try:
            collection.keep(name, measure())
        except ConfigError:
            raise
        except (MailworkersError, OSError) as error:
            failed.append(name)
            progress.say(f"{name} could not be measured: {error}")
    return failed


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def report(*, folder: Path, as_json: bool) -> None:
    """Show what was measured into FOLDER against the targets, and draw its plot anew."""
    from mailworkers.bench.collection import Collection

    _show(Collection(folder), as_json=as_json)


def _show(collection: Any, *, as_json: bool) -> None:
    """Write the report's files and print its table; the exit code does not judge."""
    written = collection.write_report()
    if as_json:
        print_json({line.budget.what: line.value for line in collection.lines()})
    else:
        print_table(_COLUMNS, (line.texts() for line in collection.lines()))
    click.echo(f"written: {', '.join(str(path) for path in written)}", err=True)


COMMANDS = (all_measurements, report)
