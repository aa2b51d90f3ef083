"""Scenarios of `mailworkers bench` about circumstances: backlog, history, distance, death.

Each default is the size for which docs/performance.md names a target.
"""

from typing import Any

import click

from mailworkers.bench.commands import Ids, Load, Mode
from mailworkers.cli.bench_options import (
    load_options,
    number_option,
    setup_of,
    show,
    testbed_options,
)

_MESSAGES = number_option("--messages", 20_000, "How many messages one run sends.")
_SIZE = number_option("--size", 2048, "Bytes of text of a message.")


def _progress() -> Any:
    from mailworkers.bench.progress import Progress

    return Progress()


@click.command()
@number_option("--bulk", 1_000_000, "How many bulk messages wait.")
@number_option("--rate", 20, "Login codes a second.")
@number_option("--seconds", 20, "For how long they come.")
@_SIZE
@testbed_options
def auth(*, bulk: int, rate: int, seconds: int, size: int, **shared: Any) -> None:
    """Measure how long login codes take while bulk messages wait and are sent."""
    from mailworkers.bench.scenarios import auth as scenario

    backlog = scenario.Backlog(bulk, rate, seconds, size)
    setup = setup_of(shared)
    report = scenario.run(backlog, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


@click.command()
@number_option("--rate", 50, "Retries a second, sustained.")
@number_option("--seconds", 30, "For how long.")
@number_option("--burst-rate", 200, "Retries a second in the burst.")
@number_option("--burst-seconds", 10, "For how long.")
@_SIZE
@testbed_options
def lateness(
    *, rate: int, seconds: int, burst_rate: int, burst_seconds: int, size: int, **shared: Any
) -> None:
    """Measure how long after their time retries are at the sink, sustained and in a burst."""
    from mailworkers.bench.scenarios import lateness as scenario

    retries = scenario.Retries(rate, seconds, burst_rate, burst_seconds, size)
    setup = setup_of(shared)
    report = scenario.run(retries, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


def _pairs(_context: click.Context, _parameter: click.Parameter, text: str) -> Any:
    try:
        pairs = [part.split("x") for part in text.split(",") if part]
        return tuple((int(trip), int(senders)) for trip, senders in pairs)
    except ValueError:
        raise click.BadParameter("give pairs as 50x16, comma separated") from None


def _numbers(_context: click.Context, _parameter: click.Parameter, text: str) -> Any:
    try:
        return tuple(int(part) for part in text.split(",") if part)
    except ValueError:
        raise click.BadParameter("give whole numbers, comma separated") from None


@click.command("slow-relay")
@click.option(
    "--round-trips",
    default="0,20,100",
    show_default=True,
    callback=_numbers,
    help="Round trips in ms, each measured with each of --by.",
)
@click.option(
    "--by", default="1,2,4,8", show_default=True, callback=_numbers, help="Numbers of senders."
)
@click.option(
    "--also",
    default="50x16",
    show_default=True,
    callback=_pairs,
    help="Single pairs, round trip x senders.",
)
@number_option("--seconds", 8, "How long one measurement takes about.")
@number_option("--messages", 10_000, "The most messages of one measurement.")
@_SIZE
@testbed_options
def slow_relay(
    *,
    round_trips: tuple[int, ...],
    by: tuple[int, ...],
    also: tuple[tuple[int, int], ...],
    seconds: int,
    messages: int,
    size: int,
    **shared: Any,
) -> None:
    """Measure how throughput grows with senders when the relay is far away."""
    from mailworkers.bench.scenarios import slow_relay as scenario

    distances = scenario.Distances(round_trips, by, also, seconds, messages, size)
    setup = setup_of(shared)
    report = scenario.run(distances, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


@click.command()
@number_option("--finished", 5_000_000, "Deliveries that have ended, in the large database.")
@number_option("--future", 1_000_000, "Deliveries that are to come, in the large database.", 0)
@number_option("--before", 10_000, "Deliveries that have ended, in the small one.")
@click.option(
    "--ids",
    type=click.Choice([ids.value for ids in Ids]),
    default=Ids.RANDOM.value,
    show_default=True,
    help="UUIDs of version 4, or of version 7, which come in the order of time.",
)
@_MESSAGES
@load_options
def history(
    *, finished: int, future: int, before: int, ids: str, messages: int, **shared: Any
) -> None:
    """Measure throughput on a small database and on one with a long past and future."""
    from mailworkers.bench.scenarios import history as scenario

    past = scenario.Past(finished, future, before)
    load = Load(messages, shared["size"], Mode(shared["mode"]), ids=Ids(ids))
    setup = setup_of(shared)
    report = scenario.run(past, load, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


@click.command()
@number_option("--seconds", 600, "For how long another session holds its snapshot.")
@_MESSAGES
@load_options
def snapshot(*, seconds: int, messages: int, **shared: Any) -> None:
    """Measure throughput before, while and after another session holds a snapshot."""
    from mailworkers.bench.scenarios import snapshot as scenario

    load = Load(messages, shared["size"], Mode(shared["mode"]))
    hold = scenario.Hold(seconds)
    setup = setup_of(shared)
    report = scenario.run(hold, load, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


@click.command()
@number_option("--rows", 1_000_000, "Old deliveries that are there to be deleted.")
@_MESSAGES
@load_options
def retention(*, rows: int, messages: int, **shared: Any) -> None:
    """Measure throughput while retention deletes old deliveries, and without it."""
    from mailworkers.bench.scenarios import retention as scenario

    load = Load(messages, shared["size"], Mode(shared["mode"]))
    old = scenario.Old(rows)
    setup = setup_of(shared)
    report = scenario.run(old, load, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


@click.command()
@number_option("--messages", 1_000_000, "How many messages in all.")
@number_option("--batch", 10_000, "How many at once; processes are looked at after each.")
@_SIZE
@testbed_options
def memory(*, messages: int, batch: int, size: int, **shared: Any) -> None:
    """Send very many messages and see whether memory, files or indexes grow (--repeat is 1)."""
    from mailworkers.bench.scenarios import memory as scenario

    soak = scenario.Soak(messages, batch, size)
    show(scenario.run(soak, setup_of(shared), progress=_progress()), as_json=shared["as_json"])


@click.command()
@number_option("--messages", 2000, "How many messages one run sends.")
@number_option("--dot-delay", 10, "Milliseconds the sink takes to answer a message.", 0)
@_SIZE
@testbed_options
def kill(*, messages: int, dot_delay: int, size: int, **shared: Any) -> None:
    """Kill all senders at 40 % of the messages: copies, losses, and how soon it goes on."""
    from mailworkers.bench.scenarios import kill as scenario

    killed = scenario.Kill(messages, dot_delay_ms=dot_delay, size=size)
    setup = setup_of(shared)
    report = scenario.run(killed, setup, repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


@click.command()
@testbed_options
def start(**shared: Any) -> None:
    """Measure how long each role takes from its start to its first work."""
    from mailworkers.bench.scenarios import start as scenario

    report = scenario.run(setup_of(shared), repeat=shared["repeat"], progress=_progress())
    show(report, as_json=shared["as_json"])


COMMANDS = (auth, lateness, slow_relay, history, snapshot, retention, memory, kill, start)
