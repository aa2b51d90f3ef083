"""`mailworkers deliveries list`, `timeline`, `explain`: finding mail, and why it is not there."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, NoReturn
from uuid import UUID

import click

from mailworkers.cli.completion import complete_source, complete_template
from mailworkers.cli.composing import canonical_of, parse_when
from mailworkers.cli.output import first_of, json_option, local_time, print_json, short_time
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.tables import print_table
from mailworkers.core.states import Lane, Status

if TYPE_CHECKING:
    from mailworkers.adapters.store.reads import DeliverySummary

_LANES = {lane.label: lane for lane in Lane}
_TROUBLE = (Status.FAILED, Status.DEAD_LETTER, Status.UNCERTAIN)


@click.command("list")
@click.argument("recipient", required=False)
@click.option("--status", "statuses", multiple=True, type=click.Choice([str(s) for s in Status]))
@click.option("--trouble", is_flag=True, help="What is failed, dead_letter or uncertain.")
@click.option("--source", "sources", multiple=True, metavar="NAME", shell_complete=complete_source)
@click.option("--lane", "lanes", multiple=True, type=click.Choice(list(_LANES)))
@click.option("--template", metavar="ID", shell_complete=complete_template)
@click.option(
    "--since", metavar="WHEN", help="Accepted then or later: 2027-01-31T08:00:00Z or -2h."
)
@click.option("--until", metavar="WHEN", help="Accepted before then.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True)
@api_option
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
    with operations("deliveries list") as reached:
        found = reached.find_deliveries(wanted, address, limit)
    if as_json:
        print_json(found)
    elif found:
        columns = ("delivery", "accepted", "status", "lane", "source", "to", "tries", "next try")
        print_table(
            columns,
            map(_row, found),
            whole=("delivery",),
            spare=("source", "tries", "lane", "next try"),
        )
    else:
        click.echo("nothing found")


def _row(found: "DeliverySummary") -> tuple[object, ...]:
    return (
        found.delivery_id,
        short_time(found.created_at),
        found.status + (f" ({found.failure})" if found.failure else ""),
        found.lane,
        found.source,
        first_of(found.recipients),
        found.attempt_no,
        short_time(found.next_attempt_at),
    )


@click.command()
@click.argument("delivery_id", type=click.UUID)
@api_option
@json_option
def timeline(*, delivery_id: UUID, as_json: bool) -> None:
    """Show everything that happened to one delivery, in order."""
    with operations("deliveries timeline") as reached:
        events = reached.timeline(delivery_id)
    if events is None:
        unknown(delivery_id)
    if as_json:
        print_json(events)
    else:
        rows = [(local_time(event.at), event.words) for event in events]
        print_table(("when", "what"), rows, whole=("when",), wrapped=("what",))


@click.command()
@click.argument("delivery_id", type=click.UUID)
@api_option
@json_option
def explain(*, delivery_id: UUID, as_json: bool) -> None:
    """Say in words why one delivery is not sent, what happens next, and what can be done."""
    with operations("deliveries explain") as reached:
        said = reached.explain(delivery_id)
    if said is None:
        unknown(delivery_id)
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


def unknown(delivery_id: UUID) -> NoReturn:
    """Say that there is no such delivery."""
    raise click.ClickException(
        f"there is no delivery {delivery_id}; "
        f"`mailworkers deliveries show {delivery_id}` says what that can mean"
    )
