"""What `payload_json` may hold (contract section 2), field by field, and how a stranger's is read.

A field given as `null` counts as not given, and so does an empty array or object: both are how
producers in other languages write "nothing". Attachments leave base64 here, once and for all.
"""

import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from mailworkers.core.locales import canonical_locale
from mailworkers.core.refusals import Refused, bad_value, missing_field, unknown_field
from mailworkers.core.states import PayloadMode

MAX_PAYLOAD = 10 * 1024 * 1024  # bytes of JSON
MAX_RECIPIENTS = 50
MAX_ATTACHMENTS = 20
PATH = "payload"

Address = Annotated[str, Meta(max_length=1000)]
Addresses = Annotated[tuple[Address, ...], Meta(max_length=MAX_RECIPIENTS)]
ShortText = Annotated[str, Meta(max_length=255)]
HeaderName = Annotated[str, Meta(max_length=76)]
HeaderValue = Annotated[str, Meta(max_length=4000)]


class AttachmentPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file in the message; `content_id` names it for `cid:` links in the HTML."""

    filename: ShortText
    content_type: ShortText
    content: bytes = msgspec.field(name="content_base64")
    content_id: ShortText | None = None


# Defaults are left out and keys sorted when a payload is encoded for its fingerprint, so a field
# added in a later version changes no fingerprint taken by this one.
class Payload(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """What both payload modes share: whom the message is for, and what goes with it.

    Addresses are as the producer wrote them, display names included; `sender` is None where the
    identity of the installation is meant.
    """

    to: Addresses = ()
    cc: Addresses = ()
    bcc: Addresses = ()
    reply_to: Addresses = ()
    sender: Address | None = msgspec.field(name="from", default=None)
    headers: Annotated[dict[HeaderName, HeaderValue], Meta(max_length=50)] = {}
    attachments: Annotated[tuple[AttachmentPart, ...], Meta(max_length=MAX_ATTACHMENTS)] = ()


class RenderedPayload(Payload, frozen=True, kw_only=True):
    """Content made by the producer: text, HTML, or both."""

    subject: Annotated[str, Meta(max_length=998)]
    text_body: str | None = None
    html_body: str | None = None


class TemplatePayload(Payload, frozen=True, kw_only=True):
    """Content made by one of our templates; `locale` is canonical (BCP 47)."""

    template_id: Annotated[str, Meta(min_length=1, max_length=100)]
    locale: str
    variables: dict[str, Any] = {}


def read_payload(value: object, mode: PayloadMode) -> RenderedPayload | TemplatePayload:
    """Return parsed JSON *value* as the payload of *mode*, or raise `Refused` naming the field."""
    if not isinstance(value, dict):
        raise bad_value(PATH, "is not a JSON object")
    if None in value.values():
        value = {name: item for name, item in value.items() if item is not None}
    payload = _rendered(value) if mode is PayloadMode.RENDERED else _template(value)
    _check_recipients(payload)
    return payload


def _rendered(value: dict[str, object]) -> RenderedPayload:
    payload = _convert(value, RenderedPayload)
    if not (payload.text_body or payload.html_body):
        raise missing_field(f"{PATH}.text_body", "this or html_body is needed")
    return payload


def _template(value: dict[str, object]) -> TemplatePayload:
    locale = value.get("locale")
    if isinstance(locale, str):
        try:
            value = {**value, "locale": canonical_locale(locale)}
        except ValueError as error:
            raise bad_value(f"{PATH}.locale", str(error)) from None
    return _convert(value, TemplatePayload)


def _check_recipients(payload: Payload) -> None:
    count = len(payload.to) + len(payload.cc) + len(payload.bcc)
    if not count:
        raise missing_field(f"{PATH}.to", "there is no recipient in to, cc, bcc")
    if count > MAX_RECIPIENTS:
        raise bad_value(f"{PATH}.to", f"{count} recipients in to, cc, bcc: over {MAX_RECIPIENTS}")


_P = TypeVar("_P", bound=Payload)


def _convert(value: dict[str, object], kind: type[_P]) -> _P:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise _refused(str(error)) from None


# The three shapes of msgspec's messages; `tests/core/test_commands.py` holds them.
_MESSAGE = re.compile(r"(?P<fault>.*?)(?: - at (?:`key` in )?`\$(?P<path>[^`]*)`)?", re.DOTALL)
_FIELD_FAULT = re.compile(
    r"Object (?P<what>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL
)


def _refused(message: str) -> Refused:
    """Return msgspec's *message* as a refusal that names the code and the field's path."""
    said = _MESSAGE.fullmatch(message)
    fault, path = (said["fault"], said["path"] or "") if said else (message, "")
    field = _FIELD_FAULT.fullmatch(fault)
    if field is None:
        return bad_value(f"{PATH}{path}", fault[:1].lower() + fault[1:])
    path = f"{PATH}{path}.{field['name']}"
    if field["what"] == "missing required":
        return missing_field(path)
    return unknown_field(path)
