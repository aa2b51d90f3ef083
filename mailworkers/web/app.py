"""The internal API put together: routes, errors, the gate before them."""

from collections.abc import Callable, Iterator, Sequence
from http import HTTPStatus
from typing import Any

from litestar import Litestar, Response, Router, route
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig

from mailworkers.adapters.store.pool import Pool
from mailworkers.web.backend import Backend
from mailworkers.web.batches import create_deliveries
from mailworkers.web.dead_letters import get_dead_letter, get_dead_letters, post_resolve
from mailworkers.web.deliveries import get_attempts, get_content, get_deliveries, get_delivery
from mailworkers.web.errors import respond
from mailworkers.web.gate import PREFIX, Gate
from mailworkers.web.histories import get_explanation, get_timeline
from mailworkers.web.intake import create_delivery, create_login_code_delivery
from mailworkers.web.malformed import (
    get_malformed_command,
    get_malformed_commands,
    post_malformed_replay,
)
from mailworkers.web.overview import get_actions, get_roles, get_stats, get_status
from mailworkers.web.pauses import delete_pause, get_pauses, post_pause
from mailworkers.web.replays import get_replay, get_replays, post_replay, post_replay_cancel
from mailworkers.web.resending import post_resend
from mailworkers.web.suppressions import (
    delete_suppression,
    get_suppression,
    get_suppressions,
    put_suppression,
)
from mailworkers.web.tokens import Tokens
from mailworkers.web.verbs import cancel_delivery, requeue_delivery

ROUTES: tuple[HTTPRouteHandler, ...] = (
    create_login_code_delivery,
    create_delivery,
    create_deliveries,
    get_deliveries,
    get_delivery,
    get_attempts,
    get_content,
    get_timeline,
    get_explanation,
    cancel_delivery,
    requeue_delivery,
    post_resend,
    get_dead_letters,
    post_replay,
    get_dead_letter,
    post_resolve,
    get_replays,
    get_replay,
    post_replay_cancel,
    get_malformed_commands,
    get_malformed_command,
    post_malformed_replay,
    get_suppressions,
    get_suppression,
    put_suppression,
    delete_suppression,
    get_pauses,
    post_pause,
    delete_pause,
    get_status,
    get_stats,
    get_roles,
    get_actions,
)


def internal_api(backend: Backend, pool: Pool, *, report: Callable[[Exception], None]) -> Gate:
    """Return the internal API as an ASGI application; *report* takes errors nobody foresaw."""
    app = litestar_app(State({"backend": backend, "report": report}))
    return Gate(app, Tokens(pool), report=report)


def litestar_app(state: State, openapi_config: OpenAPIConfig | None = None) -> Litestar:
    """Return the routes without the gate."""
    handlers: dict[int | type[Exception], Any] = {Exception: respond}
    return Litestar(
        [Router(PREFIX, route_handlers=[*_options_of(ROUTES), *ROUTES])],
        state=state,
        exception_handlers=handlers,
        openapi_config=openapi_config,
        logging_config=None,
    )


def _options_of(routes: Sequence[HTTPRouteHandler]) -> Iterator[HTTPRouteHandler]:
    """Yield what answers OPTIONS on each path: the framework would name one handler's methods."""
    methods: dict[str, set[str]] = {}
    for handler in routes:
        for path in handler.paths:
            methods.setdefault(path, {"OPTIONS"}).update(map(str, handler.http_methods))
    for path, known in methods.items():
        yield _options(path, ", ".join(sorted(known)))


def _options(path: str, allowed: str) -> HTTPRouteHandler:
    @route(path, http_method="OPTIONS", status_code=HTTPStatus.NO_CONTENT, include_in_schema=False)
    async def get_options() -> Response[None]:
        return Response(None, headers={"Allow": allowed})

    return get_options
