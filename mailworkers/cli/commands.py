"""`mailworkers commands`: commands as producers write them."""

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from mailworkers.cli.output import json_option, print_facts, print_json

if TYPE_CHECKING:
    from mailworkers.core.commands import Refusal

# What these settings say decides whether a command is accepted; stores and relay need not be known.
JUDGING = ("MAIL_SOURCES", "MAIL_TEMPLATE_DIR", "MAIL_SMTP_FROM_EMAIL", "MAIL_SMTP_FROM_ALLOWED")
UNUSED = {
    "MAIL_REDIS_MASTER_ADDR": "unused:1",
    "MAIL_POSTGRES_PRIMARY_DSN": "dbname=unused",
    "MAIL_SMTP_MODE": "stub",
}


@click.group()
def commands() -> None:
    """Check commands before they are sent."""


@commands.command()
@json_option
def validate(*, as_json: bool) -> None:
    """Read one command from standard input and say whether it would be accepted.

    The command is a JSON object with the fields of a stream entry: the content either as the string
    `payload_json`, as the stream carries it, or as the object `payload`, as HTTP does. Addresses,
    headers and templates are judged by MAIL_SOURCES, MAIL_TEMPLATE_DIR, MAIL_SMTP_FROM_EMAIL and
    MAIL_SMTP_FROM_ALLOWED; no store is asked. Exit code 1 when it would be refused.
    """
    verdict = check(sys.stdin.buffer.read())
    if as_json:
        print_json(verdict)
    elif verdict["accepted"]:
        click.echo("accepted")
        print_facts(verdict["command"].items())
    else:
        click.echo(f"refused: {verdict['failure_code']}")
        print_facts([("field", verdict["path"]), ("reason", verdict["detail"])])
    sys.exit(0 if verdict["accepted"] else 1)


def check(entry: bytes) -> dict[str, Any]:
    """Return what the command in *entry* asks for, or the failure code with its reason."""
    from mailworkers.adapters.settings import load
    from mailworkers.cli.judging import decode, judge
    from mailworkers.core.commands import Refusal

    judging = {name: os.environ[name] for name in JUDGING if name in os.environ}
    settings = load({**UNUSED, **judging})
    command = decode(entry, settings.sources)
    if isinstance(command, Refusal):
        return _refused(command)
    delivery = judge(command, settings)
    if isinstance(delivery, Refusal):
        return _refused(delivery)
    return {
        "accepted": True,
        "command": {
            "delivery_id": command.delivery_id,
            "source": command.source,
            "lane": delivery.lane.label,
            "payload_mode": command.payload_mode,
            "idempotency_key": command.idempotency_key,
            "send_at": command.send_at,
            "expires_at": command.expires_at,
            "recipients": [recipient.address for recipient in delivery.recipients],
            "mime_bytes": len(delivery.mime),
            "fingerprint": command.fingerprint.hex(),
        },
    }


def _refused(refusal: "Refusal") -> dict[str, Any]:
    return {
        "accepted": False,
        "failure_code": refusal.code,
        "path": refusal.path,
        "detail": refusal.detail,
    }
