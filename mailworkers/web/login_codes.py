"""Intake of login codes: three fields become a command of the auth lane, made from our template."""

from collections.abc import Mapping

import msgspec

from mailworkers.core.commands import Command, FailureCode, Refusal, SourceKind, fingerprint
from mailworkers.core.fields import name_of
from mailworkers.core.payloads import PATH, read_payload
from mailworkers.core.refusals import Refused, bad_value, missing_field, unknown_field
from mailworkers.core.states import PayloadMode
from mailworkers.core.strictjson import parse_object

SOURCE = "authsession"
TEMPLATE = "login-code"
FIELDS = ("email", "code", "locale")
_LONGEST = {"email": 1000, "code": 255, "locale": 100}
KEY = "Idempotency-Key"

# Where in the payload that is made of it each field ends up.
_ORIGINS = {f"{PATH}.to[0]": "email", f"{PATH}.to": "email", f"{PATH}.locale": "locale"}


def login_code_command(
    body: bytes, key: str | None, sources: Mapping[str, SourceKind]
) -> Command | Refusal:
    """Return the command that *body* and the header *key* ask for, or why it is refused."""
    try:
        return _command(_read(body), _key(key), sources[SOURCE])
    except Refused as refused:
        return as_asked(refused.refusal())


def _key(key: str | None) -> str:
    if not key:
        raise missing_field(KEY)
    try:
        return name_of("idempotency_key", {"idempotency_key": key}) or ""
    except Refused as refused:
        raise bad_value(KEY, refused.reason) from None


def _read(body: bytes) -> dict[str, str]:
    """Return the three fields; refuse others, and what is not text."""
    given = parse_object(body, path="body")
    for name in given:
        if name not in FIELDS:
            raise unknown_field(name)
    for name in FIELDS:
        if not given.get(name):
            raise missing_field(name)
        if not isinstance(given[name], str):
            raise bad_value(name, "is not a string")
        if len(given[name]) > _LONGEST[name]:
            raise bad_value(name, f"is longer than {_LONGEST[name]} characters")
    return given


def _command(given: Mapping[str, str], key: str, kind: SourceKind) -> Command:
    value = {
        "to": [given["email"]],
        "template_id": TEMPLATE,
        "locale": given["locale"],
        "variables": {"code": given["code"]},
    }
    payload = read_payload(value, PayloadMode.TEMPLATE)
    return Command(
        delivery_id=None,
        source=SOURCE,
        payload_mode=PayloadMode.TEMPLATE,
        idempotency_key=key,
        requested_at=None,
        request_id=None,
        traceparent=None,
        lane=kind.lane,
        send_at=None,
        expires_at=None,
        payload=payload,
        fingerprint=fingerprint(PayloadMode.TEMPLATE, kind.lane, None, None, payload),
    )


def as_asked(refusal: Refusal) -> Refusal:
    """Return *refusal* of the command in the words of the three fields it was made of."""
    origin = _ORIGINS.get(refusal.path)
    if origin is None and refusal.path.startswith(f"{PATH}.variables"):
        origin = "code"
    if origin is None and refusal.code is FailureCode.IDEMPOTENCY_CONFLICT:
        origin = KEY
    if origin is None:
        return refusal
    detail = refusal.detail.removeprefix(f"{refusal.path}: ")
    return msgspec.structs.replace(refusal, path=origin, detail=f"{origin}: {detail}")
