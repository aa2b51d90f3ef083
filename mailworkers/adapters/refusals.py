"""Why the store takes a command no further: the same words for the stream and for HTTP."""

from mailworkers.adapters.store import Acceptance, Verdict
from mailworkers.core.commands import Command, FailureCode, Refusal


def refusal_of(acceptance: Acceptance, command: Command) -> Refusal | None:
    """Return why *command* is refused by what the store held already, None where it is not."""
    match acceptance.verdict:
        case Verdict.CONFLICT:
            code, path = FailureCode.IDEMPOTENCY_CONFLICT, "idempotency_key"
            detail = f"the key was used for other content by delivery {acceptance.delivery_id}"
        case Verdict.DUPLICATE_ID:
            code, path = FailureCode.DUPLICATE_DELIVERY_ID, "delivery_id"
            detail = f"delivery {command.delivery_id} exists under another key"
        case _:
            return None
    return Refusal(
        code,
        detail,
        path,
        delivery_id=str(command.delivery_id or ""),
        source=command.source,
    )
