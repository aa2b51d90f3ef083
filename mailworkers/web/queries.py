"""Query parameters: a misspelt one is an error, not a filter that does nothing."""

import re
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from mailworkers.web.errors import bad_parameter

# The framework would take a number for seconds since 1970.
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


async def check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that the route does not have, and values that no filter can mean.

    Those are two of one that may be given once, `null` where it is no text (it would be no filter
    at all), and control characters: PostgreSQL keeps no NUL.
    """
    known = _parameters(request.route_handler)
    for name, values in request.query_params.dict().items():
        if name not in known:
            raise bad_parameter(name, "is not a parameter of this path")
        if len(values) > 1 and not known[name].may_repeat:
            raise bad_parameter(name, "may be given only once")
        if not known[name].is_text and any(value.lower() == "null" for value in values):
            raise bad_parameter(name, "is null; leave it out")
        if known[name].is_time and not all(_DATE.match(value) for value in values):
            raise bad_parameter(name, "is no time by RFC 3339; write 2026-11-21T12:00:00Z")
        if any(_CONTROL.search(value) for value in values):
            raise bad_parameter(name, "contains control characters")


class _Parameter(NamedTuple):
    may_repeat: bool
    is_text: bool
    is_time: bool


@cache
def _parameters(handler: BaseRouteHandler) -> dict[str, _Parameter]:
    """Return the query parameters of *handler*: whether each may be repeated, is text or a time."""
    found = {}
    for name, field in handler.parsed_fn_signature.parameters.items():
        if isinstance(field.kwarg_definition, ParameterKwarg):
            fields = (field, *field.inner_types)
            found[field.kwarg_definition.name or name] = _Parameter(
                may_repeat=any(inner.is_non_string_collection for inner in fields),
                is_text=any(inner.annotation in (str, list[str]) for inner in fields),
                is_time=any(inner.annotation is datetime for inner in fields),
            )
    return found
