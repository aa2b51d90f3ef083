"""Why a command was refused: the closed list of failure codes, and the value that carries one.

Inside `core` a refusal travels as the exception `Refused`; at the edges (`decode_entry`,
`decode_body`, `Composer.compose`) it becomes the value `Refusal`: it is nothing exceptional.
"""

import enum
from pathlib import PurePath

import msgspec

MAX_DETAIL = 500


class FailureCode(enum.StrEnum):
    """Why a command was not accepted (contract section 2); also the label of a metric."""

    INVALID_JSON = "invalid_json"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    INVALID_VALUE = "invalid_value"
    INVALID_ADDRESS = "invalid_address"
    HEADER_INJECTION = "header_injection"
    UNKNOWN_TEMPLATE = "unknown_template"
    TEMPLATE_VARIABLES = "template_variables"
    RENDER_FAILED = "render_failed"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    DUPLICATE_DELIVERY_ID = "duplicate_delivery_id"
    POISON = "poison"


class Refusal(msgspec.Struct, frozen=True):
    """A command that is set aside.

    `detail` is one printable line that starts with `path`, the field's path (`payload.to[1]`),
    where one field is to blame; it never repeats what the field held. `delivery_id` and `source`
    are those of a stream entry where they could be read, else "".
    """

    code: FailureCode
    detail: str
    path: str = ""
    delivery_id: str = ""
    source: str = ""


class Refused(ValueError):  # noqa: N818  it names what happened to the command
    """A command, or a part of one, cannot be accepted: *code*, the field's *path*, the *reason*."""

    def __init__(self, code: FailureCode, path: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.path = path
        self.reason = reason

    def refusal(self, *, delivery_id: str = "", source: str = "") -> Refusal:
        """Return this as a value, with what is known of the command it belongs to."""
        path = printable(self.path)
        detail = f"{path}: {self.reason}" if path else self.reason
        return Refusal(self.code, printable(detail), path, delivery_id, source)


def bad_value(path: str, reason: str) -> Refused:
    """Return the refusal of a field whose value cannot be used."""
    return Refused(FailureCode.INVALID_VALUE, path, reason)


def missing_field(path: str, reason: str = "is needed") -> Refused:
    """Return the refusal of a command without a field it needs."""
    return Refused(FailureCode.MISSING_FIELD, path, reason)


def unknown_field(path: str) -> Refused:
    """Return the refusal of a command with a field that the contract does not name."""
    return Refused(FailureCode.UNKNOWN_FIELD, path, "is not a field of such a command")


def too_large(path: str, limit: str) -> Refused:
    """Return the refusal of what is over one of the contract's limits."""
    return Refused(FailureCode.PAYLOAD_TOO_LARGE, path, f"is larger than {limit}")


def unforeseen(error: Exception) -> Refused:
    """Return the refusal of a command our own code failed at; it names the place, no values."""
    return bad_value("", f"could not be handled: {_place(error)}")


def printable(text: str) -> str:
    """Return *text* as one line fit for logs and tables: at most 500 printable characters."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:MAX_DETAIL])
    return text if len(text) <= MAX_DETAIL else f"{text[: MAX_DETAIL - 1]}…"


def _place(error: Exception) -> str:
    place, traceback = type(error).__name__, error.__traceback__
    while traceback is not None:
        file = PurePath(traceback.tb_frame.f_code.co_filename).name
        place = f"{type(error).__name__} in {file}, line {traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
