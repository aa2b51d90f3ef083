"""The console put together: its pages, its errors, the gate before them."""

from collections.abc import Callable
from typing import Any

from litestar import Litestar, Router
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from mailworkers.adapters.store.pool import Pool
from mailworkers.web.backend import Backend
from mailworkers.web.console.assets import get_asset
from mailworkers.web.console.audit import show_audit
from mailworkers.web.console.dead_letters import resolve, show_dead_letters
from mailworkers.web.console.deliveries import (
    download_source,
    frame_html,
    list_deliveries,
    show_content,
    show_delivery,
)
from mailworkers.web.console.errors import respond
from mailworkers.web.console.gate import ConsoleGate
from mailworkers.web.console.malformed import replay_malformed, show_entry, show_malformed
from mailworkers.web.console.overview import show_overview, show_roles
from mailworkers.web.console.paths import CONSOLE
from mailworkers.web.console.pauses import pause, resume, show_pauses
from mailworkers.web.console.replays import cancel_replay, plan_replay, replay, show_replay
from mailworkers.web.console.sessions import log_in, log_out, show_login
from mailworkers.web.console.suppressions import show_suppressions, suppress, unsuppress
from mailworkers.web.console.templates import frame_preview, show_template, show_templates
from mailworkers.web.console.verbs import cancel, requeue, resend
from mailworkers.web.console.watch import Watch
from mailworkers.web.tokens import Tokens

PAGES: tuple[ControllerRouterHandler, ...] = (
    show_overview,
    list_deliveries,
    show_delivery,
    show_content,
    frame_html,
    download_source,
    cancel,
    requeue,
    resend,
    show_dead_letters,
    resolve,
    plan_replay,
    replay,
    show_replay,
    cancel_replay,
    show_malformed,
    show_entry,
    replay_malformed,
    show_templates,
    show_template,
    frame_preview,
    show_suppressions,
    suppress,
    unsuppress,
    show_pauses,
    pause,
    resume,
    show_roles,
    show_audit,
    show_login,
    log_in,
    log_out,
    get_asset,
)


def console(
    backend: Backend, pool: Pool, tokens: Tokens, *, report: Callable[[Exception], None]
) -> ConsoleGate:
    """Return the console as an ASGI application; *report* takes errors nobody foresaw."""
    handlers: dict[int | type[Exception], Any] = {Exception: respond}
    app = Litestar(
        [Router(CONSOLE, route_handlers=PAGES)],
        state=State({"backend": backend, "report": report, "watch": Watch(pool)}),
        exception_handlers=handlers,
        openapi_config=None,
        logging_config=None,
    )
    return ConsoleGate(app, pool, tokens, report=report)
