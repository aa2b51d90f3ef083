"""The contract for producers: its examples are accepted, and its words are those of the code."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import yaml

from mailworkers.adapters.catalog import Catalog, packaged_directory
from mailworkers.core import extra_headers, fields, payloads
from mailworkers.core.commands import SOURCES, Command, FailureCode, decode_body, decode_entry
from mailworkers.core.intake import Composer, Identity, NewDelivery
from mailworkers.core.states import Lane, PayloadMode

FILE = Path(__file__).parents[2] / "api" / "delivery-commands-asyncapi.yaml"
CONTRACT: dict[str, Any] = yaml.safe_load(FILE.read_text())
SCHEMAS: dict[str, Any] = CONTRACT["components"]["schemas"]
EXAMPLES: dict[str, dict[str, str]] = {
    example["name"]: example["payload"]
    for message in CONTRACT["components"]["messages"].values()
    for example in message["examples"]
}


def command_of(example: dict[str, str]) -> Command:
    """Return the command in *example*, written as XADD would carry it."""
    command = decode_entry({name.encode(): value.encode() for name, value in example.items()})
    assert isinstance(command, Command), command
    return command


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_accepted_and_composed(name: str) -> None:
    """MS-21: what the contract shows works, with the templates that come with the package."""
    command = command_of(EXAMPLES[name])
    composer = Composer(
        identity=Identity("no-reply@example.com"), renderer=Catalog.load(packaged_directory())
    )

    delivery = composer.compose(
        command, delivery_id=UUID(int=1), now=datetime(2026, 11, 21, 10, tzinfo=UTC)
    )

    assert isinstance(delivery, NewDelivery), delivery


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_orders_the_same_over_http(name: str) -> None:
    """The introduction says so: the same fields, `payload` for `payload_json`, times as numbers."""
    body = {
        key: int(value) if key.endswith("_ms") else value for key, value in EXAMPLES[name].items()
    }
    body["payload"] = json.loads(EXAMPLES[name]["payload_json"])
    del body["payload_json"]

    by_http = decode_body(json.dumps(body).encode())

    assert by_http == command_of(EXAMPLES[name])


def test_there_are_examples_of_both_modes() -> None:
    """A producer of either kind has something to copy."""
    assert {command_of(example).payload_mode for example in EXAMPLES.values()} == set(PayloadMode)


def test_the_entry_has_the_fields_that_are_read() -> None:
    """A field read but not written down would be a secret; one written down but not read, a lie."""
    entry = SCHEMAS["Entry"]

    assert set(entry["properties"]) == {*fields.FIELDS, "payload_json"}
    assert set(entry["properties"]["lane"]["enum"]) == {lane.label for lane in Lane}
    assert set(entry["properties"]["payload_mode"]["enum"]) == set(PayloadMode)
    assert set(entry["properties"]["source"]["examples"]) == set(SOURCES)


@pytest.mark.parametrize("field", SCHEMAS["Entry"]["required"])
def test_a_field_said_to_be_required_is_required(field: str) -> None:
    """And the others are not: the plain example goes without them."""
    fields_left = {name: text for name, text in EXAMPLES["plain-text"].items() if name != field}

    refusal = decode_entry({name.encode(): text.encode() for name, text in fields_left.items()})

    assert not isinstance(refusal, Command)
    assert (refusal.code, refusal.path) == (FailureCode.MISSING_FIELD, field)
    assert set(EXAMPLES["plain-text"]) == set(SCHEMAS["Entry"]["required"])


@pytest.mark.parametrize(
    ("name", "struct"),
    [
        ("RenderedPayload", payloads.RenderedPayload),
        ("TemplatePayload", payloads.TemplatePayload),
        ("AttachmentPart", payloads.AttachmentPart),
    ],
)
def test_a_payload_has_the_fields_that_are_read(name: str, struct: type[msgspec.Struct]) -> None:
    """Names, which of them are needed, and that no others are taken."""
    known = msgspec.structs.fields(struct)

    assert set(SCHEMAS[name]["properties"]) == {field.encode_name for field in known}
    assert set(SCHEMAS[name]["required"]) == {
        field.encode_name for field in known if field.required
    }
    assert SCHEMAS[name]["additionalProperties"] is False


def test_the_limits_are_those_of_the_code() -> None:
    """Contract section 2: payload 10 MiB, 20 attachments, 50 recipients."""
    assert SCHEMAS["Addresses"]["maxItems"] == payloads.MAX_RECIPIENTS
    assert SCHEMAS["Attachments"]["maxItems"] == payloads.MAX_ATTACHMENTS
    assert payloads.MAX_PAYLOAD == 10 * 1024 * 1024
    assert "10 MiB" in SCHEMAS["Entry"]["properties"]["payload_json"]["description"]
    assert SCHEMAS["Entry"]["properties"]["idempotency_key"]["maxLength"] == fields.MAX_NAME


def test_the_failure_codes_are_all_there() -> None:
    """The list is closed, here as in the code."""
    assert SCHEMAS["FailureCode"]["enum"] == list(FailureCode)


def test_the_headers_named_are_those_allowed() -> None:
    """A producer reads here what may stand in `headers`."""
    for name in extra_headers.ALLOWED_HEADERS:
        assert f"`{name}`" in SCHEMAS["Headers"]["description"]


def test_every_reference_leads_somewhere() -> None:
    """`#/components/...` is a path within the file."""
    for reference in references(CONTRACT):
        target: Any = CONTRACT
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


def references(value: Any) -> Iterator[str]:
    """Yield every `$ref` in *value*."""
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
