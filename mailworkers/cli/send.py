"""`mailworkers send`: one command, put on the stream or posted to the API."""

import os
from typing import TYPE_CHECKING, Any, NoReturn

import click
import msgspec

from mailworkers.cli.completion import complete_source, complete_template
from mailworkers.cli.composing import Wish, build_command
from mailworkers.cli.output import json_option, print_facts, print_json
from mailworkers.cli.reaching import api_option, api_url
from mailworkers.core.states import Lane, PayloadMode

if TYPE_CHECKING:
    from mailworkers.adapters.settings import Settings
    from mailworkers.core.commands import Refusal

READABLE = click.Path(exists=True, dir_okay=False, readable=True)
LANES = click.Choice([lane.label for lane in Lane])


@click.command()
@click.option("--to", multiple=True, required=True, metavar="ADDRESS", help="Recipient.")
@click.option("--cc", multiple=True, metavar="ADDRESS", help="Recipient of a copy.")
@click.option("--bcc", multiple=True, metavar="ADDRESS", help="Recipient nobody else sees.")
@click.option("--from", "from_", metavar="ADDRESS", help="Instead of the sender identity.")
@click.option("--reply-to", multiple=True, metavar="ADDRESS", help="Where answers go.")
@click.option("--subject", metavar="TEXT", help="Subject line.")
@click.option("--text", metavar="TEXT", help="Plain text body; @FILE reads it, - is stdin.")
@click.option("--html", metavar="HTML", help="HTML body; @FILE reads it, - is stdin.")
@click.option(
    "--template",
    metavar="ID",
    shell_complete=complete_template,
    help="Instead of subject, text and html.",
)
@click.option("--var", "variables", multiple=True, metavar="NAME=TEXT", help="Or NAME:=JSON.")
@click.option("--locale", default="en", show_default=True, help="Language of the template.")
@click.option("--attach", multiple=True, type=READABLE, help="File to attach.")
@click.option("--lane", type=LANES, help="Instead of the lane of the source.")
@click.option(
    "--source",
    default="api",
    show_default=True,
    shell_complete=complete_source,
    help="Who is asking.",
)
@click.option("--key", metavar="TEXT", help="Idempotency key; sending it twice sends once.")
@click.option("--send-at", metavar="WHEN", help="Not before: 2027-01-31T08:00:00Z, or +10m.")
@click.option("--expires-at", metavar="WHEN", help="Not after, written the same way.")
@api_option
@json_option
def send(*, as_json: bool, **options: Any) -> None:
    """Ask for one message to be sent, and say where to look what became of it.

    By default the command goes on the Redis stream of this environment's settings; with --api it
    is posted to an API and durable when this returns.

    \b
    mailworkers send --to ada@example.com --subject Hello --text "It works."
    mailworkers send --to ada@example.com --template welcome --var name=Ada --locale de
    """
    fields, payload = build_command(msgspec.convert(options, Wish))
    url = api_url()
    answer = _post(url, fields, payload) if url else _put(fields, payload)
    if as_json:
        print_json(answer)
        return
    print_facts(answer.items())
    click.echo(f"next: mailworkers deliveries show {answer['delivery_id']}")


def _post(url: str, fields: dict[str, str], payload: dict[str, Any]) -> dict[str, Any]:
    from mailworkers.cli.posting import post_command

    return post_command(url, fields, payload)


def _put(fields: dict[str, str], payload: dict[str, Any]) -> dict[str, Any]:
    """Put the command on the stream, unless it would be refused there."""
    from mailworkers.adapters.producer import put_command
    from mailworkers.adapters.settings import load

    settings = load(os.environ)
    entry = {**fields, "payload_json": msgspec.json.encode(payload).decode()}
    _refuse_early(entry, settings)
    return {
        "delivery_id": fields["delivery_id"],
        "idempotency_key": fields["idempotency_key"],
        "stream": settings.stream,
        "stream_entry_id": put_command(settings, entry),
    }


def _refuse_early(entry: dict[str, str], settings: "Settings") -> None:
    """Say now what the consumer would only log; templates are left to its own catalog."""
    from mailworkers.cli.judging import as_stored, judge
    from mailworkers.core.commands import Refusal, decode_entry

    command = decode_entry(as_stored(entry), sources=settings.sources)
    if isinstance(command, Refusal):
        _refuse(command)
    elif command.payload_mode is PayloadMode.RENDERED:
        delivery = judge(command, settings)
        if isinstance(delivery, Refusal):
            _refuse(delivery)


def _refuse(refusal: "Refusal") -> NoReturn:
    raise click.ClickException(f"it would be refused: {refusal.code}: {refusal.detail}")
