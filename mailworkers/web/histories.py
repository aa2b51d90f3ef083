"""Routes that tell what happened to one delivery, and why it is not sent."""

from http import HTTPStatus

import msgspec
from litestar import get

from mailworkers.adapters.store.histories import Event, explain_delivery, timeline
from mailworkers.adapters.store.pool import Connection
from mailworkers.core.explanations import Explanation
from mailworkers.web.backend import backend_of
from mailworkers.web.deliveries import DeliveryId, find
from mailworkers.web.errors import no_delivery
from mailworkers.web.orders import WebRequest
from mailworkers.web.queries import check_query
from mailworkers.web.tokens import needs


class Timeline(msgspec.Struct, frozen=True):
    """What happened to a delivery, oldest first; of very many attempts the newest 200."""

    items: list[Event]


@get(
    "/deliveries/{delivery_id:uuid}/timeline",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="getTimeline",
    summary="Show everything that happened to a delivery",
    tags=["deliveries"],
    opt={"answer": Timeline, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_timeline(request: WebRequest, delivery_id: DeliveryId) -> Timeline:
    """List what happened in order.

    How it was accepted, its attempts with the relay's replies, dead-letter entries, what operators
    did, its end.
    """
    return await backend_of(request).ask(
        lambda conn: Timeline(timeline(conn, find(conn, delivery_id)))
    )


@get(
    "/deliveries/{delivery_id:uuid}/explain",
    guards=[needs("read")],
    before_request=check_query,
    operation_id="explainDelivery",
    summary="Say why a delivery is not sent",
    tags=["deliveries"],
    opt={"answer": Explanation, "errors": (HTTPStatus.NOT_FOUND,)},
)
async def get_explanation(request: WebRequest, delivery_id: DeliveryId) -> Explanation:
    """Say in words how it stands with a delivery.

    Why it is not sent, what happens next and when, and what an operator can do.
    """
    backend = backend_of(request)

    def question(conn: Connection) -> Explanation:
        found = explain_delivery(conn, find(conn, delivery_id), backend.policies)
        if found is None:
            raise no_delivery()
        return found

    return await backend.ask(question)
