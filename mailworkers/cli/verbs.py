"""`mailworkers deliveries cancel`, `requeue`, `resend`: what an operator does to one delivery.

On the stores or through the API: the same words, and the same line in the audit trail.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

import click

from mailworkers.cli.acting import dry_options, yes_option
from mailworkers.cli.composing import parse_when
from mailworkers.cli.histories import unknown
from mailworkers.cli.output import json_option, print_json, printable
from mailworkers.cli.reaching import api_option, operations
from mailworkers.core.states import Status

if TYPE_CHECKING:
    from mailworkers.cli.operations import Clone, Done, Operations

Command = TypeVar("Command", bound=Callable[..., Any])


def _verb(command: Command) -> Command:
    """Give *command* what all verbs take: the id, and what whoever changes something can say."""
    for decorate in (
        json_option,
        api_option,
        yes_option,
        dry_options,
        click.argument("delivery_id", type=click.UUID),
    ):
        command = decorate(command)
    return command


@click.command()
@_verb
def cancel(*, delivery_id: UUID, reason: str, is_dry: bool, is_sure: bool, as_json: bool) -> None:
    """Withdraw one delivery before it is sent.

    What a sender has at this moment is pending: it stays sent if the relay takes it, and is not
    tried again otherwise. What has ended is left alone (exit code 1), unless it is cancelled.
    """
    with operations("deliveries cancel") as reached:
        if not _is_wanted(reached, delivery_id, "withdraw it?", is_dry=is_dry, is_sure=is_sure):
            return
        done = reached.cancel(delivery_id, reason) or unknown(delivery_id)
    _tell(delivery_id, done, as_json=as_json)


@click.command()
@click.option(
    "--expires-at", metavar="WHEN", help="Not after: 2027-01-31T08:00:00Z, or +10m from now."
)
@_verb
def requeue(
    *,
    delivery_id: UUID,
    reason: str,
    expires_at: str | None,
    is_dry: bool,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Send one delivery again that is failed, dead_letter or uncertain.

    The same message goes out at once, with a new cycle of attempts, to the recipients that gave the
    status; an uncertain one may arrive twice. Auth mail and mail whose content was deleted are
    refused (exit code 1); past its time a delivery needs --expires-at.
    """
    until = parse_when(expires_at, datetime.now(UTC)) if expires_at else None
    with operations("deliveries requeue") as reached:
        if not _is_wanted(reached, delivery_id, "send it again?", is_dry=is_dry, is_sure=is_sure):
            return
        done = reached.requeue(delivery_id, reason, until) or unknown(delivery_id)
    _tell(delivery_id, done, as_json=as_json)


def _is_wanted(
    reached: "Operations", delivery_id: UUID, question: str, *, is_dry: bool, is_sure: bool
) -> bool:
    """Show which delivery is meant and ask *question*; False where that was all that was wanted.

    Nothing is held while a person thinks; the verb judges what it then finds.
    """
    if is_sure and not is_dry:
        return True
    delivery = reached.find_delivery(delivery_id) or unknown(delivery_id)
    addresses = [found.address for found in delivery.recipients]
    if is_dry and click.get_current_context().params["as_json"]:
        print_json(
            {
                "delivery_id": delivery_id,
                "status": delivery.status,
                "recipients": addresses,
                "is_dry": True,
            }
        )
        return False
    others = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    recipient = printable(addresses[0]) if addresses else "nobody"
    click.echo(
        f"{delivery.delivery_id} is {delivery.status}: source {delivery.source}, "
        f"lane {delivery.lane}, to {recipient}{others}",
        err=not is_dry,
    )
    if not is_dry:
        click.confirm(question, abort=True, err=True)
    return not is_dry


@click.command()
@click.option(
    "--expires-at", metavar="WHEN", help="Not after: 2027-01-31T08:00:00Z, or +10m from now."
)
@click.option("--key", metavar="TEXT", help="Idempotency key; resending twice sends once.")
@_verb
def resend(
    *,
    delivery_id: UUID,
    reason: str,
    expires_at: str | None,
    key: str | None,
    is_dry: bool,
    is_sure: bool,
    as_json: bool,
) -> None:
    """Send the text of one ended delivery anew, to all its recipients.

    A new delivery is made, with a Message-ID and Date of its own and a link to this one, which
    stays as it is. Auth mail and mail whose content was deleted are refused (exit code 1); past its
    time a delivery needs --expires-at.
    """
    until = parse_when(expires_at, datetime.now(UTC)) if expires_at else None
    with operations("deliveries resend") as reached:
        if not _is_wanted(
            reached, delivery_id, "send it anew to all of them?", is_dry=is_dry, is_sure=is_sure
        ):
            return
        done = reached.resend(delivery_id, reason, key, until) or unknown(delivery_id)
    if as_json:
        answer = {"delivery_id": done.delivery_id, "resend_of": delivery_id}
        print_json(answer | {"refusal": done.refusal, "is_suppressed": done.is_suppressed})
    if done.refusal is not None:
        raise click.ClickException(f"nothing was changed: {done.words}")
    if not as_json:
        _tell_resent(done)


def _tell_resent(done: "Clone") -> None:
    if done.is_replay:
        click.echo(f"{done.delivery_id} was made of it before, under this key")
    elif done.is_suppressed:
        click.echo(f"{done.delivery_id} is suppressed: nobody of them gets mail")
    else:
        click.echo(f"{done.delivery_id} is ready: the next free sender takes it")


_MEANING = {
    "pending": "a sender has it now: unless the relay takes it, it is cancelled",
    Status.CANCELLED: "withdrawn, nothing was sent to whom it was still due",
    Status.SENT: "the rest is withdrawn; other recipients have it",
    Status.FAILED: "the rest is withdrawn; other recipients were refused",
    Status.DEAD_LETTER: "the rest is withdrawn; other recipients used up their retries",
    Status.UNCERTAIN: "withdrawn, but the last attempt may have arrived",
    Status.QUEUED: "ready: the next free sender takes it",
    Status.RENDERED: "ready: the next free sender takes it",
}


def _tell(delivery_id: UUID, done: "Done", *, as_json: bool) -> None:
    """Print what the delivery is now; end with 1 where nothing could be done."""
    if as_json:
        print_json({"delivery_id": delivery_id, "status": done.status, "hindrance": done.hindrance})
    if done.hindrance is not None:
        raise click.ClickException(f"nothing was changed: {done.words}")
    if not as_json:
        click.echo(f"{delivery_id} is {done.status}: {_MEANING[done.status]}")
