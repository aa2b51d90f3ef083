"""Whether a command would be accepted: decoded and composed as a role does it, nothing stored."""

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.adapters.intake import Intake
from mailworkers.adapters.settings import Settings
from mailworkers.core.commands import Command, Refusal, SourceKind, decode_body, decode_entry
from mailworkers.core.intake import NewDelivery
from mailworkers.core.states import PayloadMode


def decode(entry: bytes, sources: Mapping[str, SourceKind]) -> Command | Refusal:
    """Decode the JSON *entry* as the consumer would, or without `payload_json` as the API."""
    try:
        fields = msgspec.json.decode(entry, type=dict[str, str | int])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode_body(entry, sources=sources)
    if "payload_json" not in fields:
        return decode_body(entry, sources=sources)
    return decode_entry(as_stored(fields), sources=sources)


def as_stored(fields: Mapping[str, str | int]) -> dict[bytes, bytes]:
    """Return *fields* as Redis gives them back."""
    return {name.encode(): str(value).encode() for name, value in fields.items()}


def judge(command: Command, settings: Settings) -> NewDelivery | Refusal:
    """Return the delivery *command* would become, or why it would be refused.

    The catalog is read only where the command names a template.
    """
    if command.payload_mode is PayloadMode.RENDERED:
        catalog = Catalog({}, default_locale="en")
    else:
        catalog = Catalog.load(settings.template_dir or packaged_directory())
    return Intake(settings, catalog, lambda: datetime.now(UTC)).prepare(command).result
