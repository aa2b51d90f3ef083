"""What the store refuses is refused in the same words on the stream and over HTTP."""

from uuid import uuid4

import pytest

from mailworkers.adapters.refusals import refusal_of
from mailworkers.adapters.store import Acceptance, Verdict
from mailworkers.core.commands import SOURCES, Command, FailureCode, decode_body

_BODY = (
    b'{"payload_mode": "rendered", "idempotency_key": "k", "source": "api", "delivery_id": "%s",'
    b' "payload": {"to": ["a@example.com"], "subject": "s", "text_body": "t"}}'
)


@pytest.fixture
def command() -> Command:
    """Return a command that names its delivery."""
    decoded = decode_body(_BODY.replace(b"%s", str(uuid4()).encode()), sources=SOURCES)
    assert isinstance(decoded, Command)
    return decoded


def test_a_conflict_names_the_field_and_the_first_delivery(command: Command) -> None:
    first = uuid4()

    refusal = refusal_of(Acceptance(Verdict.CONFLICT, first), command)

    assert refusal is not None
    assert (refusal.code, refusal.path) == (FailureCode.IDEMPOTENCY_CONFLICT, "idempotency_key")
    assert str(first) in refusal.detail
    assert (refusal.delivery_id, refusal.source) == (str(command.delivery_id), "api")


def test_a_duplicate_names_the_field_and_its_delivery(command: Command) -> None:
    assert command.delivery_id is not None

    refusal = refusal_of(Acceptance(Verdict.DUPLICATE_ID, command.delivery_id), command)

    assert refusal is not None
    assert (refusal.code, refusal.path) == (FailureCode.DUPLICATE_DELIVERY_ID, "delivery_id")
    assert str(command.delivery_id) in refusal.detail


@pytest.mark.parametrize("verdict", [Verdict.ACCEPTED, Verdict.REPLAYED])
def test_what_is_accepted_is_not_refused(command: Command, verdict: Verdict) -> None:
    assert refusal_of(Acceptance(verdict, uuid4()), command) is None
