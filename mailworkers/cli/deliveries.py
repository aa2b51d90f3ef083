"""`mailworkers deliveries`: what became of the mail, and changing what becomes of it."""

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

import click

from mailworkers.cli.histories import explain, list_, timeline
from mailworkers.cli.output import json_option, local_time, print_facts, print_json, short_time
from mailworkers.cli.reaching import api_option, operations
from mailworkers.cli.tables import print_table
from mailworkers.cli.verbs import cancel, requeue, resend
from mailworkers.core.states import Status

if TYPE_CHECKING:
    from mailworkers.adapters.store.reads import Attempt, Delivery, Recipient

MOST_ATTEMPTS = 200

MEANING = {
    Status.SCHEDULED: "becomes ready at {next_attempt_at}",
    Status.QUEUED: "ready: the next free sender takes it",
    Status.RENDERED: "ready: the next free sender takes it",
    Status.SENDING: "a sender has it until {lease_until}",
    Status.DEFERRED: "is tried again at {next_attempt_at}",
    Status.SENT: "the relay accepted it",
    Status.SUPPRESSED: "not sent on purpose",
    Status.FAILED: "refused for good, or too late",
    Status.DEAD_LETTER: "every retry was used up",
    Status.UNCERTAIN: "may have been sent; not tried again",
    Status.CANCELLED: "withdrawn before it was sent",
}


@click.group()
def deliveries() -> None:
    """See what became of deliveries, withdraw them, send them again."""


for command in (list_, timeline, explain, cancel, requeue, resend):
    deliveries.add_command(command)


@deliveries.command()
@click.argument("delivery_id", type=click.UUID)
@api_option
@json_option
def show(*, delivery_id: UUID, as_json: bool) -> None:
    """Show one delivery: its status, its recipients and every attempt.

    A command that was put on the stream becomes a delivery as soon as a consumer has taken it.
    """
    delivery, attempts = _read(delivery_id)
    if as_json:
        print_json({"delivery": delivery, "attempts": attempts})
        return
    print_facts(_facts(delivery))
    _print_recipients(delivery.recipients)
    _print_attempts(attempts)


def _read(delivery_id: UUID) -> "tuple[Delivery, list[Attempt]]":
    with operations("deliveries show") as reached:
        delivery = reached.find_delivery(delivery_id)
        if delivery is None:
            raise click.ClickException(
                f"there is no delivery {delivery_id}: it was not accepted yet (is a consumer "
                "running?), was refused (a line `stream command rejected` says why), or was "
                "deleted some time after its end (MAIL_DELIVERY_RETENTION)"
            )
        return delivery, reached.list_attempts(delivery_id, MOST_ATTEMPTS)


def _facts(delivery: "Delivery") -> Iterable[tuple[str, object]]:
    meaning = MEANING[delivery.status].format(
        next_attempt_at=local_time(delivery.next_attempt_at),
        lease_until=local_time(delivery.lease_until),
    )
    yield "delivery", delivery.delivery_id
    yield "status", f"{delivery.status}: {meaning}"
    yield "reason", delivery.failure
    yield "cancel asked for", local_time(delivery.cancel_requested_at)
    yield "source", f"{delivery.source}, lane {delivery.lane}"
    yield "content", _content(delivery)
    yield "from", delivery.mail_from
    yield "idempotency key", delivery.idempotency_key
    yield "resend of", delivery.resend_of
    yield "accepted", local_time(delivery.created_at)
    yield "expires", local_time(delivery.expires_at)
    yield "ended", local_time(delivery.finished_at)
    yield "attempts", f"{delivery.attempt_no}, {delivery.cycle_attempt} in this cycle"


def _content(delivery: "Delivery") -> str:
    if delivery.template_id is None:
        return f"{delivery.mime_size} bytes, given by the producer"
    return f"{delivery.mime_size} bytes, template {delivery.template_id} ({delivery.locale})"


def _print_recipients(recipients: "Iterable[Recipient]") -> None:
    click.echo()
    print_table(
        ("", "recipient", "status", "reply"),
        [
            (found.kind, found.address, found.status, _reply(found.reply_code, found.enhanced_code))
            for found in recipients
        ],
        whole=("recipient",),
    )


def _print_attempts(attempts: "list[Attempt]") -> None:
    if not attempts:
        return
    click.echo()
    print_table(
        ("attempt", "began", "took", "status", "stage", "reply", "relay", "the relay's words"),
        [
            (
                attempt.attempt_no,
                short_time(attempt.started_at),
                _span(attempt.started_at, attempt.finished_at),
                attempt.status,
                attempt.stage,
                _reply(attempt.reply_code, attempt.enhanced_code),
                attempt.relay,
                attempt.summary,
            )
            for attempt in reversed(attempts)
        ],
        wrapped=("the relay's words",),
        spare=("relay", "took", "stage"),
    )


def _reply(code: int | None, enhanced: str | None) -> str:
    return " ".join(str(part) for part in (code, enhanced) if part)


def _span(begun: datetime, ended: datetime | None) -> str:
    return f"{(ended - begun).total_seconds():.3f} s" if ended else ""
