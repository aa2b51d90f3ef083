"""Signs of life for supervisors, load balancers and Prometheus, on listeners of their own.

`/health` says whether this installation can work at all: both stores answer, and no role was told
of a full disk when it last wrote; its `checks` name what goes on while one of them, the relay or a
role does not. `/ready` adds whether all of it does:
every role has a living process. `/metrics` holds the numbers of all processes of this host. None of
them waits longer than 2 s for a store.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal

import msgspec
from litestar import Litestar, Request, Response, get
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from mailworkers.adapters.exposition import exposition, open_exposition
from mailworkers.adapters.gauges import Question, Stores, Value
from mailworkers.core.errors import StoreUnavailable
from mailworkers.web.errors import respond

# The framework adds the charset to what is text.
EXPOSITION_TYPE = "text/plain; version=0.0.4"
_OPEN = "application/openmetrics-text"
OPEN_EXPOSITION_TYPE = f"{_OPEN}; version=1.0.0; charset=utf-8"


Check = Literal["ok", "degraded", "failed"]

# What this service does, the stores it takes, and the role: without Redis wake-ups become polls.
_WORK: dict[str, tuple[tuple[str, ...], str]] = {
    "stream_intake": (("database", "redis"), "consumer"),
    "http_intake": (("database",), "api"),
    "sending": (("database",), "sender"),
    "retries": (("database",), "scheduler"),
}


class Health(msgspec.Struct, frozen=True):
    """Whether both stores can be used, which alone decides `status`; and what of our work goes on.

    Of `checks`, `database` and `redis` are `ok` or `failed`; `stream_intake`, `http_intake`,
    `sending` and `retries` are `failed` without a store they take or a living process, and
    `sending` is `degraded` while a breaker is open or a pause in force.
    """

    status: Literal["healthy", "unhealthy"]
    checks: dict[str, Check]
    uptime_seconds: int


class Readiness(msgspec.Struct, frozen=True):
    """Whether both stores answer and every role is alive; `roles` counts living processes."""

    status: Literal["ready", "not_ready"]
    dependencies: dict[str, Literal["connected", "disconnected"]]
    roles: dict[str, int]


class Signs:
    """What the routes tell: the stores, when this process began, where the metric files are."""

    def __init__(self, stores: Stores, metrics: Path) -> None:
        self.stores = stores
        self.metrics = metrics
        self.lacks_room: Callable[[], bool] = lambda: False  # for signs of life of this process
        self._began = time.monotonic()

    def health(self) -> Health:
        """Ask both stores, who gave a sign of life lately, and whether mail is held back."""
        self.stores.roles.want()
        began = time.monotonic()
        there = self._stores_there()
        stores: dict[str, Check] = {
            name: "ok" if is_there else "failed" for name, is_there in there.items()
        }
        return Health(
            "healthy" if all(there.values()) else "unhealthy",
            stores | self._work(there, began),
            int(time.monotonic() - self._began),
        )

    def _work(self, there: dict[str, bool], began: float) -> dict[str, Check]:
        """Return what of our work goes on."""
        alive = _answer(self.stores.roles, began) or {}
        work: dict[str, Check] = {
            name: "ok" if alive.get(role) and all(there[store] for store in stores) else "failed"
            for name, (stores, role) in _WORK.items()
        }
        signs = _answer(self.stores.signs, began)
        if work["sending"] == "ok" and signs and (signs.breakers_open or signs.pauses):
            work["sending"] = "degraded"
        return work

    def readiness(self) -> Readiness:
        """Ask both stores, and who gave a sign of life lately."""
        self.stores.roles.want()
        began = time.monotonic()
        there = self._stores_there()
        roles = _answer(self.stores.roles, began) or {}
        is_ready = all(there.values()) and bool(roles) and all(roles.values())
        return Readiness(
            "ready" if is_ready else "not_ready",
            {name: "connected" if is_there else "disconnected" for name, is_there in there.items()},
            roles,
        )

    def _stores_there(self) -> dict[str, bool]:
        self.stores.postgres.want()
        self.stores.redis.want()
        self.stores.signs.want()
        began = time.monotonic()
        return {
            "database": _is_there(self.stores.postgres, began) and self._has_room(began),
            "redis": _is_there(self.stores.redis, began),
        }

    def _has_room(self, began: float) -> bool:
        """Whether no process was told of a full disk when it last wrote; this one does not try."""
        signs = _answer(self.stores.signs, began)
        return not (self.lacks_room() or (signs and signs.without_room))


def _is_there(question: Question[Any], began: float) -> bool:
    return _answer(question, began) is not None


def _answer(question: Question[Value], began: float) -> Value | None:
    """Return the answer, None while its store is away."""
    try:
        return question.ask(began)
    except StoreUnavailable:
        return None


@get("/health", sync_to_thread=True)
def get_health(request: Request[Any, Any, Any]) -> Response[Health]:
    """Return 200 when both stores answer, 503 when one is lost."""
    health = _signs(request).health()
    is_healthy = health.status == "healthy"
    return Response(
        health, status_code=HTTPStatus.OK if is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
    )


@get("/ready", sync_to_thread=True)
def get_ready(request: Request[Any, Any, Any]) -> Response[Readiness]:
    """Return 200 when mail can flow from end to end, 503 otherwise."""
    readiness = _signs(request).readiness()
    is_ready = readiness.status == "ready"
    return Response(
        readiness, status_code=HTTPStatus.OK if is_ready else HTTPStatus.SERVICE_UNAVAILABLE
    )


@get("/metrics", sync_to_thread=True)
def get_metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Return the counters of every process of this host, and the gauges that can be read now.

    Who takes OpenMetrics, as Prometheus does, gets the traces of some values with them.
    """
    signs = _signs(request)
    readings = signs.stores.readings()
    if _OPEN in request.headers.get("accept", ""):
        return Response(open_exposition(signs.metrics, readings), media_type=OPEN_EXPOSITION_TYPE)
    return Response(exposition(signs.metrics, readings), media_type=EXPOSITION_TYPE)


def _signs(request: Request[Any, Any, Any]) -> Signs:
    signs: Signs = request.app.state.signs
    return signs


def health_app(signs: Signs, *, report: Callable[[Exception], None]) -> Litestar:
    """Return the application of `HTTP_PORT`."""
    return _app(signs, report, get_health, get_ready)


def metrics_app(signs: Signs, *, report: Callable[[Exception], None]) -> Litestar:
    """Return the application of `PROMETHEUS_PORT`."""
    return _app(signs, report, get_metrics)


def _app(
    signs: Signs, report: Callable[[Exception], None], *routes: ControllerRouterHandler
) -> Litestar:
    handlers: dict[int | type[Exception], Any] = {Exception: respond}
    return Litestar(
        routes,
        state=State({"signs": signs, "report": report}),
        exception_handlers=handlers,
        openapi_config=None,
        logging_config=None,
    )
