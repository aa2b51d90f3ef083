"""Forms by which operators change what becomes of a delivery."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from litestar import Response, post

from mailworkers.web.console.asking import order, read_form, told
from mailworkers.web.console.pages import Flash, redirect
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.deliveries import DeliveryId
from mailworkers.web.errors import Problem, bad_parameter
from mailworkers.web.orders import WebRequest
from mailworkers.web.resending import post_resend
from mailworkers.web.verbs import cancel_delivery, requeue_delivery

_SPANS = {
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
    "90d": timedelta(days=90),
    "365d": timedelta(days=365),
}


def until_ms(name: str, span: str) -> int | None:
    """Return the time *span* from now as the API takes it; None for no end."""
    if not span:
        return None
    if span not in _SPANS:
        raise bad_parameter(name, f"is none of {', '.join(_SPANS)}")
    return int((datetime.now(UTC) + _SPANS[span]).timestamp() * 1000)


@post("/deliveries/{delivery_id:uuid}/cancel")
async def cancel(request: WebRequest, delivery_id: DeliveryId) -> Response[str]:
    """Withdraw a delivery."""
    back = f"{CONSOLE}/deliveries/{delivery_id}"
    form = await read_form(request)
    try:
        fields = {"reason": form.get("reason")}
        answer = await order(cancel_delivery, request, fields, delivery_id=delivery_id)
    except Problem as problem:
        return told(problem, back)
    words = {
        "pending": "A sender has it in hand: it stays sent if the relay takes it, else it ends.",
        "cancelled": "Cancelled. It will not be sent.",
    }
    text = words.get(answer.status, f"It ended {answer.status.replace('_', ' ')}.")
    return redirect(back, Flash("done", text))


@post("/deliveries/{delivery_id:uuid}/requeue")
async def requeue(request: WebRequest, delivery_id: DeliveryId) -> Response[str]:
    """Send a delivery again: the same message, a new cycle of attempts."""
    back = f"{CONSOLE}/deliveries/{delivery_id}"
    form = await read_form(request)
    try:
        await order(requeue_delivery, request, _again(form), delivery_id=delivery_id)
    except Problem as problem:
        return told(problem, back)
    return redirect(back, Flash("done", "Requeued. The next free sender takes it."))


@post("/deliveries/{delivery_id:uuid}/resend")
async def resend(request: WebRequest, delivery_id: DeliveryId) -> Response[str]:
    """Send what an ended delivery says anew, as a delivery of its own."""
    back = f"{CONSOLE}/deliveries/{delivery_id}"
    form = await read_form(request)
    try:
        answer = await order(post_resend, request, _again(form), delivery_id=delivery_id)
    except Problem as problem:
        return told(problem, back)
    words = {
        "accepted": "Accepted anew: this is the new delivery.",
        "suppressed": "Its recipients are suppressed: this new delivery is not sent.",
    }
    return redirect(
        f"{CONSOLE}/deliveries/{answer.delivery_id}", Flash("done", words[answer.outcome])
    )


def _again(form: Mapping[str, str]) -> dict[str, Any]:
    """Return the body of an order to send something once more: why, and until when."""
    return {
        "reason": form.get("reason"),
        "expires_at_ms": until_ms("expires", form.get("expires", "")),
    }
