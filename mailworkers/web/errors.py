"""The one shape of every error, whoever raises it: `{"error": {"code", "message", "details"}}`.

`code` is for programs, from a closed list; `message` is for people; `details` names the field where
one is to blame. Nothing of our inside stands in an answer.
"""

import enum
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException

from mailworkers.core.errors import MailworkersError, StoreUnavailable
from mailworkers.core.refusals import FailureCode, Refusal, printable

RETRY_AFTER = {"Retry-After": "1"}


class ErrorCode(enum.StrEnum):
    """What was wrong with a request, besides the failure codes of a command."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_CANCELLABLE = "not_cancellable"
    NOT_REQUEUEABLE = "not_requeueable"
    NOT_REPLAYABLE = "not_replayable"
    NOT_RESOLVABLE = "not_resolvable"
    NOT_RESENDABLE = "not_resendable"
    NOTHING_TO_REPLAY = "nothing_to_replay"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    REQUEST_TIMEOUT = "request_timeout"
    CONTENT_DELETED = "content_deleted"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    HEADERS_TOO_LARGE = "headers_too_large"
    INTERNAL_ERROR = "internal_error"
    STORE_UNAVAILABLE = "store_unavailable"
    OVERLOADED = "overloaded"


class ErrorBody(msgspec.Struct, frozen=True):
    """What went wrong: a code for programs, words for people, more where there is more."""

    code: str
    message: str
    details: dict[str, Any] = {}


class ErrorEnvelope(msgspec.Struct, frozen=True):
    """The body of every answer that is not a success."""

    error: ErrorBody


class Problem(MailworkersError):  # noqa: N818  it is an answer, not a failure of ours
    """An answer other than success."""

    def __init__(
        self,
        status: HTTPStatus,
        code: ErrorCode | FailureCode,
        message: str,
        *,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body = ErrorBody(str(code), message, dict(details or {}))
        self.headers = dict(headers or {})

    @property
    def content(self) -> bytes:
        """Return the body of the answer."""
        return msgspec.json.encode(ErrorEnvelope(self.body))


def not_found() -> Problem:
    """Return the answer to a path that leads nowhere."""
    return Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is nothing here")


def no_delivery() -> Problem:
    """Return the answer about a delivery that does not exist, or not any more."""
    return Problem(HTTPStatus.NOT_FOUND, ErrorCode.NOT_FOUND, "there is no such delivery")


def bad_parameter(name: str, reason: str) -> Problem:
    """Return the answer to a query parameter or header that cannot be used."""
    return Problem(
        HTTPStatus.BAD_REQUEST,
        FailureCode.INVALID_VALUE,
        f"{name}: {reason}",
        details={"path": name},
    )


_REFUSED_AS = {
    FailureCode.IDEMPOTENCY_CONFLICT: HTTPStatus.CONFLICT,
    FailureCode.DUPLICATE_DELIVERY_ID: HTTPStatus.CONFLICT,
    FailureCode.PAYLOAD_TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


def refused(refusal: Refusal) -> Problem:
    """Return the answer to a command that was refused."""
    return Problem(
        _REFUSED_AS.get(refusal.code, HTTPStatus.BAD_REQUEST),
        refusal.code,
        refusal.detail,
        details={"path": refusal.path} if refusal.path else None,
    )


def store_unavailable() -> Problem:
    """Return the answer while Postgres is away; the reason is for our logs, not for callers."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        ErrorCode.STORE_UNAVAILABLE,
        "the database cannot be reached now; nothing was lost, try again",
        headers=RETRY_AFTER,
    )


def internal_error() -> Problem:
    """Return the answer when an assumption of ours broke."""
    return Problem(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        ErrorCode.INTERNAL_ERROR,
        "something went wrong here; it was recorded",
    )


# How the framework's own refusals (routing, reading the request) are said.
_FRAMEWORK = {
    HTTPStatus.NOT_FOUND: (ErrorCode.NOT_FOUND, "there is nothing here"),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        ErrorCode.METHOD_NOT_ALLOWED,
        "this path does not know the method; the header Allow says which it knows",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: (ErrorCode.PAYLOAD_TOO_LARGE, "the body is too large"),
}


def as_problem(error: Exception) -> Problem | None:
    """Return what *error* is to a caller; None when it is a surprise."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, StoreUnavailable):
        return store_unavailable()
    if isinstance(error, ValidationException):
        return _bad_query(error)
    if isinstance(error, HTTPException) and error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        status = HTTPStatus(error.status_code)
        code, message = _FRAMEWORK.get(status, (ErrorCode.BAD_REQUEST, "the request is malformed"))
        # A body that is too large may still be on its way: the connection ends with the answer.
        ends = {"Connection": "close"} if code is ErrorCode.PAYLOAD_TOO_LARGE else {}
        return Problem(status, code, message, headers={**(error.headers or {}), **ends})
    return None


def _bad_query(error: ValidationException) -> Problem:
    """Return the answer to a parameter that the framework could not read as what it should be."""
    faults = error.extra if isinstance(error.extra, list) else []
    for fault in faults:
        name, reason = str(fault.get("key", "")), printable(str(fault.get("message", "")))
        return bad_parameter(_WRITTEN_AS.get(name, name), f"{reason[:1].lower()}{reason[1:]}")
    return bad_parameter("query", "a parameter cannot be read")


# Parameters whose names mean something else in Python.
_WRITTEN_AS = {
    "created_from": "from",
    "created_to": "to",
    "of_scope": "scope",
    "received_from": "from",
    "received_to": "to",
    "why": "reason",
}


def respond(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer *error*, and record it when it is a surprise: the framework's exception handler."""
    problem = as_problem(error)
    if problem is None:
        request.app.state.report(error)
        problem = internal_error()
    return Response(
        problem.content,
        status_code=problem.status,
        media_type="application/json",
        headers=problem.headers,
    )
