"""The route by which an operator sends a delivery anew that has ended."""

from http import HTTPStatus
from typing import Literal

from litestar import Response, post

from mailworkers.adapters.resending import Refusal, Resent
from mailworkers.core.fields import name_of
from mailworkers.core.refusals import Refused
from mailworkers.web.answers import ResendAnswer, ResendRequest
from mailworkers.web.backend import backend_of
from mailworkers.web.deliveries import DeliveryId
from mailworkers.web.errors import ErrorCode, Problem, no_delivery, refused
from mailworkers.web.examples import RESEND
from mailworkers.web.gate import PREFIX
from mailworkers.web.intake import idempotency_key
from mailworkers.web.login_codes import KEY
from mailworkers.web.orders import WebRequest, read_order
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs, principal_of


@post(
    "/deliveries/{delivery_id:uuid}/resend",
    status_code=HTTPStatus.ACCEPTED,
    guards=[needs("operate")],
    before_request=check_query,
    operation_id="resendDelivery",
    summary="Send a delivery anew",
    tags=["verbs"],
    opt={
        "answer": ResendAnswer,
        "body": (ResendRequest,),
        "examples": RESEND,
        "headers": (KEY,),
        "errors": (HTTPStatus.NOT_FOUND,),
    },
)
async def post_resend(request: WebRequest, delivery_id: DeliveryId) -> Response[ResendAnswer]:
    """Accept what an ended delivery says as a new one, for all its recipients.

    202 after the commit. It has a Message-ID and Date of its own and is signed anew; the original
    stays as it is. The header `Idempotency-Key` makes it safe to repeat; without one each request
    makes a mail. 409 `not_resendable` says why not in `details.reason`: `not_ended`, `auth`,
    `content_deleted`, `expired` or `key_taken`.
    """
    order = await read_order(request, "reason", "expires_at_ms")
    try:
        reason, expires_at = order.reason, order.time("expires_at_ms")
        given = idempotency_key(request)
        key = name_of(KEY, {KEY: given}) if given else None
    except Refused as error:
        raise refused(error.refusal()) from None
    actor = principal_of(request).name
    done = await backend_of(request).take_in(
        lambda conn, acceptor: acceptor.resend(
            conn,
            delivery_id,
            idempotency_key=key,
            expires_at=expires_at,
            actor=actor,
            reason=reason,
        )
    )
    return _answer(done)


def _answer(done: Resent | None) -> Response[ResendAnswer]:
    """Return the answer that tells of a clone, or raise the one that says why there is none."""
    if done is None:
        raise no_delivery()
    if done.delivery_id is None:
        raise _refused(done.refusal or Refusal.NOT_ENDED, done.original.status)
    headers = {"Location": f"{PREFIX}/deliveries/{done.delivery_id}"}
    if done.is_replay:
        headers["Idempotent-Replayed"] = "true"
    outcome: Literal["accepted", "suppressed"] = "suppressed" if done.is_suppressed else "accepted"
    answer = ResendAnswer(done.delivery_id, done.original.delivery_id, outcome)
    return Response(answer, headers=headers)


def _refused(refusal: Refusal, status: str) -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        ErrorCode.NOT_RESENDABLE,
        refusal.words(status),
        details={"reason": str(refusal), "status": status},
    )
