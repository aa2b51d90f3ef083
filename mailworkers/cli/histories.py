"""`mailworkers deliveries list`, `timeline`, `explain`: finding mail, and why it is not there."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn, TypeVar
from uuid import UUID

import click

from mailworkers.cli.acting import connected
from mailworkers.cli.composing import canonical_of, parse_when
from mailworkers.cli.output import json_option, local_time, print_json, print_table
from mailworkers.core.states import Lane, Status

if TYPE_CHECKING:
    from mailworkers.adapters.db import Connection
    from mailworkers.adapters.store.reads import Delivery, DeliverySummary
    from mailworkers.core.explanations import Explanation

Answer = TypeVar("Answer")
_LANES = {lane.label: lane for lane in Lane}
_TROUBLE = (Status.FAILED, Status.DEAD_LETTER, Status.UNCERTAIN)


@click.command("list")
@click.argument("recipient", required=False)
@click.option("--status", "statuses", multiple=True, type=click.Choice([str(s) for s in Status]))
@click.option("--trouble", is_flag=True, help="What is failed, dead_letter or uncertain.")
@click.option("--source", "sources", multiple=True, metavar="NAME")
@click.option("--lane", "lanes", multiple=True, type=click.Choice(list(_LANES)))
@click.option("--template", metavar="ID")
@click.option(
    "--since", metavar="WHEN", help="Accepted then or later: 2027-01-31T08:00:00Z or -2h."
)
@click.option("--until", metavar="WHEN", help="Accepted before then.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@json_option
def list_(
    *,
    recipient: str | None,
    statuses: tuple[str, ...],
    trouble: bool,
    sources: tuple[str, ...],
    lanes: tuple[str, ...],
    template: str | None,
    since: str | None,
    until: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Find deliveries, newest first; with RECIPIENT those to this address, in whatever form."""
    from mailworkers.adapters.store import reads

    now = datetime.now(UTC)
    wanted = reads.DeliveryFilter(
        statuses=(*map(Status, statuses), *(_TROUBLE if trouble else ())),
        sources=sources,
        lanes=tuple(_LANES[lane] for lane in lanes),
        template_id=template,
        created_from=parse_when(since, now) if since else None,
        created_to=parse_when(until, now) if until else None,
    )
    address = canonical_of(recipient) if recipient else None
    with connected("deliveries list") as conn:
        if address is None:
            found = reads.list_deliveries(conn, wanted, before=None, limit=limit)
        else:
            found = reads.list_deliveries_to(conn, address, wanted, before=None, limit=limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("delivery", "accepted", "status", "lane", "source", "to", "tries", "next try")
        print_table(columns, map(_row, found))
    else:
        click.echo("nothing found")


def _row(found: "DeliverySummary") -> tuple[object, ...]:
    others = f" +{len(found.recipients) - 1}" if len(found.recipients) > 1 else ""
    return (
        found.delivery_id,
        local_time(found.created_at),
        found.status + (f" ({found.failure})" if found.failure else ""),
        found.lane,
        found.source,
        f"{found.recipients[0]}{others}" if found.recipients else "",
        found.attempt_no,
        local_time(found.next_attempt_at),
    )


@click.command()
@click.argument("delivery_id", type=click.UUID)
@json_option
def timeline(*, delivery_id: UUID, as_json: bool) -> None:
    """Show everything that happened to one delivery, in order."""
    from mailworkers.adapters.store.histories import timeline as events_of

    events = _ask("timeline", delivery_id, events_of)
    if as_json:
        print_json(events)
    else:
        print_table(("when", "what"), [(local_time(e.at), e.words) for e in events])


@click.command()
@click.argument("delivery_id", type=click.UUID)
@json_option
def explain(*, delivery_id: UUID, as_json: bool) -> None:
    """Say in words why one delivery is not sent, what happens next, and what can be done."""
    from mailworkers.adapters.policies import retry_policies
    from mailworkers.adapters.settings import load
    from mailworkers.adapters.store.histories import explain_delivery

    policies = retry_policies(load(os.environ))

    def question(conn: "Connection", delivery: "Delivery") -> "Explanation":
        return explain_delivery(conn, delivery, policies) or _unknown(delivery_id)

    said = _ask("explain", delivery_id, question)
    if as_json:
        print_json(said)
        return
    click.secho(said.summary, bold=True)
    for why in said.why:
        click.echo(f"  {why}")
    at = f", at {local_time(said.next_at)}" if said.next_at else ""
    click.echo(f"next: {said.next}{at}")
    for line in said.advice:
        click.echo(f"you can: {line.replace(' ID ', f' {delivery_id} ')}")


def _ask(
    name: str, delivery_id: UUID, question: "Callable[[Connection, Delivery], Answer]"
) -> Answer:
    """Return what *question* finds about one delivery that exists."""
    from mailworkers.adapters.store import reads

    with connected(f"deliveries {name}") as conn:
        delivery = reads.find_delivery(conn, delivery_id) or _unknown(delivery_id)
        return question(conn, delivery)


def _unknown(delivery_id: UUID) -> NoReturn:
    raise click.ClickException(
        f"there is no delivery {delivery_id}; "
        f"`mailworkers deliveries show {delivery_id}` says what that can mean"
    )
