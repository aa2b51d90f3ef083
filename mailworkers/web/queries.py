"""Query parameters: a misspelt one is an error, not a filter that does nothing."""

import re
from functools import cache
from typing import Any

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from mailworkers.web.errors import bad_parameter

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


async def check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that the route does not have, and values that no filter can mean.

    Those are two of one that may be given once, and control characters: PostgreSQL keeps no NUL.
    """
    may_repeat = _parameters(request.route_handler)
    for name, values in request.query_params.dict().items():
        if name not in may_repeat:
            raise bad_parameter(name, "is not a parameter of this path")
        if len(values) > 1 and not may_repeat[name]:
            raise bad_parameter(name, "may be given only once")
        if any(_CONTROL.search(value) for value in values):
            raise bad_parameter(name, "contains control characters")


@cache
def _parameters(handler: BaseRouteHandler) -> dict[str, bool]:
    """Return the query parameters of *handler*, and whether each may be repeated."""
    found = {}
    for name, field in handler.parsed_fn_signature.parameters.items():
        if isinstance(field.kwarg_definition, ParameterKwarg):
            found[field.kwarg_definition.name or name] = bool(
                field.is_non_string_collection
            ) or any(inner.is_non_string_collection for inner in field.inner_types)
    return found
