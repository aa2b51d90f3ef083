"""Query parameters: a misspelt one is an error, not a filter that does nothing."""

from functools import cache
from typing import Any

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg

from mailworkers.web.errors import bad_parameter


async def check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that the route does not have, and two of one that may be given once."""
    may_repeat = _parameters(request.route_handler)
    for name, values in request.query_params.dict().items():
        if name not in may_repeat:
            raise bad_parameter(name, "is not a parameter of this path")
        if len(values) > 1 and not may_repeat[name]:
            raise bad_parameter(name, "may be given only once")


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
