"""The API's own routes, called by the pages: what a page shows and does is what the API does.

A route is called with its guards, so whoever may not ask the API may not ask here.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Response
from litestar.handlers import HTTPRouteHandler

from mailworkers.web.bodies import GIVEN, read_bytes
from mailworkers.web.console.pages import Flash, is_csrf_token, redirect
from mailworkers.web.errors import ErrorCode, Problem
from mailworkers.web.orders import LARGEST_BODY, WebRequest

_NUMBER = re.compile(r"[1-9][0-9]{0,17}")
# What a person can mend, or has to be told, on the page where it was asked.
_TOLD_THERE = {
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.GONE,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
}


async def ask(route: HTTPRouteHandler, request: WebRequest, **parameters: Any) -> Any:
    """Return what *route* of the API answers, as the struct it would send."""
    for guard in route.guards or ():
        found = guard(request, route)
        if found is not None:
            await found
    answer = await route.fn(request, **parameters)
    return answer.content if isinstance(answer, Response) else answer


async def order(
    route: HTTPRouteHandler,
    request: WebRequest,
    fields: Mapping[str, object] | None = None,
    **parameters: Any,
) -> Any:
    """Return what *route* answers to a body of *fields*; those that are empty are left out."""
    given = {name: value for name, value in (fields or {}).items() if value not in (None, "")}
    request.scope["state"][GIVEN] = msgspec.json.encode(given)
    return await ask(route, request, **parameters)


class Form(dict[str, str]):
    """The fields a person filled in, the last of each; `picked` are the rows with a mark."""

    picked: tuple[int, ...] = ()


async def read_form(request: WebRequest) -> Form:
    """Return the fields of a form of ours; 403 when it is not ours."""
    body = await read_bytes(request, LARGEST_BODY)
    try:
        pairs = parse_qsl(body.decode(), max_num_fields=500, errors="strict")
    except ValueError:
        raise Problem(
            HTTPStatus.BAD_REQUEST, ErrorCode.BAD_REQUEST, "the form cannot be read"
        ) from None
    form = Form((name, value.strip()) for name, value in pairs if name != "pick")
    marked = {value for name, value in pairs if name == "pick"}
    form.picked = tuple(sorted(int(value) for value in marked if _NUMBER.fullmatch(value)))
    if not is_csrf_token(request, form.pop("csrf", "")):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            ErrorCode.FORBIDDEN,
            "this form is too old, or was not given to this browser: reload the page it is on",
        )
    return form


def told(problem: Problem, back: str) -> Response[str]:
    """Tell *problem* on the page *back*; raise it where that is no place for it."""
    if problem.status not in _TOLD_THERE:
        raise problem
    return redirect(back, Flash("failed", problem.body.message))
