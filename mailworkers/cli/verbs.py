"""`mailworkers deliveries cancel`, `requeue`, `resend`: what an operator does to one delivery.

All go straight to the database, as the API does, and leave the same line in the audit trail.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from uuid import UUID

import click

from mailworkers.cli.acting import actor, connected, reason_option, wake_senders, yes_option
from mailworkers.cli.composing import parse_when
from mailworkers.cli.output import json_option, print_json, printable
from mailworkers.core.states import READY, Status

if TYPE_CHECKING:
    from mailworkers.adapters.db import Connection
    from mailworkers.adapters.resending import Resent
    from mailworkers.adapters.settings import Settings
    from mailworkers.adapters.store import Effect
    from mailworkers.adapters.store.reads import Delivery

Command = TypeVar("Command", bound=Callable[..., Any])


def _verb(command: Command) -> Command:
    """Give *command* what all verbs take: the id, the reason, `--yes`, `--json`."""
    for decorate in (
        json_option,
        yes_option,
        reason_option,
        click.argument("delivery_id", type=click.UUID),
    ):
        command = decorate(command)
    return command


@click.command()
@_verb
def cancel(*, delivery_id: UUID, reason: str, is_sure: bool, as_json: bool) -> None:
    """Withdraw one delivery before it is sent.

    What a sender has at this moment is pending: it stays sent if the relay takes it, and is not
    tried again otherwise. What has ended is left alone (exit code 1), unless it is cancelled.
    """
    from mailworkers.adapters import store

    def verb(conn: "Connection") -> "dict[UUID, Effect]":
        return store.cancel(conn, [delivery_id], actor=actor(), reason=reason)

    effect = _do(verb, delivery_id, None if is_sure else "withdraw it?")
    _tell(effect, "pending" if effect.is_pending else effect.after.status, as_json=as_json)


@click.command()
@click.option(
    "--expires-at", metavar="WHEN", help="Not after: 2027-01-31T08:00:00Z, or +10m from now."
)
@_verb
def requeue(
    *, delivery_id: UUID, reason: str, expires_at: str | None, is_sure: bool, as_json: bool
) -> None:
    """Send one delivery again that is failed, dead_letter or uncertain.

    The same message goes out at once, with a new cycle of attempts, to the recipients that gave the
    status; an uncertain one may arrive twice. Auth mail and mail whose content was deleted are
    refused (exit code 1); past its time a delivery needs --expires-at.
    """
    from mailworkers.adapters import store

    until = parse_when(expires_at, datetime.now(UTC)) if expires_at else None

    def verb(conn: "Connection") -> "dict[UUID, Effect]":
        return store.requeue(conn, [delivery_id], actor=actor(), reason=reason, expires_at=until)

    effect = _do(verb, delivery_id, None if is_sure else "send it again?")
    _tell(effect, effect.after.status, as_json=as_json)


def _do(
    verb: "Callable[[Connection], dict[UUID, Effect]]", delivery_id: UUID, question: str | None
) -> "Effect":
    """Ask *question* about the delivery where there is one, do *verb*, wake who has work by it."""
    from mailworkers.adapters import db
    from mailworkers.adapters.settings import load

    settings = load(os.environ)
    application = "mailworkers deliveries"
    if question is not None:
        _ask(delivery_id, question)
    with db.connect(settings.postgres_dsn, application=application) as conn:
        effect = verb(conn).get(delivery_id) or _unknown(delivery_id)
    _announce(settings, effect)
    if effect.is_change and effect.after.status in READY:
        wake_senders()
    return effect


def _ask(delivery_id: UUID, question: str) -> None:
    """Ask *question* about a delivery; nothing is held while a person thinks."""
    from mailworkers.adapters.store import reads

    with connected("deliveries") as conn:
        delivery = reads.find_delivery(conn, delivery_id) or _unknown(delivery_id)
        addresses = [found.address for found in reads.list_recipients(conn, delivery_id)]
    _confirm(delivery, addresses, question)


def _announce(settings: "Settings", effect: "Effect") -> None:
    """Count what was done, as the API does, and log it on standard error unless a person reads it.

    Only on a host where roles count, and where we may: the audit trail is complete anyway.
    """
    from mailworkers.adapters.outcomes import report_verb
    from mailworkers.adapters.telemetry import METRICS_DIRECTORY, Telemetry

    if not (settings.state_dir / METRICS_DIRECTORY).is_dir():
        return
    level = "error" if os.isatty(2) else "info"
    try:
        telemetry = Telemetry("cli", "cli", state_dir=settings.state_dir, level=level, fd=2)
    except OSError:
        return
    report_verb(telemetry, effect)
    telemetry.close()


def _confirm(delivery: "Delivery", addresses: list[str], question: str) -> None:
    """Show which delivery is meant and go on only after a yes."""
    others = f" and {len(addresses) - 1} more" if len(addresses) > 1 else ""
    recipient = printable(addresses[0]) if addresses else "nobody"
    click.echo(
        f"{delivery.delivery_id} is {delivery.status}: source {delivery.source}, "
        f"lane {delivery.lane}, to {recipient}{others}",
        err=True,
    )
    click.confirm(question, abort=True, err=True)


def _unknown(delivery_id: UUID) -> NoReturn:
    raise click.ClickException(
        f"there is no delivery {delivery_id}; "
        f"`mailworkers deliveries show {delivery_id}` says what that can mean"
    )


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
    is_sure: bool,
    as_json: bool,
) -> None:
    """Send the text of one ended delivery anew, to all its recipients.

    A new delivery is made, with a Message-ID and Date of its own and a link to this one, which
    stays as it is. Auth mail and mail whose content was deleted are refused (exit code 1); past its
    time a delivery needs --expires-at.
    """
    until = parse_when(expires_at, datetime.now(UTC)) if expires_at else None
    if not is_sure:
        _ask(delivery_id, "send it anew to all of them?")
    with connected("deliveries resend") as conn:
        done = _resend(conn, delivery_id, reason, key, until) or _unknown(delivery_id)
    if done.status in READY:
        wake_senders()
    if as_json:
        refusal = done.refusal and str(done.refusal)
        answer = {"delivery_id": done.delivery_id, "resend_of": delivery_id, "refusal": refusal}
        print_json(answer | {"is_suppressed": done.is_suppressed})
    if done.refusal is not None:
        words = done.refusal.words(done.original.status)
        raise click.ClickException(f"nothing was changed: {words}")
    if not as_json:
        _tell_resent(done)


def _resend(
    conn: "Connection", delivery_id: UUID, reason: str, key: str | None, until: datetime | None
) -> "Resent | None":
    from mailworkers.adapters.resending import resend as send_anew
    from mailworkers.adapters.settings import load
    from mailworkers.cli.taking_in import count_accepted, intake_of
    from mailworkers.core.resending import SOURCE

    settings = load(os.environ)
    done = send_anew(
        conn,
        intake_of(conn, settings),
        delivery_id,
        actor=actor(),
        reason=reason,
        idempotency_key=key,
        expires_at=until,
    )
    if done is not None and done.status:
        count_accepted(settings, SOURCE, done.status)
    return done


def _tell_resent(done: "Resent") -> None:
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


def _tell(effect: "Effect", word: str, *, as_json: bool) -> None:
    """Print what the delivery is now; end with 1 where nothing could be done."""
    delivery_id = effect.after.delivery_id
    if as_json:
        hindrance = effect.hindrance and str(effect.hindrance)
        print_json({"delivery_id": delivery_id, "status": word, "hindrance": hindrance})
    if effect.hindrance is not None:
        raise click.ClickException(f"nothing was changed: {effect.explanation}")
    if not as_json:
        click.echo(f"{delivery_id} is {word}: {_MEANING[word]}")
