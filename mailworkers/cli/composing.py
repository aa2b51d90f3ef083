"""Making a command of the options a person gives."""

import base64
import mimetypes
import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import msgspec

from mailworkers.core.addresses import AddressError, canonical, parse_mailbox
from mailworkers.core.retry import parse_span


class Wish(msgspec.Struct, frozen=True):
    """The options of `mailworkers send`, as given."""

    to: tuple[str, ...]
    cc: tuple[str, ...]
    bcc: tuple[str, ...]
    reply_to: tuple[str, ...]
    from_: str | None
    subject: str | None
    text: str | None
    html: str | None
    template: str | None
    variables: tuple[str, ...]
    locale: str
    attach: tuple[str, ...]
    lane: str | None
    source: str
    key: str | None
    send_at: str | None
    expires_at: str | None


def build_command(wish: Wish) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the entry's fields and its payload; the delivery_id is made here."""
    # Imported late: it brings the database driver, which `--help` does not need.
    from mailworkers.adapters.intake import new_delivery_id

    now = datetime.now(UTC)
    fields = {
        "delivery_id": str(new_delivery_id()),
        "source": wish.source,
        "payload_mode": "template" if wish.template else "rendered",
        "idempotency_key": wish.key or f"cli-{uuid.uuid4()}",
        "requested_at_ms": _milliseconds(now),
    }
    if wish.lane:
        fields["lane"] = wish.lane
    if wish.send_at:
        fields["send_at_ms"] = _milliseconds(parse_when(wish.send_at, now))
    if wish.expires_at:
        fields["expires_at_ms"] = _milliseconds(parse_when(wish.expires_at, now))
    return fields, _payload(wish)


def parse_when(text: str, now: datetime) -> datetime:
    """Return the time *text* means: ISO 8601 with its zone, or `+10m` from *now* on, `-2h` ago."""
    try:
        if text.startswith(("+", "-")):
            span = parse_span(text[1:])
            return now - span if text.startswith("-") else now + span
        when = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        when = datetime.min  # noqa: DTZ901  refused below
    if when.tzinfo is None:
        raise click.UsageError(
            f"{text!r} is not a time: write 2027-01-31T08:00:00Z (with a zone) or +10m"
        )
    return when


def canonical_of(text: str) -> str:
    """Return the canonical form of an address somebody wrote."""
    try:
        return canonical(parse_mailbox(text).address)
    except AddressError as error:
        raise click.ClickException(f"{text!r}: {error.reason}") from None


def _milliseconds(when: datetime) -> str:
    return str(int(when.timestamp() * 1000))


def _payload(wish: Wish) -> dict[str, Any]:
    payload: dict[str, Any] = {"to": wish.to, **_content(wish)}
    optional = {
        "cc": wish.cc,
        "bcc": wish.bcc,
        "reply_to": wish.reply_to,
        "from": wish.from_,
        "attachments": [_attachment(Path(path)) for path in wish.attach],
    }
    return payload | {name: value for name, value in optional.items() if value}


def _content(wish: Wish) -> dict[str, Any]:
    given = {"subject": wish.subject, "text_body": wish.text, "html_body": wish.html}
    if wish.template:
        if any(value is not None for value in given.values()):
            raise click.UsageError("--template brings subject and bodies: leave the others out")
        variables = dict(_variable(text) for text in wish.variables)
        return {"template_id": wish.template, "locale": wish.locale, "variables": variables}
    if wish.subject is None or (wish.text is None and wish.html is None):
        raise click.UsageError("give --subject with --text or --html, or give --template")
    if wish.variables:
        raise click.UsageError("--var belongs to --template")
    return {name: _read(value) for name, value in given.items() if value is not None}


def _variable(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.rstrip(":"):
        raise click.UsageError(f"--var {text!r} is not NAME=TEXT or NAME:=JSON")
    if not name.endswith(":"):
        return name, value
    try:
        return name[:-1], msgspec.json.decode(value)
    except msgspec.DecodeError as error:
        raise click.UsageError(f"--var {name[:-1]}: not JSON: {error}") from None


def _read(value: str) -> str:
    """Return *value*, what `@FILE` holds, or standard input for `-`."""
    if value == "-":
        return sys.stdin.read()
    if not value.startswith("@"):
        return value
    try:
        return Path(value[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{value[1:]} cannot be read as text: {error}") from None


def _attachment(path: Path) -> dict[str, str]:
    content_type, encoding = mimetypes.guess_type(path.name)
    known = content_type if content_type and not encoding else "application/octet-stream"
    return {
        "filename": path.name,
        "content_type": known,
        "content_base64": base64.b64encode(path.read_bytes()).decode(),
    }
