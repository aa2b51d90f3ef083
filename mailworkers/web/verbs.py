"""Routes by which operators change what becomes of a delivery; each leaves a line in the trail."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec
from litestar import Request, Response, post

from mailworkers.adapters import store
from mailworkers.adapters.store import Effect
from mailworkers.adapters.store.pool import Connection
from mailworkers.core.fields import time_of
from mailworkers.core.refusals import Refused, bad_value, missing_field, unknown_field
from mailworkers.core.strictjson import parse
from mailworkers.web.answers import CancelAnswer, CancelRequest, RequeueAnswer, RequeueRequest
from mailworkers.web.backend import backend_of
from mailworkers.web.bodies import read_body
from mailworkers.web.deliveries import DeliveryId
from mailworkers.web.errors import ErrorCode, Problem, no_delivery, refused
from mailworkers.web.examples import CANCEL, REQUEUE
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of

LARGEST_BODY = 16 * 1024
LONGEST_REASON = 500

WebRequest = Request[Any, Any, Any]


@post(
    "/deliveries/{delivery_id:uuid}/cancel",
    status_code=HTTPStatus.OK,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="cancelDelivery",
    summary="Withdraw a delivery",
    tags=["verbs"],
    opt={
        "answer": CancelAnswer,
        "also_answers": {HTTPStatus.ACCEPTED: "`pending`: a sender has it now."},
        "body": (CancelRequest,),
        "examples": CANCEL,
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def cancel_delivery(request: WebRequest, delivery_id: DeliveryId) -> Response[CancelAnswer]:
    """End a delivery before it is sent: 200, or 202 while a sender has it.

    Repeating it is safe. What has ended otherwise is left alone: 409 `not_cancellable`.
    """
    reason, _ = await _read(request, ("reason",))
    actor = principal_of(request).name

    def verb(conn: Connection) -> Effect | None:
        return store.cancel(conn, [delivery_id], actor=actor, reason=reason).get(delivery_id)

    effect = _done(await backend_of(request).change(verb), ErrorCode.NOT_CANCELLABLE)
    status = "pending" if effect.is_pending else effect.after.status
    answer = msgspec.convert({"delivery_id": delivery_id, "status": status}, CancelAnswer)
    code = HTTPStatus.ACCEPTED if effect.is_pending else HTTPStatus.OK
    return Response(answer, status_code=code)


@post(
    "/deliveries/{delivery_id:uuid}/requeue",
    status_code=HTTPStatus.OK,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="requeueDelivery",
    summary="Send a delivery again",
    tags=["verbs"],
    opt={
        "answer": RequeueAnswer,
        "body": (RequeueRequest,),
        "examples": REQUEUE,
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def requeue_delivery(request: WebRequest, delivery_id: DeliveryId) -> RequeueAnswer:
    """Begin a new cycle of attempts for what is failed, dead_letter or uncertain.

    The same message, for the recipients that gave the status only. 409 `not_requeueable` says why
    not in `details.reason`: `not_in_trouble`, `auth`, `expired` or `content_deleted`.
    """
    reason, expires_at = await _read(request, ("reason", "expires_at_ms"))
    actor = principal_of(request).name

    def verb(conn: Connection) -> Effect | None:
        effects = store.requeue(
            conn, [delivery_id], actor=actor, reason=reason, expires_at=expires_at
        )
        return effects.get(delivery_id)

    effect = _done(await backend_of(request).change(verb), ErrorCode.NOT_REQUEUEABLE)
    answer = {"delivery_id": delivery_id, "status": effect.after.status}
    return msgspec.convert(answer, RequeueAnswer)


async def _read(request: WebRequest, names: tuple[str, ...]) -> tuple[str, datetime | None]:
    """Return the reason and the new expiry in the body, whose fields are *names*."""
    body = await read_body(request, LARGEST_BODY)
    try:
        given = _fields(parse(body, path="body"), names)
        return _reason(given.get("reason")), _expires_at(given.get("expires_at_ms"))
    except Refused as error:
        raise refused(error.refusal()) from None


def _fields(given: object, names: tuple[str, ...]) -> Mapping[str, object]:
    if not isinstance(given, dict):
        raise bad_value("body", "is not a JSON object")
    for name in given:
        if name not in names:
            raise unknown_field(name)
    return given


def _reason(reason: object) -> str:
    if reason is None or reason == "":
        raise missing_field("reason", "is needed: it stands in the audit trail")
    if not isinstance(reason, str) or len(reason) > LONGEST_REASON or not reason.isprintable():
        raise bad_value("reason", f"is not a line of 1 to {LONGEST_REASON} printable characters")
    return reason


def _expires_at(milliseconds: object) -> datetime | None:
    if milliseconds is None:
        return None
    if isinstance(milliseconds, bool) or not isinstance(milliseconds, int | str):
        raise bad_value("expires_at_ms", "is not a whole number of milliseconds since 1970")
    return time_of("expires_at_ms", {"expires_at_ms": str(milliseconds)})


def _done(effect: Effect | None, code: ErrorCode) -> Effect:
    """Return *effect*, or raise the answer that says why there is none."""
    if effect is None:
        raise no_delivery()
    if effect.hindrance is not None:
        raise Problem(
            HTTPStatus.CONFLICT,
            code,
            effect.explanation,
            details={"reason": str(effect.hindrance), "status": effect.after.status},
        )
    return effect
