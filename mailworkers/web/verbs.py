"""Routes by which operators change what becomes of a delivery; each leaves a line in the trail."""

from datetime import datetime
from http import HTTPStatus

import msgspec
from litestar import Response, post

from mailworkers.adapters import store
from mailworkers.adapters.store import Effect
from mailworkers.adapters.store.pool import Connection
from mailworkers.core.refusals import Refused
from mailworkers.web.answers import CancelAnswer, CancelRequest, RequeueAnswer, RequeueRequest
from mailworkers.web.backend import backend_of
from mailworkers.web.deliveries import DeliveryId
from mailworkers.web.errors import ErrorCode, Problem, no_delivery, refused
from mailworkers.web.examples import CANCEL, REQUEUE
from mailworkers.web.orders import WebRequest, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of


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
    reason, _ = await _read(request, "reason")
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
    reason, expires_at = await _read(request, "reason", "expires_at_ms")
    actor = principal_of(request).name

    def verb(conn: Connection) -> Effect | None:
        effects = store.requeue(
            conn, [delivery_id], actor=actor, reason=reason, expires_at=expires_at
        )
        return effects.get(delivery_id)

    effect = _done(await backend_of(request).change(verb), ErrorCode.NOT_REQUEUEABLE)
    answer = {"delivery_id": delivery_id, "status": effect.after.status}
    return msgspec.convert(answer, RequeueAnswer)


async def _read(request: WebRequest, *names: str) -> tuple[str, datetime | None]:
    """Return the reason and the new expiry in the body, whose fields are *names*."""
    order = await read_order(request, *names)
    try:
        return order.reason, order.time("expires_at_ms")
    except Refused as error:
        raise refused(error.refusal()) from None


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
