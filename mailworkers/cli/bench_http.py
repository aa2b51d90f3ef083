"""Scenarios of `mailworkers bench` about the api: what it takes in, and what reading takes."""

from typing import Any

import click

from mailworkers.bench.commands import Load, Mode
from mailworkers.cli.bench_options import load_options, number_option, setup_of, show


@click.command()
@number_option("--messages", 5000, "How many deliveries one run posts.")
@number_option("--callers", 32, "Connections, each with one request at a time.")
@number_option("--batch", 500, "Deliveries in one request, when they come in batches.")
@load_options
def http(*, messages: int, callers: int, batch: int, **shared: Any) -> None:
    """Measure how many deliveries a second are durable by HTTP, one by one and in batches."""
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import http as scenario

    report = scenario.run(
        scenario.Calls(callers, batch),
        Load(messages, shared["size"], Mode(shared["mode"])),
        setup_of(shared),
        repeat=shared["repeat"],
        progress=Progress(),
    )
    show(report, as_json=shared["as_json"])


@click.command()
@number_option("--finished", 5_000_000, "Deliveries that have ended.")
@number_option("--deferred", 20_000, "Deliveries that wait for their next attempt.")
@number_option("--times", 100, "How often each list, search and page is read.")
@number_option("--messages", 10_000, "How many messages one run sends, read and unread.")
@load_options
def reading(*, finished: int, deferred: int, times: int, messages: int, **shared: Any) -> None:
    """Measure how long lists, searches and pages take, and what an open console costs senders."""
    from mailworkers.bench.progress import Progress
    from mailworkers.bench.scenarios import reading as scenario

    report = scenario.run(
        scenario.Shelf(finished, deferred, times),
        Load(messages, shared["size"], Mode(shared["mode"])),
        setup_of(shared),
        repeat=shared["repeat"],
        progress=Progress(),
    )
    show(report, as_json=shared["as_json"])


COMMANDS = (http, reading)
